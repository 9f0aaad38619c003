import type { Account, AccountStore } from '../store.js';
import { keysAfter } from './order.js';

/** Accounts in memory. Records are copied on their way in and out. */
export class MemoryAccounts implements AccountStore {
  private readonly accounts = new Map<string, Account>();

  async get(user: string): Promise<Account | undefined> {
    return structuredClone(this.accounts.get(user));
  }

  async create(user: string, account: Account): Promise<boolean> {
    if (this.accounts.has(user)) return false;
    this.accounts.set(user, structuredClone(account));
    return true;
  }

  async update(user: string, account: Account): Promise<boolean> {
    if (!this.accounts.has(user)) return false;
    this.accounts.set(user, structuredClone(account));
    return true;
  }

  async remove(user: string): Promise<boolean> {
    return this.accounts.delete(user);
  }

  async list(after: string | undefined, limit: number): Promise<string[]> {
    return keysAfter(this.accounts, after, limit);
  }

  async count(): Promise<number> {
    return this.accounts.size;
  }
}
