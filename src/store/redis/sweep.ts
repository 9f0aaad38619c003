import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Redis } from '../../redis/redis.js';
import type { StoreError } from '../store.js';
import { Request } from './calls.js';
import { ABANDONED_MS, type Entry, type Indexes } from './indexes.js';

/** One of the hosts looks through the keyspace that often, in milliseconds. */
const EVERY_MS = 6 * 3_600_000;
/** How often each asks whether it is time. */
const ASK_MS = 10 * 60_000;
/** Keys that are looked at in one call, and the time between two calls: Redis has better things to do. */
const KEYS = 500;
const PAUSE_MS = 20;

/**
 * Finds what was left pending in the indexes by processes that died over it, and that nobody has read since: now and then, on one host
 * of all.
 */
export class Sweep {
  private readonly timer: NodeJS.Timeout;
  private readonly stopping = new AbortController();
  private sweeping: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly redis: Redis,
    private readonly indexes: Indexes,
    private readonly entryOf: (kind: string, tag: string, entry: string) => Entry | undefined,
    private readonly log: Logger | undefined,
  ) {
    this.timer = setInterval(() => (this.sweeping = this.mine().catch(() => undefined)), ASK_MS);
    this.timer.unref();
  }

  /** Sweeps if nobody did lately. */
  private async mine(): Promise<void> {
    const key = `${this.redis.prefix}:swept:{cluster}`;
    if ((await this.redis.call('SET', [key, Date.now(), 'NX', 'PX', EVERY_MS])) === null) return;
    const settled = await this.sweep(ABANDONED_MS, PAUSE_MS);
    if (settled > 0) this.log?.info({ settled }, 'entries of indexes that somebody left unfinished are settled');
  }

  /** Settles what has been pending for longer than `age` milliseconds; resolves to how much that was. */
  async sweep(age: number, pauseMs = 0): Promise<number> {
    let settled = 0;
    for (const master of await this.redis.masters()) {
      let cursor = '0';
      do {
        const args = [cursor, 'MATCH', `${this.redis.prefix}:*-pending:{*`, 'COUNT', KEYS, 'TYPE', 'zset'];
        const [next, keys] = (await master.call('SCAN', args)) as [Buffer, Buffer[]];
        for (const key of keys) settled += await this.settle(String(key), Date.now() - age);
        cursor = String(next);
        if (pauseMs > 0) await pause(pauseMs, undefined, { signal: this.stopping.signal });
      } while (cursor !== '0');
    }
    return settled;
  }

  private async settle(key: string, before: number): Promise<number> {
    // Names of nodes may look like such keys: what stands right behind the prefix says what it is.
    const [, kind, tag] = /^:([a-z]+)-pending:\{(.*)\}$/s.exec(key.slice(this.redis.prefix.length)) ?? [];
    if (kind === undefined || tag === undefined) return 0;
    const request = new Request(this.redis);
    const found = (await request.read('ZRANGEBYSCORE', key, '-inf', before)) as Buffer[];
    const entries = found.map((entry) => this.entryOf(kind, tag, String(entry))).filter((entry) => entry !== undefined);
    let settled = 0;
    for (const entry of entries)
      try {
        await this.indexes.settle(new Request(this.redis), entry);
        settled++;
      } catch (error) {
        // A damaged node must not keep the others waiting.
        if ((error as StoreError).reason !== 'corrupt') throw error;
        this.log?.warn({ err: error, index: key }, 'an entry of an index cannot be settled');
      }
    return settled;
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.stopping.abort();
    await this.sweeping;
  }
}
