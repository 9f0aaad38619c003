import type { Redis } from '../../redis/redis.js';
import type { Account, AccountStore } from '../store.js';
import { Request } from './calls.js';
import { type Keys, SHARDS, shardOf } from './keys.js';
import type { Lanes } from './lanes.js';
import { merged } from './lists.js';
import { packAccount, token, unpackAccount } from './pack.js';
import { createAccount, removeAccount, updateAccount } from './scripts.js';

/** Accounts in Redis, spread by their localparts. */
export class RedisAccounts implements AccountStore {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly lanes: Lanes,
  ) {}

  private of(user: string): [accounts: string, users: string] {
    const shard = shardOf(user);
    return [this.keys.accounts(shard), this.keys.users(shard)];
  }

  /** In the user's turn; no node's name begins with NUL. */
  private inTurn<T>(user: string, work: (request: Request) => Promise<T>): Promise<T> {
    return this.lanes.inTurn(`\0${user}`, work);
  }

  async get(user: string): Promise<Account | undefined> {
    const value = (await new Request(this.redis).read('HGET', this.of(user)[0], user)) as Buffer | null;
    return value === null ? undefined : unpackAccount(user, value);
  }

  create(user: string, account: Account): Promise<boolean> {
    const args = [user, packAccount(account)];
    return this.inTurn(user, async (request) => (await request.change(createAccount, this.of(user), args)) === 1);
  }

  update(user: string, account: Account): Promise<boolean> {
    const args = [user, packAccount(account)];
    return this.inTurn(user, async (request) => (await request.change(updateAccount, this.of(user), args)) === 1);
  }

  remove(user: string): Promise<boolean> {
    const keys = this.of(user);
    const marker = this.keys.done(keys[0], token());
    return this.inTurn(user, async (request) => (await request.once(removeAccount, keys, [user], marker)) === 1);
  }

  async list(after: string | undefined, limit: number): Promise<string[]> {
    const request = new Request(this.redis);
    return merged(limit, (shard, most) => request.names(this.keys.users(shard), after, most));
  }

  async count(): Promise<number> {
    const request = new Request(this.redis);
    const shards = Array.from({ length: SHARDS }, (_, shard) => request.read('HLEN', this.keys.accounts(shard)));
    return ((await Promise.all(shards)) as number[]).reduce((sum, count) => sum + count, 0);
  }
}
