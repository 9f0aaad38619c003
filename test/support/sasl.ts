import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

/** One side of a SASL conversation, the client's. Independent of the product's code. */
export interface ClientExchange {
  initial(): Buffer;
  /** Answer to a challenge. */
  challenge(data: Buffer): Buffer;
  /** Throws when the additional data of success is not what it has to be. */
  success(data: Buffer | undefined): void;
}

export interface Credentials {
  user: string;
  password: string;
  authzid?: string;
}

export interface ChannelBinding {
  name: 'tls-exporter' | 'tls-server-end-point' | 'tls-unique';
  data: Buffer;
}

export function plain({ user, password, authzid = '' }: Credentials): ClientExchange {
  return {
    initial: () => Buffer.from(`${authzid}\0${user}\0${password}`),
    challenge: () => {
      throw new Error('PLAIN has no challenge');
    },
    success: () => undefined,
  };
}

export function external(authzid = ''): ClientExchange {
  return { initial: () => Buffer.from(authzid), challenge: () => Buffer.alloc(0), success: () => undefined };
}

/** RFC 5802, with the hash `sha1` or `sha256`; with `binding` the -PLUS variant. */
export class Scram implements ClientExchange {
  private readonly nonce = randomBytes(18).toString('base64');
  private readonly gs2: string;
  private readonly bare: string;
  private verifier = Buffer.alloc(0);

  constructor(
    private readonly hash: string,
    private readonly credentials: Credentials,
    private readonly binding?: ChannelBinding,
    /** Without `binding`: `y` when the client could bind but believes that the server cannot (§6). */
    flag: 'n' | 'y' = 'n',
  ) {
    const authzid = credentials.authzid === undefined ? '' : `a=${saslname(credentials.authzid)}`;
    this.gs2 = `${binding === undefined ? flag : `p=${binding.name}`},${authzid},`;
    this.bare = `n=${saslname(credentials.user)},r=${this.nonce}`;
  }

  initial(): Buffer {
    return Buffer.from(this.gs2 + this.bare);
  }

  challenge(data: Buffer): Buffer {
    const first = data.toString();
    const fields = attributes(first);
    if (!fields.r?.startsWith(this.nonce) || fields.r.length === this.nonce.length) throw new Error('bad server nonce');
    const iterations = Number(fields.i);
    if (!(iterations >= 4096)) throw new Error(`too few iterations: ${fields.i}`);
    const length = createHash(this.hash).digest().length;
    const salted = pbkdf2Sync(
      this.credentials.password,
      Buffer.from(fields.s ?? '', 'base64'),
      iterations,
      length,
      this.hash,
    );
    const mac = (key: Buffer, text: string | Buffer) => createHmac(this.hash, key).update(text).digest();
    const clientKey = mac(salted, 'Client Key');
    const bound = Buffer.concat([Buffer.from(this.gs2), this.binding?.data ?? Buffer.alloc(0)]).toString('base64');
    const unproven = `c=${bound},r=${fields.r}`;
    const message = `${this.bare},${first},${unproven}`;
    const signature = mac(createHash(this.hash).update(clientKey).digest(), message);
    const proof = clientKey.map((byte, i) => byte ^ signature[i]!);
    this.verifier = mac(mac(salted, 'Server Key'), message);
    return Buffer.from(`${unproven},p=${Buffer.from(proof).toString('base64')}`);
  }

  success(data: Buffer | undefined): void {
    const given = Buffer.from(attributes(data?.toString() ?? '').v ?? '', 'base64');
    if (given.length !== this.verifier.length || !timingSafeEqual(given, this.verifier)) {
      throw new Error('the server did not prove that it knows the password');
    }
  }
}

function saslname(name: string): string {
  return name.replaceAll('=', '=3D').replaceAll(',', '=2C');
}

function attributes(message: string): Record<string, string> {
  return Object.fromEntries(message.split(',').map((field) => [field[0] ?? '', field.slice(2)]));
}
