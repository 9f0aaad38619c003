import { count, counters } from '../metrics/counters.js';
import type { Redis } from '../redis/redis.js';
import { UNKNOWN, partial, type Entries } from './directory.js';
import { rowsOf, shardOf, type DirectoryKeys, type Row } from './directory-rows.js';
import { LOOKUP } from './directory-scripts.js';
import type { DirectorySiblings } from './directory-siblings.js';
import { Generations } from './generations.js';

/** How long a look-up may hold up a stanza. */
const LOOKUP_MS = 2_000;
/** News that comes between a look-up and its answer costs another one; so often. */
const LOOKUPS = 5;
/** Watches outlive what is remembered. */
const WATCH_MARGIN_MS = 60_000;
const NONE: Entries = [];

/** A read that is under way; what it brings is not remembered when there was news meanwhile. */
interface Reading {
  stale: boolean;
  readers: number;
}

export interface ReaderOptions {
  redis: Redis;
  keys: DirectoryKeys;
  self: number;
  /** Asked when Redis cannot be. */
  siblings: DirectorySiblings;
  /** Can stanzas be sent to the row's session? */
  reachable(row: Row): boolean;
  /** Redis could not be asked. */
  trouble(error: unknown): void;
  /** Bare JIDs that are remembered, and how long. */
  capacity: number;
  lifeMs: number;
}

/** Other workers' sessions: asked for when they are needed, and remembered until this worker is told that they changed, or for a time. */
export class DirectoryReader {
  private readonly known: Generations<{ entries: Entries; until: number }>;
  private readonly readings = new Map<string, Reading>();
  private readonly lookups = new Map<string, Promise<Entries>>();
  private readonly watchSeconds: number;

  constructor(private readonly options: ReaderOptions) {
    this.known = new Generations(options.capacity);
    this.watchSeconds = Math.ceil((options.lifeMs + WATCH_MARGIN_MS) / 1000);
  }

  remote(bare: string): Entries | Promise<Entries> {
    const known = this.known.get(bare);
    // While Redis is away nothing changes that could be known.
    if (known !== undefined && (known.until > performance.now() || !this.options.redis.up)) return known.entries;
    let lookup = this.lookups.get(bare);
    if (lookup === undefined) {
      lookup = this.lookUp(bare);
      this.lookups.set(bare, lookup);
      void lookup.then((entries) => this.over(bare, entries));
    }
    return lookup;
  }

  /** What is known in part is not remembered, but in this tick those ask who waited in turn for the same JID (see session/lookups.ts). */
  private over(bare: string, entries: Entries): void {
    if (entries.partial) setImmediate(() => this.lookups.delete(bare));
    else this.lookups.delete(bare);
  }

  private async lookUp(bare: string): Promise<Entries> {
    const { redis, keys, self, trouble } = this.options;
    const shard = shardOf(bare);
    const names = [keys.sessions(shard, bare), keys.watch(shard, bare)];
    let entries = UNKNOWN;
    for (let attempt = 0; attempt < LOOKUPS; attempt++) {
      const reading = this.begin(bare);
      let rows: Row[] | undefined;
      try {
        // Nobody waits for a Redis that is away; of a cluster, that part may be there.
        const patienceMs = redis.up ? LOOKUP_MS : 0;
        const reply = await redis.run(LOOKUP, names, [self, this.watchSeconds], { patienceMs });
        rows = rowsOf(bare, reply as Buffer[]);
        entries = this.others(rows);
      } catch (error) {
        trouble(error);
        return this.atThisHost(bare);
      } finally {
        if (this.end(bare, reading, rows)) attempt = LOOKUPS;
      }
    }
    return entries;
  }

  /** As far as can be known without Redis. */
  private async atThisHost(bare: string): Promise<Entries> {
    const found = await this.options.siblings.of(bare);
    if (found.length > 0) return partial(found);
    count(counters.drops, 'directory_unknown');
    return UNKNOWN;
  }

  /** Before the rows are asked for in a script, which sees to it that this worker is told of changes. Each is ended once. */
  begin(bare: string): Reading {
    let reading = this.readings.get(bare);
    if (reading === undefined) this.readings.set(bare, (reading = { stale: false, readers: 0 }));
    reading.readers++;
    return reading;
  }

  /** With the rows, to be remembered; without, if there were none to be had. False: there was news, and they may be out of date. */
  end(bare: string, reading: Reading, rows: readonly Row[] | undefined): boolean {
    reading.readers--;
    if (reading.readers === 0 && this.readings.get(bare) === reading) this.readings.delete(bare);
    if (reading.stale) return false;
    const { lifeMs } = this.options;
    if (rows !== undefined) this.known.set(bare, { entries: this.others(rows), until: performance.now() + lifeMs });
    return true;
  }

  /** There is news of that JID. */
  forget(bare: string): void {
    this.known.delete(bare);
    const reading = this.readings.get(bare);
    if (reading === undefined) return;
    reading.stale = true;
    this.readings.delete(bare);
  }

  /** There may have been news of any. */
  clear(): void {
    this.known.clear();
    for (const reading of this.readings.values()) reading.stale = true;
    this.readings.clear();
  }

  private others(rows: readonly Row[]): Entries {
    const { self, reachable } = this.options;
    const found = rows.filter((row) => row.worker !== self && reachable(row));
    if (found.length === 0) return NONE;
    return found.map(({ bare, resource, worker, id, available, priority }) => {
      return { bare, resource, worker, id, available, priority };
    });
  }
}
