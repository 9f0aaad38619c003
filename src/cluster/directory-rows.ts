import type { SessionEntry } from './directory.js';

/** Shards of the directory in Redis; each is one slot, and so one server's. Never changed for a keyspace that is in use. */
export const SHARDS = 128;

/** An entry as it lies in Redis. */
export interface Row extends SessionEntry {
  /** Of the worker, when it wrote the row. */
  epoch: number;
}

/** Names of the directory's keys. The braces come before any address: an address may have braces of its own. */
export class DirectoryKeys {
  constructor(private readonly prefix: string) {}

  /** Hash: resource → row. */
  sessions(shard: number, bare: string): string {
    return this.sessionsIn(shard) + bare;
  }

  sessionsIn(shard: number): string {
    return `${this.prefix}:sessions:${tag(shard)}:`;
  }

  /** Set: the workers that remember what they read of the bare JID. Those that have a session of it are told anyway. */
  watch(shard: number, bare: string): string {
    return this.watchIn(shard) + bare;
  }

  watchIn(shard: number): string {
    return `${this.prefix}:watch:${tag(shard)}:`;
  }

  /** Set: the full JIDs that the worker holds. */
  held(shard: number, worker: number | string): string {
    return `${this.heldIn(shard)}${worker}`;
  }

  heldIn(shard: number): string {
    return `${this.prefix}:held:${tag(shard)}:`;
  }
}

function tag(shard: number): string {
  return `{d${String(shard).padStart(3, '0')}}`;
}

/** FNV-1a of the bare JID's UTF-8. */
export function shardOf(bare: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bare.length; i++) {
    const code = bare.charCodeAt(i);
    if (code > 0x7f) return hashed(Buffer.from(bare)) % SHARDS;
    hash = Math.imul(hash ^ code, 0x01000193);
  }
  return (hash >>> 0) % SHARDS;
}

function hashed(bytes: Buffer): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** `worker epoch id available priority` */
export function packed(entry: SessionEntry, epoch: number): string {
  return `${entry.worker} ${epoch} ${entry.id} ${entry.available ? 1 : 0} ${entry.priority}`;
}

export function unpacked(bare: string, resource: string, value: string): Row {
  const [worker, epoch, id, available, priority] = value.split(' ');
  return {
    bare,
    resource,
    worker: Number(worker),
    epoch: Number(epoch),
    id: id!,
    available: available === '1',
    priority: Number(priority),
  };
}

/** The rows of a bare JID, from the reply of HGETALL. */
export function rowsOf(bare: string, reply: readonly Buffer[]): Row[] {
  const rows: Row[] = [];
  for (let i = 0; i + 1 < reply.length; i += 2) rows.push(unpacked(bare, String(reply[i]), String(reply[i + 1])));
  return rows;
}
