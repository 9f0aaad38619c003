import type { Redis } from '../../redis/redis.js';
import { Request } from './calls.js';
import type { Lanes } from './lanes.js';
import { finishOrdered, finishPlain } from './scripts.js';

/** An entry of an index, and how to see whether it should be there. */
export interface Entry {
  /** In one slot: the entries, and a ZSET of those that are being changed, by their marks. */
  readonly keys: readonly [entries: string, pending: string];
  /** The entries are a ZSET, else a HASH. */
  readonly ordered?: boolean;
  readonly entry: string;
  there(request: Request): Promise<boolean>;
}

/** So long may a change take before others see to it, in milliseconds. */
export const ABANDONED_MS = 60_000;
/** Entries that are remembered to be settled when Redis is back. */
const REMEMBERED = 100_000;
/** How long one waits at most before it looks anew. */
const LONGEST_PAUSE_MS = 50;
/** Entries that are settled at a time. */
const AT_ONCE = 200;

/**
 * Indexes lie in other slots than what they are about, so both cannot change at once. Who changes something marks the entry
 * as pending before, with a mark of its own, and ends that after: an entry is never missing, and one that is not pending is
 * right. When two do so at once, whoever finds another's mark in place of its own looks anew: the last one has it right.
 * What a process left pending that died over it is settled by whoever reads it a minute later, or by a sweep (sweep.ts).
 */
export class Indexes {
  private readonly left = new Map<string, Entry>();

  constructor(
    private readonly redis: Redis,
    private readonly lanes: Lanes,
  ) {
    redis.onState((up) => {
      if (!up || this.left.size === 0) return;
      const left = [...this.left.values()];
      this.left.clear();
      this.settleBeside(left);
    });
  }

  /**
   * Changes what the entries are about: marks them, does the work, and ends it. `work` tells which of them are there now, or
   * undefined when that must be looked at.
   */
  async around<T>(
    request: Request,
    entries: readonly Entry[],
    work: () => Promise<T>,
    there: (result: T, entry: Entry) => boolean | undefined,
  ): Promise<T> {
    try {
      const marks = await Promise.all(entries.map((entry) => this.mark(request, entry)));
      const result = await work();
      await Promise.all(entries.map((entry, i) => this.end(request, entry, marks[i]!, there(result, entry))));
      return result;
    } catch (error) {
      for (const entry of entries) this.later(entry);
      throw error;
    }
  }

  private async mark(request: Request, { keys, entry }: Entry): Promise<number> {
    // A time as far as numbers of that size are told apart.
    const mark = Date.now() + Math.floor(Math.random() * 4096) / 4096;
    await request.write('ZADD', keys[1], mark, entry);
    return mark;
  }

  private async end(request: Request, entry: Entry, mark: number, there: boolean | undefined): Promise<void> {
    const stays = there ?? (await entry.there(request));
    if (!(await this.finish(request, entry, mark, stays))) await this.settle(request, entry);
  }

  private async finish(request: Request, entry: Entry, mark: number, there: boolean): Promise<boolean> {
    const script = entry.ordered ? finishOrdered : finishPlain;
    return (await request.change(script, entry.keys, [entry.entry, mark, there ? 1 : 0])) === 1;
  }

  /** Makes the entry right, whatever others do meanwhile. */
  async settle(request: Request, entry: Entry): Promise<void> {
    for (let pause = 1; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      const mark = await this.mark(request, entry);
      if (await this.finish(request, entry, mark, await entry.there(request))) return;
      // Two that begin anew in step would thwart each other for ever.
      await new Promise((resolve) => setTimeout(resolve, pause * Math.random()));
    }
  }

  /** The same, without anybody waiting for it. */
  settleBeside(entries: readonly Entry[]): void {
    this.lanes.beside(() => this.settleAll(entries));
  }

  /** What cannot be settled now, is when Redis is back. */
  async settleAll(entries: readonly Entry[]): Promise<void> {
    for (let from = 0; from < entries.length; from += AT_ONCE) {
      const request = new Request(this.redis);
      const settled = (entry: Entry) => this.settle(request, entry).catch(() => this.later(entry));
      await Promise.all(entries.slice(from, from + AT_ONCE).map(settled));
    }
  }

  private later(entry: Entry): void {
    if (this.left.size < REMEMBERED) this.left.set(`${entry.keys[1]} ${entry.entry}`, entry);
  }

  /** Entries that are being changed, with their marks. */
  async pending(request: Request, keys: readonly [string, string]): Promise<Map<string, number>> {
    const found = (await request.read('ZRANGE', keys[1], 0, -1, 'WITHSCORES')) as Buffer[];
    const pending = new Map<string, number>();
    for (let i = 0; i < found.length; i += 2) pending.set(String(found[i]), Number(String(found[i + 1])));
    return pending;
  }

  /** All entries of a HASH; whether those that are pending are there must be looked at. */
  async all(
    request: Request,
    keys: readonly [string, string],
  ): Promise<{ entries: string[]; pending: Map<string, number> }> {
    // In this order: an entry that ceases to be pending in between is found among the others.
    const [pending, found] = await Promise.all([
      this.pending(request, keys),
      request.read('HKEYS', keys[0]) as Promise<Buffer[]>,
    ]);
    return { entries: [...new Set([...found.map(String), ...pending.keys()])], pending };
  }

  /** How many there are. */
  async count(request: Request, entryOf: (entry: string) => Entry): Promise<number> {
    const { keys, ordered } = entryOf('');
    const [pending, count] = await Promise.all([
      this.pending(request, keys),
      request.read(ordered ? 'ZCARD' : 'HLEN', keys[0]) as Promise<number>,
    ]);
    if (pending.size === 0) return count;
    const names = [...pending.keys()];
    const [listed, there] = await Promise.all([
      request.read(ordered ? 'ZMSCORE' : 'HMGET', keys[0], ...names) as Promise<unknown[]>,
      Promise.all(names.map((name) => this.isThere(request, entryOf(name), pending))),
    ]);
    return names.reduce((sum, _, i) => sum + Number(there[i]) - Number(listed[i] !== null), count);
  }

  /** Whether a pending entry is there; one that was abandoned is settled. */
  async isThere(request: Request, entry: Entry, pending: ReadonlyMap<string, number>): Promise<boolean> {
    const there = await entry.there(request);
    this.read(entry, there, pending);
    return there;
  }

  /** Whoever read what an entry is about says so: one that is wrong, or was abandoned, is settled. */
  read(entry: Entry, there: boolean, pending: ReadonlyMap<string, number>): void {
    const mark = pending.get(entry.entry);
    if (mark === undefined ? !there : mark < Date.now() - ABANDONED_MS) this.settleBeside([entry]);
  }
}
