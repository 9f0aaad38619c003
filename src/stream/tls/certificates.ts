import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { TLSSocketOptions } from 'node:tls';
import { domainToASCII } from 'node:url';
import type { Logger } from 'pino';
import type { Config } from '../../config/config.js';
import { CertificateError, loadPair, type LoadedPair } from './pair.js';
import { selfSignedPair, subjectNames, type PairFiles } from './self-signed.js';

/** XEP-0368 §3. */
const ALPN = ['xmpp-client'];
const TICKET_KEY_BYTES = 48;

export type TlsKind = 'starttls' | 'direct';

export interface CertificateOptions {
  config: Pick<Config, 'domain' | 'data_dir'> & {
    tls: Pick<Config['tls'], 'certificate' | 'key' | 'client_ca'>;
    pubsub: Pick<Config['pubsub'], 'host_prefix'>;
  };
  log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** 48 random bytes, the same in all workers, so that a session ticket of one is good at another; random unless given. */
  ticketKeys?: Buffer;
}

/** The server's certificate, and the TLS settings that follow from it. */
export class CertificateStore {
  private options = new Map<TlsKind, TLSSocketOptions>();
  private readonly listeners: (() => void)[] = [];
  private reloading: Promise<boolean> | undefined;

  /**
   * Loads the configured certificate, or the self-signed one, which is made in `data_dir/tls` when it is needed. Rejects
   * with CertificateError, whose message says which file and why.
   */
  static async open(options: CertificateOptions): Promise<CertificateStore> {
    const ticketKeys = options.ticketKeys ?? randomBytes(TICKET_KEY_BYTES);
    const files = await locate(options);
    const pair = await loadPair(files, ticketKeys);
    return new CertificateStore(options, ticketKeys, files, pair);
  }

  private constructor(
    private readonly settings: CertificateOptions,
    private readonly ticketKeys: Buffer,
    private located: PairFiles & { clientCa: string | undefined },
    private pair: LoadedPair,
  ) {
    this.use(pair);
  }

  /**
   * Options for `new TLSSocket(socket, options)` on the server's side; shared, not to be changed. A client certificate is asked
   * for where `tls.client_ca` is set, and never required: bindings.ts says whether it is good. Direct TLS refuses a
   * client that offers ALPN without `xmpp-client` (no_application_protocol, RFC 7301 §3.2) and takes one that offers none.
   * There is one certificate, whatever name the client asks for by SNI.
   */
  tlsOptions(kind: TlsKind): TLSSocketOptions {
    return this.options.get(kind)!;
  }

  /**
   * Reads the files again (SIGHUP). New connections get the new pair; those that are open keep theirs. False when
   * it cannot be used: the reason is logged and the old pair stays.
   */
  reload(): Promise<boolean> {
    this.reloading ??= this.readAgain().finally(() => (this.reloading = undefined));
    return this.reloading;
  }

  /** Called after each successful reload: for servers that keep a TLS context of their own. */
  onReload(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Milliseconds since the epoch when the certificate expires. */
  get expires(): number {
    return this.pair.notAfter;
  }

  /** Paths of the PEM files in use: what uWebSockets.js' SSLApp takes. */
  get files(): Readonly<PairFiles & { clientCa: string | undefined }> {
    return this.located;
  }

  /** The PEM texts in use. */
  get pem(): { certificate: string; key: string; clientCa: string | undefined } {
    const { certificate, key, clientCa } = this.pair;
    return { certificate, key, clientCa };
  }

  private async readAgain(): Promise<boolean> {
    const { log } = this.settings;
    try {
      const files = await locate(this.settings);
      const pair = await loadPair(files, this.ticketKeys);
      this.located = files;
      this.use(pair);
    } catch (error) {
      // What is wrong with the files is a sentence; anything else is our own.
      const details = error instanceof CertificateError ? {} : { err: error };
      log.error(details, `certificate not reloaded, the old one stays in use: ${(error as Error).message}`);
      return false;
    }
    log.info({ expires: new Date(this.expires).toISOString() }, 'certificate reloaded');
    for (const listener of this.listeners) listener();
    return true;
  }

  private use(pair: LoadedPair): void {
    this.pair = pair;
    const base: TLSSocketOptions = {
      isServer: true,
      secureContext: pair.context,
      requestCert: pair.clientCa !== undefined,
      rejectUnauthorized: false,
    };
    this.options = new Map([
      ['starttls', base],
      ['direct', { ...base, ALPNProtocols: ALPN }],
    ]);
    for (const warning of warnings(pair, this.settings.config.domain)) {
      this.settings.log.warn({ certificate: this.located.certificate }, warning);
    }
  }
}

async function locate({ config, log }: CertificateOptions): Promise<PairFiles & { clientCa: string | undefined }> {
  const { certificate, key, client_ca } = config.tls;
  const clientCa = client_ca === '' ? undefined : client_ca;
  // One file may hold both.
  if (certificate !== '') return { certificate, key: key === '' ? certificate : key, clientCa };
  const names = subjectNames(config.domain, [config.pubsub.host_prefix]);
  const pair = await selfSignedPair(join(config.data_dir, 'tls'), names);
  if (pair.made) log.info({ certificate: pair.certificate, names }, 'made a self-signed certificate');
  return { certificate: pair.certificate, key: pair.key, clientCa };
}

/** What is wrong with a certificate that can be used all the same. */
function warnings({ notBefore, notAfter, subject }: LoadedPair, domain: string): string[] {
  const found: string[] = [];
  if (notAfter <= Date.now()) found.push(`the certificate has expired on ${new Date(notAfter).toISOString()}`);
  if (notBefore > Date.now()) found.push(`the certificate is not valid before ${new Date(notBefore).toISOString()}`);
  const host = domain.replace(/^\[|\]$/g, '');
  const covered = isIP(host) ? subject.checkIP(host) : subject.checkHost(domainToASCII(host));
  if (covered === undefined) found.push(`the certificate is not for ${domain}`);
  return found;
}
