import type { Logger } from 'pino';
import type { Redis } from '../redis/redis.js';
import { markInFolder, markInRedis, refuseWhileFilling, refuseWhileMigrating } from './filling.js';
import { StoreError, type Store } from './store.js';

export interface StoreOptions {
  kind: 'lmdb' | 'redis' | 'memory';
  /** The folder of an lmdb store, made when missing; the others have none. */
  path: string;
  /** Where a redis store is kept; whoever opened it closes it, after the store. */
  redis?: Redis;
  /** When a write is acknowledged: when it survives the process, or when it is on disk. */
  durability: 'commit' | 'flush';
  /** Address space to begin with, in bytes; it grows by itself. */
  mapSizeBytes?: number;
  /** Writes are refused, and a missing store is an error. */
  readOnly?: boolean;
  /** A migration reads or fills it; all others are refused until that has come to its end. */
  migrating?: boolean;
  /** Where a redis store warns of a Redis that keeps nothing. */
  log?: Logger;
}

const KINDS: Record<StoreOptions['kind'], (options: StoreOptions) => Promise<Store>> = {
  lmdb: async (options) => {
    if (!options.migrating) await refuseWhileFilling(markInFolder(options.path));
    return (await import('./lmdb/lmdb-store.js')).LmdbStore.open(options);
  },
  redis: async ({ redis, durability, log, migrating }) => {
    if (redis === undefined) throw new StoreError('unavailable', 'A store in Redis needs a connection to it.');
    if (!migrating) {
      await refuseWhileFilling(markInRedis(redis));
      await refuseWhileMigrating(redis);
    }
    return (await import('./redis/redis-store.js')).RedisStore.open(redis, { durability, log });
  },
  memory: async () => new (await import('./memory.js')).MemoryStore(),
};

/** @throws StoreError with a sentence for the operator, e.g. when the store is damaged or was written by another version. */
export function openStore(options: StoreOptions): Promise<Store> {
  return KINDS[options.kind](options);
}
