import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { Bounded } from './bounded.js';
import { CHANNEL, type Bus } from './bus.js';
import { count, counters } from '../metrics/counters.js';
import type { BindOutcome, BindRules, Directory, Entries, SessionEntry } from './directory.js';
import { Generations } from './generations.js';

export interface LmdbDirectoryOptions {
  bus: Bus;
  /** Directory with one environment per shard; private to the pool. */
  path: string;
  /** A power of two, the same for every worker. */
  shards: number;
  /** Bare JIDs whose remote entries are remembered. */
  cache?: number;
}

/** What a table keeps of an entry; bare JID and resource stand in the key, unless they are too long for one. */
type Row = [worker: number, id: string, available: boolean, priority: number, resource: string];

const CACHE = 50_000;
/** LMDB's keys are short (1978 bytes); a JID may have 3071. Longer parts are keyed by their digest. */
const PART_MAX = 900;
const SEPARATOR = '\0';
const AFTER_SEPARATOR = '\x01';
/** Address space per shard; memory and disk are used only as rows come. */
const MAP_BYTES = 1024 ** 3;
const READERS = 1024;
/** Entries that a sweep looks at before it lets others work. */
const SWEEP_SLICE = 500;
const RETRY_MS = 1_000;
/** The version of a row that is not there, to LMDB. */
const ABSENT = null;
const NONE: Entries = [];
/** Whatever is there is replaced. */
const ANYHOW: BindRules = { replace: true, room: Infinity };
/** Only the session's own entry is replaced. */
const ADOPTING: BindRules = { replace: false, room: Infinity };

/**
 * The session directory of a pool: tables in shared memory-mapped files, one key per full JID. Every write is conditional
 * on the version that was read, so two workers that bind the same full JID settle in the order of the commits: the later one
 * learns of the entry that it displaced, and the loser's later writes do nothing. No lock is ever held while
 * JavaScript runs, and none is waited for on the event loop.
 */
export class LmdbDirectory implements Directory {
  private readonly tables: RootDatabase<Row, Buffer>[];
  private readonly bus: Bus;
  /** Entries at other workers by bare JID; the bus says when they change. */
  private readonly cache: Generations<Entries>;
  /** Version of the row of each session of this worker, by session id. */
  private readonly held = new Map<string, number>();
  private readonly base: number;
  private writes = 0;
  private closed = false;
  /** Set while another process opens the tables: nothing is written until it resolves. */
  private gate: Promise<void> | undefined;
  private openGate: (() => void) | undefined;
  private readonly bounded = new Bounded();
  private swept: ((entry: SessionEntry) => void) | undefined;

  constructor(options: LmdbDirectoryOptions) {
    const { bus, path, shards, cache = CACHE } = options;
    this.bus = bus;
    this.cache = new Generations(cache);
    this.base = bus.self * 2 ** 31;
    this.tables = Array.from({ length: shards }, (_, index) =>
      open<Row, Buffer>({
        path: join(path, `shard-${index}`),
        keyEncoding: 'binary',
        useVersions: true,
        noSync: true,
        overlappingSync: false,
        mapSize: MAP_BYTES,
        maxReaders: READERS,
        maxDbs: 1,
      }),
    );
    bus.listen(CHANNEL.directory, (_from, body) => this.cache.delete(body.toString('utf8')));
    // Whatever changed while the two did not know each other was not told.
    bus.onPeerUp(() => this.cache.clear());
    bus.onPeerDown(() => this.cache.clear());
  }

  async bind(entry: SessionEntry, rules = ANYHOW): Promise<BindOutcome> {
    const outcome = await this.put(entry, rules);
    return typeof outcome === 'object' && !this.lives(outcome.worker) ? undefined : outcome;
  }

  async adopt(entry: SessionEntry): Promise<boolean> {
    return (await this.put(entry, ADOPTING)) !== 'taken';
  }

  /** Writes the entry over what is there, by those rules. */
  private async put(entry: SessionEntry, rules: BindRules): Promise<BindOutcome> {
    const shard = this.shard(entry.bare);
    const key = keyOf(entry.bare, entry.resource);
    const version = this.version();
    this.held.set(entry.id, version);
    let displaced: SessionEntry | undefined;
    try {
      for (;;) {
        if (this.gate !== undefined) await this.gate;
        shard.resetReadTxn();
        const found = shard.getEntry(key);
        displaced = found && entryOf(entry.bare, found.value);
        const refused = this.refused(entry, displaced, rules);
        if (refused !== undefined) {
          if (this.held.get(entry.id) === version) this.held.delete(entry.id);
          return refused;
        }
        if (await shard.put(key, rowOf(entry), version, found ? found.version! : (ABSENT as never))) break;
        // Somebody else's write came between, and succeeded: so this ends. Unless the session ended meanwhile.
        if (this.held.get(entry.id) !== version) return undefined;
      }
    } catch (error) {
      this.held.delete(entry.id);
      throw silenced(error);
    }
    // What it displaced this worker may remember.
    this.cache.delete(entry.bare);
    if (displaced?.worker === this.bus.self && displaced.id !== entry.id) this.held.delete(displaced.id);
    await this.tell(entry.bare);
    return displaced;
  }

  private refused(entry: SessionEntry, found: SessionEntry | undefined, rules: BindRules): BindOutcome {
    // One of this worker's own may have ended, and only wait to be removed.
    const stands =
      found !== undefined && (found.worker === this.bus.self ? this.held.has(found.id) : this.lives(found.worker));
    if (stands) {
      return rules.replace || found.id === entry.id ? undefined : 'taken';
    }
    return rules.room !== Infinity && this.remote(entry.bare).length >= rules.room ? 'too-many' : undefined;
  }

  update(entry: SessionEntry): Promise<undefined> | undefined {
    const before = this.held.get(entry.id);
    if (before === undefined) return undefined;
    const version = this.version();
    this.held.set(entry.id, version);
    const key = keyOf(entry.bare, entry.resource);
    return this.write(entry, true, () => this.shard(entry.bare).put(key, rowOf(entry), version, before));
  }

  unbind(entry: SessionEntry): void {
    const version = this.held.get(entry.id);
    if (version === undefined) return;
    this.held.delete(entry.id);
    const key = keyOf(entry.bare, entry.resource);
    void this.write(entry, false, () => this.shard(entry.bare).remove(key, version));
  }

  remote(bare: string): Entries {
    const known = this.cache.get(bare);
    if (known !== undefined) return known;
    const shard = this.shard(bare);
    // The snapshot of this turn of the event loop may be older than an invalidation that came in it.
    shard.resetReadTxn();
    const name = part(bare);
    const found: SessionEntry[] = [];
    const range = { start: Buffer.from(name + SEPARATOR), end: Buffer.from(name + AFTER_SEPARATOR) };
    for (const { value } of shard.getRange(range)) {
      if (value[0] !== this.bus.self && this.bus.peers.has(value[0])) found.push(entryOf(bare, value));
    }
    const entries = found.length === 0 ? NONE : found;
    this.cache.set(bare, entries);
    return entries;
  }

  count(): number {
    let sum = 0;
    for (const shard of this.tables) sum += (shard.getStats() as { entryCount: number }).entryCount;
    return sum;
  }

  /** Removes what a dead worker left; one worker is asked to for each death. Readers skip such entries anyway. */
  async sweep(worker: number): Promise<void> {
    for (const shard of this.tables) {
      // A killed reader would keep its snapshot's pages for ever.
      shard.readerCheck();
      let start: Buffer | undefined;
      for (;;) {
        if (this.gate !== undefined) await this.gate;
        shard.resetReadTxn();
        const slice = shard.getRange({ start, limit: SWEEP_SLICE, versions: true }).asArray as never;
        const rows = (await slice) as { key: Buffer; value: Row; version: number }[];
        const left = rows.filter(({ value }) => value[0] === worker);
        const removed = await Promise.all(left.map(({ key, version }) => shard.remove(key, version as never)));
        left.forEach(({ key, value }, i) => removed[i] && this.tellSwept(key, value));
        if (rows.length < SWEEP_SLICE) break;
        start = Buffer.concat([rows[rows.length - 1]!.key, Buffer.of(0)]);
      }
    }
  }

  private tellSwept(key: Buffer, value: Row): void {
    // Very long addresses are not in the key itself: nobody is called so.
    const entry = entryOf(key.toString('utf8', 0, key.indexOf(SEPARATOR)), value);
    if (entry.available) this.swept?.(entry);
  }

  onSwept(listener: (entry: SessionEntry) => void): void {
    this.swept = listener;
  }

  async hold(): Promise<void> {
    this.gate ??= new Promise((resolve) => (this.openGate = resolve));
    await Promise.all(this.tables.map((shard) => shard.committed));
  }

  release(): void {
    this.gate = undefined;
    this.openGate?.();
  }

  async close(): Promise<void> {
    this.closed = true;
    this.release();
    await Promise.all(this.tables.map((shard) => shard.close()));
  }

  /**
   * Writes, and tells the others once it is there for them to read; `wait`: until they know. A full disk delays it, so
   * that no ghost stays, but not those who wait for it.
   */
  private async write(entry: SessionEntry, wait: boolean, attempt: () => Promise<boolean>): Promise<undefined> {
    try {
      if (this.gate !== undefined) await this.gate;
      if (!(await attempt())) return;
      if (wait) await this.tell(entry.bare);
      else this.bus.broadcast(CHANNEL.directory, Buffer.from(entry.bare));
    } catch (error) {
      silenced(error);
      count(counters.drops, 'directory_write_failed');
      setTimeout(() => this.closed || void this.write(entry, wait, attempt), RETRY_MS).unref();
    }
  }

  /** Resolves when no worker remembers what was there before. */
  private tell(bare: string): Promise<void> {
    if (this.bus.peers.size === 0) return Promise.resolve();
    this.bus.broadcast(CHANNEL.directory, Buffer.from(bare));
    return this.bounded.wait(this.bus.barrier());
  }

  private lives(worker: number): boolean {
    return worker === this.bus.self || this.bus.peers.has(worker);
  }

  private shard(bare: string): RootDatabase<Row, Buffer> {
    let hash = 0x811c9dc5; // FNV-1a
    for (let i = 0; i < bare.length; i++) hash = Math.imul(hash ^ bare.charCodeAt(i), 0x01000193);
    return this.tables[(hash >>> 8) & (this.tables.length - 1)]!;
  }

  /** Unique in the pool: LMDB keeps versions as doubles, which hold 2^22 workers' 2^31 writes exactly. */
  private version(): number {
    return this.base + ++this.writes;
  }
}

function part(text: string): string {
  if (text.length * 3 <= PART_MAX || Buffer.byteLength(text) <= PART_MAX) return text;
  return createHash('sha256').update(text).digest('base64url') + SEPARATOR;
}

function keyOf(bare: string, resource: string): Buffer {
  return Buffer.from(part(bare) + SEPARATOR + part(resource));
}

function rowOf(entry: SessionEntry): Row {
  return [entry.worker, entry.id, entry.available, entry.priority, entry.resource];
}

function entryOf(bare: string, [worker, id, available, priority, resource]: Row): SessionEntry {
  return { bare, resource, worker, id, available, priority };
}

/** LMDB rejects a failed commit twice: the write, and a promise on its error that nobody else will look at. */
function silenced(error: unknown): unknown {
  const { commitError } = error as { commitError?: Promise<never> };
  commitError?.catch(() => undefined);
  return error;
}
