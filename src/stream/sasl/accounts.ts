import { timingSafeEqual } from 'node:crypto';
import type { Account, AccountStore } from '../../store/store.js';
import { Derivation } from './derivation.js';
import { deriveKeys, makeKeys } from './keys.js';
import { preparePassword, prepareUser } from './prepare.js';
import type { ProofCache } from './proofs.js';

export interface AccountsOptions {
  /** PBKDF2 iterations of new keys (RFC 7677 §4). */
  iterations: number;
  proofs: ProofCache;
  derivation?: Derivation;
}

const NO_SALT = new Uint8Array(16);
const NO_KEY = new Uint8Array(32);

/**
 * Accounts with passwords, as the rest of the server sees them. Only SCRAM keys are stored. Users and
 * passwords are taken as they were written and prepared here (RFC 7622 §3.3, RFC 8265 §4.2).
 *
 * A changed or removed account is so for all workers when the method resolves. Every method rejects with StoreError when the store fails; those that take a password also with DerivationBusy when
 * too many derivations are waiting.
 */
export class Accounts {
  /** What else an account has goes with it, and before it: when that fails, all can be tried again. Given the prepared name. */
  leaving: ((user: string) => Promise<void>) | undefined;
  private readonly derivation: Derivation;

  constructor(
    private readonly store: AccountStore,
    private readonly options: AccountsOptions,
  ) {
    this.derivation = options.derivation ?? new Derivation();
  }

  /** `invalid`: the name cannot be a localpart, or the password is empty or has forbidden characters. */
  async create(user: string, password: string): Promise<'created' | 'exists' | 'invalid'> {
    const name = prepareUser(user);
    const secret = preparePassword(password);
    if (name === undefined || secret === undefined) return 'invalid';
    if ((await this.store.get(name)) !== undefined) return 'exists';
    const account = await this.keysFor(secret, Date.now());
    const { proofs } = this.options;
    const { news } = proofs;
    if (!(await this.store.create(name, account))) return 'exists';
    proofs.remember(name, secret, account.sha256.storedKey, news);
    return 'created';
  }

  async setPassword(user: string, password: string): Promise<'changed' | 'missing' | 'invalid'> {
    const name = prepareUser(user);
    const secret = preparePassword(password);
    if (name === undefined || secret === undefined) return 'invalid';
    const old = await this.store.get(name);
    if (old === undefined) return 'missing';
    const account = await this.keysFor(secret, old.created);
    if (!(await this.store.update(name, account))) return 'missing';
    this.options.proofs.remember(name, secret, account.sha256.storedKey);
    await this.options.proofs.told();
    return 'changed';
  }

  /** False when there was no such account. */
  async remove(user: string): Promise<boolean> {
    const name = prepareUser(user);
    if (name === undefined || (await this.store.get(name)) === undefined) return false;
    await this.leaving?.(name);
    if (!(await this.store.remove(name))) return false;
    this.options.proofs.forget(name);
    await this.options.proofs.told();
    return true;
  }

  async exists(user: string): Promise<boolean> {
    const name = prepareUser(user);
    return name !== undefined && (await this.store.get(name)) !== undefined;
  }

  /** Localparts in order, after `after`. */
  list(after: string | undefined, limit: number): Promise<string[]> {
    return this.store.list(after, limit);
  }

  /** Whether the account exists and this is its password. */
  async verify(user: string, password: string): Promise<boolean> {
    const name = prepareUser(user);
    const secret = preparePassword(password);
    return name !== undefined && secret !== undefined && this.verifyPrepared(name, secret);
  }

  /** True when this is the password for certain, by what this worker remembers alone. User and password are prepared. */
  knows(user: string, password: string): boolean {
    return this.options.proofs.knows(user, password);
  }

  /**
   * The same as {@link verify} for what is prepared already. The proof of the last success first: one look-up and one hash. Otherwise
   * PBKDF2, also for an account that does not exist, so that the time tells nothing.
   */
  async verifyPrepared(user: string, password: string): Promise<boolean> {
    const { proofs, iterations } = this.options;
    const { news } = proofs;
    const proof = proofs.of(user);
    const account = await this.store.get(user);
    if (account !== undefined && proofs.fits(user, password, account.sha256.storedKey, proof)) return true;
    const kept = account?.sha256 ?? { salt: NO_SALT, iterations, storedKey: NO_KEY };
    const keys = await deriveKeys(this.derivation, password, kept.salt, kept.iterations, 'sha256');
    if (!timingSafeEqual(keys.storedKey, kept.storedKey) || account === undefined) return false;
    proofs.remember(user, password, account.sha256.storedKey, news);
    return true;
  }

  private async keysFor(password: string, created: number): Promise<Account> {
    const { iterations } = this.options;
    const [sha1, sha256] = await Promise.all([
      makeKeys(this.derivation, password, iterations, 'sha1'),
      makeKeys(this.derivation, password, iterations, 'sha256'),
    ]);
    return { sha1, sha256, created };
  }
}
