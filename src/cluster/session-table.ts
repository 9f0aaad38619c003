import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Directory } from './directory.js';
import type { Membership } from './member.js';
import { MemoryDirectory } from './memory-directory.js';

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

/**
 * Opens the session directory of a member of the pool, before `pool.connect()`. A lone worker's is a map in memory; LMDB is
 * loaded only by those who need it.
 */
export async function openDirectory(options: {
  pool: Pick<Membership, 'bus' | 'workers' | 'onDeparted'>;
  dataDir: string;
}): Promise<Directory> {
  const { pool, dataDir } = options;
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
