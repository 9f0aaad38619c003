import type { Logger } from 'pino';
import type { Redis } from '../../redis/redis.js';
import type { Store } from '../store.js';
import { RedisAccounts } from './accounts.js';
import { assureDurability } from './durability.js';
import { Indexes } from './indexes.js';
import { RedisItems } from './items.js';
import { Keys } from './keys.js';
import { Lanes } from './lanes.js';
import { RedisNodes } from './nodes.js';
import { Sweep } from './sweep.js';

export interface RedisStoreOptions {
  /** Acknowledge writes when Redis has them, or when they are on its disk. */
  durability: 'commit' | 'flush';
  log?: Logger | undefined;
}

/** The store that many hosts share. */
export class RedisStore implements Store {
  readonly accounts: RedisAccounts;
  readonly nodes: RedisNodes;
  readonly items: RedisItems;
  private readonly lanes: Lanes;
  private readonly sweeper: Sweep;

  private constructor(redis: Redis, log: Logger | undefined) {
    const keys = new Keys(redis.prefix);
    this.lanes = new Lanes(redis);
    const indexes = new Indexes(redis, this.lanes);
    this.accounts = new RedisAccounts(redis, keys, this.lanes);
    this.nodes = new RedisNodes(redis, keys, this.lanes, indexes);
    this.items = new RedisItems(redis, keys, this.lanes);
    const entryOf = this.nodes.entryOf.bind(this.nodes);
    this.sweeper = new Sweep(redis, indexes, entryOf, log);
  }

  /**
   * Whether the keys are of a format that this version reads, is told by src/redis/keyspace.ts.
   *
   * @throws StoreError with a sentence for the operator.
   */
  static async open(redis: Redis, options: RedisStoreOptions): Promise<RedisStore> {
    await assureDurability(redis, options);
    return new RedisStore(redis, options.log);
  }

  /** Resolves when all that was accepted has been answered: with `flush`, it is on the disk of Redis then. */
  flush(): Promise<void> {
    return this.lanes.settled();
  }

  /** Settles what processes that died left unfinished for longer than `age` milliseconds; resolves to how much that was. */
  sweep(age: number): Promise<number> {
    return this.sweeper.sweep(age);
  }

  async close(): Promise<void> {
    this.lanes.closed = true;
    await this.sweeper.stop();
    await this.lanes.settled();
  }
}
