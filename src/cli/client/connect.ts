import { client, type TransportClass, type XmppClient } from '@xmpp/client';
import { isLoopback } from '../../config/checks.js';
import { CliError, EXIT } from '../failure.js';
import { SecureSocket } from './secure-socket.js';
import { noBroker, whereabouts, type Target } from './target.js';

export interface Credentials {
  /** Bare JID. */
  jid: string;
  password: string;
}

/** The broker does not take the password, or knows no such account. */
export class Refused extends Error {}

/**
 * Logs in and resolves when the resource is bound. When the connection is lost later it is made again each second
 * until {@link disconnect}; `online` is emitted anew for each session that is not a resumption.
 */
export async function connect(target: Target, credentials: Credentials, resource?: string): Promise<XmppClient> {
  if (target.transport === 'websocket' && !('WebSocket' in globalThis))
    throw new CliError(
      'this version of Node has no WebSocket of its own',
      'use Node 22, or NODE_OPTIONS=--experimental-websocket, or another --transport',
      EXIT.usage,
    );
  const [username] = credentials.jid.split('@') as [string];
  const scheme = isLoopback(target.host) ? 'ws' : 'wss';
  const service = target.transport === 'websocket' ? `${scheme}://${whereabouts(target)}/xmpp-websocket` : SERVICE;
  const xmpp = client({
    service,
    domain: target.domain,
    username,
    credentials: (authenticate, mechanisms, _fast, entity) =>
      authenticate({ username, password: credentials.password }, choose(mechanisms, target, entity.isSecure())),
    ...(resource && { resource }),
  });
  if (service === SERVICE) useSecureSockets(xmpp, target);
  // `start` rejects with the first error; the later ones end in a disconnect, which is what the commands watch.
  xmpp.on('error', () => undefined);
  try {
    await xmpp.start();
    return xmpp;
  } catch (error) {
    await disconnect(xmpp);
    throw inWords(error as Failure, target, credentials);
  }
}

/**
 * The library's SCRAM takes a tenth of a second of CPU for each login. On this machine, where the certificate is the broker's
 * own, PLAIN gives nothing away and a fleet logs in at once; over the network the password stays at home.
 */
function choose(mechanisms: string[], target: Target, secure: boolean): string {
  if (secure && isLoopback(target.host) && mechanisms.includes('PLAIN')) return 'PLAIN';
  const chosen = mechanisms.find((mechanism) => mechanism !== 'PLAIN') ?? (secure ? mechanisms[0] : undefined);
  if (chosen === undefined) throw new Error('the broker offers no login that is safe on this connection');
  return chosen;
}

/** Closes the stream and waits for the server to close its side. */
export async function disconnect(xmpp: XmppClient): Promise<void> {
  xmpp.reconnect.stop();
  // Rejects only when the connection is gone already, which is what is asked for.
  await xmpp.stop().catch(() => undefined);
}

// A URI with an authority: anything else is taken for a domain to look up in the DNS.
const SERVICE = 'secured://broker';

/** Gives the client a transport of its own in front of those of the library. */
function useSecureSockets(xmpp: XmppClient, target: Target): void {
  const tcp = xmpp.transports.find(
    (transport) => transport.prototype.socketParameters('xmpp://localhost:1') !== undefined,
  );
  if (!tcp) throw new Error('@xmpp/client has no TCP transport here');
  const Secured = class extends (tcp as new () => object) {
    socketParameters(service: string): unknown {
      return service === SERVICE ? {} : undefined;
    }
  } as unknown as TransportClass;
  Secured.prototype.Socket = class extends SecureSocket {
    constructor() {
      super(target);
    }
  };
  xmpp.transports.unshift(Secured);
}

interface Failure extends Error {
  code?: string;
  condition?: string;
  errors?: Failure[];
}

const UNREACHABLE = [
  'ECONNREFUSED',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'ECONNERROR',
];
const CREDENTIALS = ['not-authorized', 'account-disabled', 'credentials-expired', 'invalid-authzid'];

function inWords(error: Failure, target: Target, credentials: Credentials): Error {
  const at = whereabouts(target);
  const code = error.code ?? error.errors?.[0]?.code;
  if (code !== undefined && UNREACHABLE.includes(code)) return noBroker(target);
  if (error.condition !== undefined && CREDENTIALS.includes(error.condition))
    return new Refused(`${credentials.jid} is not let in: ${error.condition}`);
  if (code !== undefined && /CERT|ALTNAME|SIGNATURE|UNABLE_TO/.test(code))
    return new CliError(
      `the certificate of ${at} is not trusted for ${target.domain}: ${error.message}`,
      'if it is your own, start again with NODE_EXTRA_CA_CERTS=its-certificate.pem',
    );
  return new CliError(`cannot log in as ${credentials.jid} at ${at}: ${error.message}`);
}
