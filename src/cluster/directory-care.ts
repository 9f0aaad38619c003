import { counters } from '../metrics/counters.js';
import type { Redis, RedisArgument } from '../redis/redis.js';
import type { SessionEntry } from './directory.js';
import { rowsOf, unpacked, type DirectoryKeys } from './directory-rows.js';
import { COUNT, SWEEP, UNBIND, VERIFY } from './directory-scripts.js';
import type { Held, Shard } from './directory-writer.js';

/** Rows that one script looks at: Redis does nothing else meanwhile. */
const SLICE = 200;
/** Shards that are worked at side by side. */
const SIDE_BY_SIDE = 8;
/** Of so many shards the size is compared at a time, and of one of them every row. */
const ROUND = 16;

/** What the care asks of the directory. */
export interface Cared {
  readonly self: number;
  readonly redis: Redis;
  readonly keys: DirectoryKeys;
  readonly shards: readonly Shard[];
  /** Rows of a JID changed, as the reply of a script says. */
  changed(bare: string, rows: readonly Buffer[], watchers: readonly Buffer[]): void;
  /** That session died with its worker, and its row was removed. */
  swept(entry: SessionEntry): void;
  /** What Redis has of that session is not what it should have. */
  repair(held: Held): Promise<undefined>;
  /** Redis has lost writes: news may have been lost with them. */
  lost(): void;
}

/** Sees to it that the tables in Redis are those of living sessions, and of all of them. */
export class DirectoryCare {
  private next = 0;
  private verifying: Promise<void> | undefined;

  constructor(private readonly of: Cared) {}

  /** Removes what a dead worker left, up to that epoch. */
  async sweep(worker: number, epoch: number): Promise<void> {
    await this.forEach((shard) => this.sweepShard(shard.index, worker, epoch));
  }

  private async sweepShard(shard: number, worker: number, epoch: number): Promise<void> {
    const { redis, keys } = this.of;
    let cursor = '0';
    do {
      const args = [worker, epoch, cursor, SLICE, keys.sessionsIn(shard), keys.watchIn(shard)];
      const reply = (await redis.run(SWEEP, [keys.held(shard, worker)], args)) as [Buffer, number, Removed[]];
      for (const removed of reply[2]) this.removed(removed);
      cursor = String(reply[0]);
    } while (cursor !== '0');
  }

  private removed([name, reply, watchers, resource]: Removed): void {
    const bare = String(name);
    this.of.changed(bare, reply, watchers);
    const rows = rowsOf(bare, reply);
    const row = rows.find((one) => one.resource === String(resource));
    if (row?.available === true && rows.length > 1) this.of.swept(row);
  }

  /** A part of {@link verify}, the next part with the next call: cheap enough for every lease. */
  async glance(): Promise<void> {
    const round = Array.from({ length: ROUND }, () => this.of.shards[this.next++ % this.of.shards.length]!);
    const sizes = await Promise.all(round.map((shard) => this.isComplete(shard)));
    const good = await this.verifyRows(round[0]!);
    if (!good || sizes.includes(false)) await this.verify();
  }

  /** Compares all that this worker has in Redis with what it should have, and puts it right. */
  verify(): Promise<void> {
    this.verifying ??= this.forEach(async (shard) => {
      await this.verifyRows(shard);
      if (!(await this.isComplete(shard))) await this.removeStrangers(shard);
    }).finally(() => (this.verifying = undefined));
    return this.verifying;
  }

  /** Sessions in each shard, of these workers. */
  async count(workers: readonly number[]): Promise<number[]> {
    if (workers.length === 0) return this.of.shards.map(() => 0);
    const { redis, keys, shards } = this.of;
    const counts = shards.map(({ index }) =>
      redis.run(
        COUNT,
        workers.map((worker) => keys.held(index, worker)),
        [],
      ),
    );
    return (await Promise.all(counts)) as number[];
  }

  /** Are there as many as there should be? Yes, too, where writes are under way. */
  private async isComplete(shard: Shard): Promise<boolean> {
    const { redis, keys, self } = this.of;
    const { writes } = shard;
    if (!shard.quiet) return true;
    const size = await redis.call('SCARD', [keys.held(shard.index, self)]);
    return shard.writes !== writes || !shard.quiet || size === shard.held.size;
  }

  private async verifyRows(shard: Shard): Promise<boolean> {
    const { redis, keys, self } = this.of;
    const settled = [...shard.held.values()].filter(({ written, writing }) => written !== undefined && !writing);
    let good = true;
    for (let at = 0; at < settled.length; at += SLICE) {
      const slice = settled.slice(at, at + SLICE).map((held) => ({ held, row: held.written! }));
      const args: RedisArgument[] = [keys.sessionsIn(shard.index)];
      for (const { held, row } of slice) args.push(held.entry.bare, held.entry.resource, row);
      const wrong = (await redis.run(VERIFY, [keys.held(shard.index, self)], args)) as number[];
      const repairs: Promise<undefined>[] = [];
      for (const place of wrong) {
        const { held, row } = slice[place]!;
        // It was written, or ended, in the meantime.
        if (held.written !== row || held.writing || held.gone) continue;
        if (good) this.of.lost();
        good = false;
        counters.reconciliations++;
        repairs.push(this.of.repair(held));
      }
      await Promise.all(repairs);
    }
    return good;
  }

  /** Removes rows of this worker whose sessions ended: a write that was given up may still be done. */
  private async removeStrangers(shard: Shard): Promise<void> {
    const { redis, keys, self } = this.of;
    const key = keys.held(shard.index, self);
    let cursor = '0';
    do {
      const page = (await redis.call('SSCAN', [key, cursor, 'COUNT', SLICE])) as [Buffer, Buffer[]];
      for (const member of page[1]) {
        const full = String(member);
        const [bare, resource] = [full.slice(0, full.indexOf('/')), full.slice(full.indexOf('/') + 1)];
        const sessions = keys.sessions(shard.index, bare);
        const row = (await redis.call('HGET', [sessions, resource])) as Buffer | null;
        const id = row === null ? '' : unpacked(bare, resource, String(row)).id;
        if (isHeld(shard, bare, resource)) continue;
        const args = [bare, resource, self, id];
        const reply = await redis.run(UNBIND, [sessions, keys.watch(shard.index, bare), key], args);
        const [, rows = [], watchers = []] = reply as [Buffer, Buffer[]?, Buffer[]?];
        counters.reconciliations++;
        this.of.changed(bare, rows, watchers);
      }
      cursor = String(page[0]);
    } while (cursor !== '0');
  }

  private async forEach(work: (shard: Shard) => Promise<void>): Promise<void> {
    const { shards } = this.of;
    for (let at = 0; at < shards.length; at += SIDE_BY_SIDE) {
      await Promise.all(shards.slice(at, at + SIDE_BY_SIDE).map(work));
    }
  }
}

type Removed = [bare: Buffer, rows: Buffer[], watchers: Buffer[], resource: Buffer];

function isHeld(shard: Shard, bare: string, resource: string): boolean {
  for (const { entry } of shard.held.values()) if (entry.bare === bare && entry.resource === resource) return true;
  return false;
}
