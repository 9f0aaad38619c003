import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Redis } from '../redis/redis.js';
import type { Directory, SessionEntry } from './directory.js';
import type { Membership } from './member.js';
import { MemoryDirectory } from './memory-directory.js';
import type { Company } from './redis-directory.js';

const SHARDS_MAX = 16;

/** Where the session tables lie; nothing in them outlives the pool. */
export function sessionTablesPath(dataDir: string): string {
  return join(dataDir, 'sessions');
}

/** Removes what an earlier pool left. The supervisor calls it before it starts the first worker. */
export function wipeSessionTables(dataDir: string): void {
  const path = sessionTablesPath(dataDir);
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

/** A power of two, at least the number of workers as long as that is sensible: writers to different shards do not meet. */
export function shardCount(workers: number): number {
  let shards = 1;
  while (shards < workers && shards < SHARDS_MAX) shards *= 2;
  return shards;
}

export interface DirectoryOptions {
  pool: Pick<Membership, 'bus' | 'workers' | 'onDeparted'>;
  dataDir: string;
  /** Where there are many hosts. */
  cluster?: {
    redis: Redis;
    hosts: Company;
    leaseSeconds: number;
    /** A session of this worker whose resource another one has by now: it has to end. */
    onLost: (entry: SessionEntry) => void;
    log: Logger;
  };
}

/**
 * Opens the session directory of a member of the pool, before `pool.connect()`. A lone worker's is a map in memory, that of many hosts
 * lies in Redis; code is loaded only by those who need it.
 */
export async function openDirectory(options: DirectoryOptions): Promise<Directory> {
  const { pool, dataDir, cluster } = options;
  if (cluster !== undefined) {
    const { RedisDirectory } = await import('./redis-directory.js');
    return new RedisDirectory({ ...cluster, verifyMs: cluster.leaseSeconds * 1000 });
  }
  if (pool.workers === 1) return new MemoryDirectory();
  const { LmdbDirectory } = await import('./lmdb-directory.js');
  const directory = new LmdbDirectory({
    bus: pool.bus,
    path: sessionTablesPath(dataDir),
    shards: shardCount(pool.workers),
  });
  pool.onDeparted((worker) => directory.sweep(worker));
  return directory;
}
