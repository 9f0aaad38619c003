import type { Account, AccountStore } from '../store.js';
import type { Environment, Objects } from './environment.js';
import { read } from './errors.js';
import { nameKey } from './keys.js';
import type { Writer } from './writer.js';

interface StoredAccount extends Account {
  user: string;
}

/** Accounts in LMDB. */
export class LmdbAccounts implements AccountStore {
  private readonly table: Objects<StoredAccount>;

  constructor(
    private readonly environment: Environment,
    private readonly writer: Writer,
  ) {
    this.table = environment.tables.accounts as Objects<StoredAccount>;
  }

  get(user: string): Promise<Account | undefined> {
    return read(this.environment, () => {
      const stored = this.table.get(nameKey(user));
      return stored && { sha1: stored.sha1, sha256: stored.sha256, created: stored.created };
    });
  }

  create(user: string, account: Account): Promise<boolean> {
    return this.put(user, account, false);
  }

  update(user: string, account: Account): Promise<boolean> {
    return this.put(user, account, true);
  }

  /** Writes the account where one is (or is not) already. */
  private put(user: string, { sha1, sha256, created }: Account, exists: boolean): Promise<boolean> {
    const key = nameKey(user);
    return this.writer.transact(() => {
      if (this.table.doesExist(key) !== exists) return false;
      void this.table.put(key, { user, sha1, sha256, created });
      return true;
    });
  }

  remove(user: string): Promise<boolean> {
    const key = nameKey(user);
    return this.writer.transact(() => {
      if (!this.table.doesExist(key)) return false;
      void this.table.remove(key);
      return true;
    });
  }

  list(after: string | undefined, limit: number): Promise<string[]> {
    return read(this.environment, () => {
      const range = after === undefined ? {} : { start: nameKey(after), exclusiveStart: true };
      return [...this.table.getRange({ ...range, limit })].map(({ value }) => value.user);
    });
  }

  count(): Promise<number> {
    return read(this.environment, () => this.environment.count(this.table));
  }
}
