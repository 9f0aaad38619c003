import { constants, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';

/** A certificate with its key; PEM texts. */
export interface Issued {
  certificate: string;
  key: string;
  der: Buffer;
}

export interface Wish {
  name?: string;
  algorithm?: Algorithm;
  notBefore?: Date;
  notAfter?: Date;
  /** Names of subjectAltName. */
  dns?: string[];
  xmpp?: string[];
  /** Names of another otherName form, which must be passed over. */
  srv?: string[];
  authority?: boolean;
}

// --- DER -------------------------------------------------------------------------------------------------------------

const NULL = Buffer.from([5, 0]);
const TRUE = Buffer.from([1, 1, 255]);

function der(tag: number, ...contents: Buffer[]): Buffer {
  const body = Buffer.concat(contents);
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}
const sequence = (...contents: Buffer[]) => der(0x30, ...contents);
const context = (number: number, ...contents: Buffer[]) => der(0xa0 | number, ...contents);
const integer = (value: number) => der(0x02, Buffer.from([value]));
const utf8 = (text: string) => der(0x0c, Buffer.from(text));
const time = (date: Date) => der(0x18, Buffer.from(date.toISOString().replace(/[-:T]|\.\d+/g, '')));

function oid(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (let arc of rest) {
    const group = [arc & 127];
    for (arc = Math.floor(arc / 128); arc > 0; arc = Math.floor(arc / 128)) group.unshift((arc & 127) | 128);
    bytes.push(...group);
  }
  return der(0x06, Buffer.from(bytes));
}

// --- signatures ------------------------------------------------------------------------------------------------------

interface Signer {
  make(): { publicKey: KeyObject; privateKey: KeyObject };
  /** AlgorithmIdentifier. */
  id: Buffer;
  hash: string | null;
  pss?: true;
}

const ec = (namedCurve: string) => () => generateKeyPairSync('ec', { namedCurve });
const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 });
const pkcs1 = (hash: string, arc: number): Signer => ({
  make: rsa,
  id: sequence(oid(`1.2.840.113549.1.1.${arc}`), NULL),
  hash,
});
const SHA384 = sequence(oid('2.16.840.1.101.3.4.2.2'), NULL);

const SIGNERS = {
  'ecdsa-256': { make: ec('P-256'), id: sequence(oid('1.2.840.10045.4.3.2')), hash: 'sha256' },
  'ecdsa-384': { make: ec('P-384'), id: sequence(oid('1.2.840.10045.4.3.3')), hash: 'sha384' },
  'ecdsa-sha512': { make: ec('P-256'), id: sequence(oid('1.2.840.10045.4.3.4')), hash: 'sha512' },
  'rsa-sha1': pkcs1('sha1', 5),
  'rsa-sha256': pkcs1('sha256', 11),
  'rsa-sha384': pkcs1('sha384', 12),
  'rsa-sha512': pkcs1('sha512', 13),
  'rsa-pss': {
    make: rsa,
    id: sequence(
      oid('1.2.840.113549.1.1.10'),
      sequence(context(0, SHA384), context(1, sequence(oid('1.2.840.113549.1.1.8'), SHA384)), context(2, integer(48))),
    ),
    hash: 'sha384',
    pss: true,
  },
  ed25519: { make: () => generateKeyPairSync('ed25519'), id: sequence(oid('1.3.101.112')), hash: null },
} satisfies Record<string, Signer>;
export type Algorithm = keyof typeof SIGNERS;

// --- certificates ----------------------------------------------------------------------------------------------------

/** An authority that issues certificates in memory. */
export class Authority {
  private readonly name: string;
  private readonly keys = SIGNERS['ecdsa-256'].make();
  readonly issued: Issued;

  constructor(name = 'Test authority') {
    this.name = name;
    this.issued = certify({ name, authority: true }, name, this.keys, this.keys.privateKey, SIGNERS['ecdsa-256']);
  }

  issue(wish: Wish): Issued {
    const signer = SIGNERS['ecdsa-256'];
    return certify(wish, this.name, signer.make(), this.keys.privateKey, signer);
  }
}

export function selfSigned(wish: Wish = {}): Issued {
  const signer = SIGNERS[wish.algorithm ?? 'ecdsa-256'];
  const keys = signer.make();
  return certify(wish, wish.name ?? 'localhost', keys, keys.privateKey, signer);
}

let serial = 0;

/** Certificate (RFC 5280 §4.1). */
function certify(
  wish: Wish,
  issuer: string,
  keys: { publicKey: KeyObject; privateKey: KeyObject },
  signingKey: KeyObject,
  signer: Signer,
): Issued {
  const commonName = (name: string) => sequence(der(0x31, sequence(oid('2.5.4.3'), utf8(name))));
  const extension = (id: string, value: Buffer, ...critical: Buffer[]) =>
    sequence(oid(id), ...critical, der(0x04, value));
  const { dns, xmpp, srv, authority } = wish;
  const extensions = [
    extension('2.5.29.19', authority ? sequence(TRUE) : sequence(), TRUE),
    ...(dns || xmpp || srv ? [extension('2.5.29.17', alternativeNames(wish))] : []),
  ];
  const tbs = sequence(
    context(0, integer(2)),
    der(0x02, Buffer.from([1, ++serial >> 8, serial & 255])),
    signer.id,
    commonName(issuer),
    sequence(
      time(wish.notBefore ?? new Date(Date.now() - 60_000)),
      time(wish.notAfter ?? new Date(Date.now() + 3_600_000)),
    ),
    commonName(wish.name ?? 'localhost'),
    keys.publicKey.export({ type: 'spki', format: 'der' }),
    context(3, sequence(...extensions)),
  );
  const signature = sign(
    signer.hash,
    tbs,
    signer.pss ? { key: signingKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 } : signingKey,
  );
  const whole = sequence(tbs, signer.id, der(0x03, Buffer.from([0]), signature));
  return {
    certificate: `-----BEGIN CERTIFICATE-----\n${whole.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
    key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    der: whole,
  };
}

function alternativeNames({ dns = [], xmpp = [], srv = [] }: Wish): Buffer {
  const other = (id: string, value: Buffer) => context(0, oid(id), context(0, value));
  return sequence(
    ...dns.map((name) => der(0x82, Buffer.from(name))),
    ...srv.map((name) => other('1.3.6.1.5.5.7.8.7', der(0x16, Buffer.from(name)))),
    ...xmpp.map((name) => other('1.3.6.1.5.5.7.8.5', utf8(name))),
  );
}
