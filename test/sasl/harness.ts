import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { Accounts } from '../../src/stream/sasl/accounts.js';
import { Authenticator, type AuthenticatorOptions } from '../../src/stream/sasl/authenticator.js';
import { Derivation } from '../../src/stream/sasl/derivation.js';
import { ProofCache } from '../../src/stream/sasl/proofs.js';
import type { ScramHash } from '../../src/stream/sasl/keys.js';
import type { SaslContext, SaslStep } from '../../src/stream/sasl/types.js';
import { StoreError, type Account, type AccountStore } from '../../src/store/store.js';

/** An account store in a Map that can be told to fail. */
export class MapAccounts implements AccountStore {
  readonly accounts = new Map<string, Account>();
  failing = false;
  lookups = 0;

  async get(user: string) {
    this.lookups++;
    this.check();
    return this.accounts.get(user);
  }
  async create(user: string, account: Account) {
    this.check();
    if (this.accounts.has(user)) return false;
    this.accounts.set(user, account);
    return true;
  }
  async update(user: string, account: Account) {
    this.check();
    if (!this.accounts.has(user)) return false;
    this.accounts.set(user, account);
    return true;
  }
  async remove(user: string) {
    this.check();
    return this.accounts.delete(user);
  }
  async list(after: string | undefined, limit: number) {
    const names = [...this.accounts.keys()].sort();
    return names.filter((name) => after === undefined || name > after).slice(0, limit);
  }
  async count() {
    return this.accounts.size;
  }
  private check() {
    if (this.failing) throw new StoreError('unavailable', 'told to fail');
  }
}

export const ITERATIONS = 4096;

/** An authenticator over a Map, with the account juliet/r0m30. */
export async function house(options: Partial<AuthenticatorOptions> & { derivation?: Derivation } = {}) {
  const store = new MapAccounts();
  const proofs = new ProofCache({ key: Buffer.alloc(32, 1), capacity: 100 });
  const derivation = options.derivation ?? new Derivation();
  const accounts = new Accounts(store, { iterations: ITERATIONS, proofs, derivation });
  const authenticator = new Authenticator(accounts, store, {
    secret: Buffer.alloc(32, 2),
    iterations: ITERATIONS,
    ...options,
  });
  await accounts.create('juliet', 'r0m30');
  return { store, proofs, accounts, authenticator, derivation };
}

export const EXPORTER = Buffer.alloc(32, 7);
export const END_POINT = Buffer.alloc(32, 8);

export function context(more: Partial<SaslContext> = {}): SaslContext {
  return {
    domain: 'localhost',
    secure: true,
    plainAllowed: true,
    bindings: { 'tls-exporter': EXPORTER, 'tls-server-end-point': END_POINT },
    ...more,
  };
}

export const CLEAR = context({ secure: false, bindings: {} });

/** `not-authorized`, `success juliet`, … : a step in one word or two. */
export function outcome(step: SaslStep): string {
  if (step.kind === 'failure') return step.condition;
  return step.kind === 'success' ? `success ${step.user}` : 'challenge';
}

export interface ScramClient {
  mechanism: string;
  user: string;
  password: string;
  gs2?: string;
  binding?: Buffer;
  nonce?: string;
  /** Alters the final message before it is sent. */
  tamper?: (finalMessage: string) => string;
}

/** The client's side of SCRAM, written on its own. Checks the server's signature. */
export async function scram(authenticator: Authenticator, where: SaslContext, client: ScramClient): Promise<SaslStep> {
  const hash: ScramHash = client.mechanism.includes('256') ? 'sha256' : 'sha1';
  const exchange = authenticator.start(where, client.mechanism)!;
  const gs2 = client.gs2 ?? 'n,,';
  const user = client.user.replaceAll('=', '=3D').replaceAll(',', '=2C');
  const bare = `n=${user},r=${client.nonce ?? 'clientnonce'}`;
  const first = await exchange.respond(Buffer.from(gs2 + bare));
  if (first.kind !== 'challenge') return first;
  const serverFirst = first.data.toString();
  const [, nonce, salt, iterations] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst)!;
  const bound = Buffer.concat([Buffer.from(gs2), client.binding ?? Buffer.alloc(0)]).toString('base64');
  const withoutProof = `c=${bound},r=${nonce}`;
  const mac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest();
  const salted = pbkdf2Sync(
    client.password,
    Buffer.from(salt, 'base64'),
    Number(iterations),
    hash === 'sha1' ? 20 : 32,
    hash,
  );
  const clientKey = mac(salted, 'Client Key');
  const authMessage = `${bare},${serverFirst},${withoutProof}`;
  const signature = mac(createHash(hash).update(clientKey).digest(), authMessage);
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index])).toString('base64');
  const final = `${withoutProof},p=${proof}`;
  const last = await exchange.respond(Buffer.from(client.tamper?.(final) ?? final));
  if (last.kind === 'success') {
    const expected = `v=${mac(mac(salted, 'Server Key'), authMessage).toString('base64')}`;
    if (last.data?.toString() !== expected) throw new Error('the server does not know the password');
  }
  return last;
}
