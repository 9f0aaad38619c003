import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { keyspaceKey, migrating, migrationKey } from '../redis/keyspace.js';
import type { Redis } from '../redis/redis.js';
import { StoreError } from './store.js';

/** Says of a store that a migration fills it, and from where to where. As long as it does, nobody else may use the store. */
export interface FillingMark {
  read(): Promise<string | undefined>;
  set(route: string): Promise<void>;
  remove(): Promise<void>;
}

/** In the folder of an lmdb store: whoever makes that anew is rid of it. */
export function markInFolder(path: string): FillingMark {
  const file = join(path, 'filling');
  return {
    read: () =>
      readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      }),
    set: (route) => writeFile(file, route, { mode: 0o600 }),
    remove: () => rm(file, { force: true }),
  };
}

const FIELD = 'filling';

/** Beside what the hosts have in common. */
export function markInRedis(redis: Redis): FillingMark {
  const key = keyspaceKey(redis);
  return {
    read: async () => ((await redis.call('HGET', [key, FIELD])) as Buffer | null)?.toString(),
    set: async (route) => void (await redis.call('HSET', [key, FIELD, route])),
    remove: async () => void (await redis.call('HDEL', [key, FIELD])),
  };
}

/** @throws StoreError where a migration has not come to its end */
export async function refuseWhileFilling(mark: FillingMark): Promise<void> {
  const route = await mark.read();
  if (route === undefined) return;
  throw new StoreError(
    'unavailable',
    `A migration ${route} is under way, or was not finished: run its command again until it says that both sides hold the same, ` +
      'or empty its target',
  );
}

/** @throws StoreError while a migration reads what is in that Redis, or fills it */
export async function refuseWhileMigrating(redis: Redis): Promise<void> {
  const holder = (await redis.call('GET', [migrationKey(redis)])) as Buffer | null;
  if (holder !== null) throw new StoreError('unavailable', `${migrating(holder)}; wait for its end`);
}
