import type { Logger } from 'pino';
import { counters } from '../metrics/counters.js';
import type { Redis } from '../redis/redis.js';
import type { Bus } from './bus.js';
import type { BindOutcome, BindRules, Directory, Entries, SessionEntry } from './directory.js';
import { DirectoryCare } from './directory-care.js';
import { DirectoryHolder } from './directory-holder.js';
import { DirectoryNews } from './directory-news.js';
import { DirectoryReader } from './directory-reader.js';
import { DirectoryKeys } from './directory-rows.js';
import { CLAIM } from './directory-scripts.js';
import { DirectorySiblings } from './directory-siblings.js';

/** What the directory has to know of the workers of all hosts. */
export interface Company {
  readonly bus: Bus;
  /** Of this worker. */
  readonly epoch: number;
  members(): readonly { number: number }[];
  lives(worker: number, epoch: number): boolean;
  onRenewed(fn: () => Promise<void>): void;
  onDeparted(fn: (worker: number, epoch: number) => Promise<void>): void;
  onLeave(fn: () => boolean): void;
}

export interface RedisDirectoryOptions {
  redis: Redis;
  hosts: Company;
  /** How often a part of this worker's rows is compared with its sessions, in milliseconds. */
  verifyMs: number;
  /** A session of this worker whose resource another has by now: it has to end. */
  onLost?: (entry: SessionEntry) => void;
  log?: Pick<Logger, 'warn'>;
  /** Bare JIDs whose remote entries are remembered, and for how long. */
  cache?: number;
  cacheMs?: number;
}

const CACHE = 50_000;
const CACHE_MS = 300_000;
/** How long the last writes may take. */
const CLOSE_MS = 10_000;
const COUNT_MS = 5_000;
const ANYHOW: BindRules = { replace: true, room: Infinity };

/**
 * The session directory of many hosts: a hash for each bare JID, in one of 128 slots. Conflicts are settled in the order in which
 * Redis does the scripts. Rows carry the epoch of their worker: those of a dead one are nobody's from the moment of its
 * death, and are removed by whoever is told of it.
 */
export class RedisDirectory implements Directory {
  private readonly reader: DirectoryReader;
  private readonly holder: DirectoryHolder;
  private readonly care: DirectoryCare;
  private readonly timer: NodeJS.Timeout;
  /** Trouble is told once, until Redis is there again. */
  private told = false;
  private total: number | undefined;
  private counted = -Infinity;
  private swept: ((entry: SessionEntry) => void) | undefined;

  constructor(private readonly options: RedisDirectoryOptions) {
    const { redis, hosts, verifyMs, cache: capacity = CACHE, cacheMs: lifeMs = CACHE_MS } = options;
    const { bus } = hosts;
    const { self } = bus;
    const keys = new DirectoryKeys(redis.prefix);
    const lives = (worker: number, epoch: number): boolean => hosts.lives(worker, epoch);
    const trouble = (error: unknown): void => this.trouble(error);
    const reader = (this.reader = new DirectoryReader({
      redis,
      keys,
      self,
      siblings: new DirectorySiblings(bus, (bare) => this.holder.of(bare)),
      reachable: ({ worker, epoch }) => bus.peers.has(worker) && lives(worker, epoch),
      trouble,
      capacity,
      lifeMs,
    }));
    const news = new DirectoryNews(bus, {
      changed: (bare) => reader.forget(bare),
      look: (bare) => {
        for (const held of this.holder.of(bare)) void this.holder.reclaim(held);
      },
    });
    const onLost = (entry: SessionEntry): void => options.onLost?.(entry);
    const epoch = (): number => hosts.epoch;
    this.holder = new DirectoryHolder({ redis, keys, self, reader, news, epoch, lives, onLost, trouble });
    this.care = new DirectoryCare({
      self,
      redis,
      keys,
      shards: this.holder.shards,
      changed: (bare, rows, watchers) => void news.tell(bare, rows, watchers),
      swept: (entry) => this.swept?.(entry),
      repair: (held) => this.holder.reclaim(held),
      lost: () => reader.clear(),
    });
    // Whatever changed while the two did not know each other, or while Redis was away, was not told.
    bus.onPeerUp(() => reader.clear());
    bus.onPeerDown(() => reader.clear());
    redis.onState((up) => {
      if (up) this.recover();
    });
    redis.onForsaken(() => this.holder.writer.giveUp());
    hosts.onRenewed(() => this.renew());
    hosts.onDeparted((worker, epoch) => this.care.sweep(worker, epoch));
    hosts.onLeave(() => this.holder.shards.every(({ held }) => held.size === 0));
    this.timer = setInterval(() => {
      if (redis.up) this.care.glance().catch(trouble);
    }, verifyMs).unref();
  }

  async bind(entry: SessionEntry, rules = ANYHOW): Promise<BindOutcome> {
    const claimed = await this.holder.add(entry, rules.replace ? CLAIM.any : CLAIM.own, rules.room);
    if (claimed === undefined || claimed === 'moved') return undefined;
    if (typeof claimed === 'string') return claimed;
    const { hosts } = this.options;
    if (claimed.worker !== hosts.bus.self && !hosts.lives(claimed.worker, claimed.epoch)) return undefined;
    const { bare, resource, worker, id, available, priority } = claimed;
    return { bare, resource, worker, id, available, priority };
  }

  async adopt(entry: SessionEntry): Promise<boolean> {
    return (await this.holder.add(entry, CLAIM.session, Infinity)) !== 'taken';
  }

  update(entry: SessionEntry): Promise<undefined> | undefined {
    const held = this.holder.find(entry);
    if (held === undefined) return undefined;
    held.entry = entry;
    return this.holder.writer.push(held);
  }

  unbind(entry: SessionEntry): void {
    const held = this.holder.find(entry);
    if (held === undefined) return;
    held.gone = true;
    void this.holder.writer.push(held);
  }

  remote(bare: string): Entries | Promise<Entries> {
    return this.reader.remote(bare);
  }

  onSwept(listener: (entry: SessionEntry) => void): void {
    this.swept = listener;
  }

  /** As of the last seconds; of this worker alone before Redis has answered once. */
  count(): number {
    if (performance.now() - this.counted > COUNT_MS && this.options.redis.up) {
      this.counted = performance.now();
      this.shards().catch((error: unknown) => this.trouble(error));
    }
    return this.total ?? this.holder.shards.reduce((sum, { held }) => sum + held.size, 0);
  }

  async shards(): Promise<{ shard: number; sessions: number }[]> {
    const counts = await this.care.count(this.options.hosts.members().map(({ number }) => number));
    this.total = counts.reduce((sum, size) => sum + size, 0);
    return counts.map((sessions, shard) => ({ shard, sessions }));
  }

  /** Compares all that this worker has in Redis with its sessions, and puts it right; also done by itself. */
  verify(): Promise<void> {
    return this.care.verify();
  }

  /** Writes what is to be written. */
  async close(): Promise<void> {
    clearInterval(this.timer);
    await this.holder.writer.close(this.options.redis.forsaken ? 0 : CLOSE_MS);
  }

  /** A new epoch: rows of the old one are nobody's. */
  private async renew(): Promise<void> {
    this.reader.clear();
    const all = this.holder.shards.flatMap(({ held }) => [...held.values()].filter(({ gone }) => !gone));
    counters.reconciliations += all.length;
    await Promise.all(all.map((held) => this.holder.reclaim(held)));
  }

  /** Redis is there again, perhaps without what was written last, or without anything. */
  private recover(): void {
    this.told = false;
    this.reader.clear();
    this.holder.writer.resume();
    this.care.verify().catch((error: unknown) => this.trouble(error));
  }

  private trouble(error: unknown): void {
    if (this.told) return;
    this.told = true;
    this.options.log?.warn({ err: error }, 'the session directory cannot be reached');
  }
}
