import type { Account, AccountStore } from '../store.js';
import type { Environment, Tables } from './environment.js';
import { read } from './errors.js';
import type { Writer } from './writer.js';

/** Accounts in LMDB. */
export class LmdbAccounts implements AccountStore {
  private readonly table: Tables['accounts'];

  constructor(
    private readonly environment: Environment,
    private readonly writer: Writer,
  ) {
    this.table = environment.tables.accounts;
  }

  get(user: string): Promise<Account | undefined> {
    return read(this.environment, () => {
      const stored = this.table.get(user);
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
    return this.writer.transact(() => {
      if (this.table.doesExist(user) !== exists) return false;
      void this.table.put(user, { user, sha1, sha256, created });
      return true;
    });
  }

  remove(user: string): Promise<boolean> {
    return this.writer.transact(() => {
      if (!this.table.doesExist(user)) return false;
      void this.table.remove(user);
      return true;
    });
  }

  list(after: string | undefined, limit: number): Promise<string[]> {
    return read(this.environment, () => {
      const range = { start: after ?? '', exclusiveStart: after !== undefined, limit };
      return [...this.table.getRange(range)].map(({ value }) => value.user);
    });
  }

  count(): Promise<number> {
    return read(this.environment, () => this.environment.count(this.table));
  }
}
