import { counters } from '../metrics/counters.js';
import type { Redis, RedisArgument } from '../redis/redis.js';
import type { SessionEntry } from './directory.js';
import type { DirectoryNews } from './directory-news.js';
import type { DirectoryReader } from './directory-reader.js';
import { SHARDS, packed, rowsOf, shardOf, type DirectoryKeys, type Row } from './directory-rows.js';
import { BIND, CLAIM, UNBIND, UPDATE, type Claim } from './directory-scripts.js';
import { DirectoryWriter, Shard, type Held } from './directory-writer.js';

export interface HolderOptions {
  redis: Redis;
  keys: DirectoryKeys;
  self: number;
  reader: DirectoryReader;
  news: DirectoryNews;
  /** The worker's epoch. */
  epoch(): number;
  lives(worker: number, epoch: number): boolean;
  /** A session of this worker whose resource another has by now. */
  onLost(entry: SessionEntry): void;
  trouble(error: unknown): void;
}

/** The row that was replaced; or that nothing was done because another has the resource, the account is full, or the session is at another worker. */
type Claimed = Row | undefined | 'taken' | 'too-many' | 'moved';
type Reply = [status: Buffer, rows?: Buffer[], watchers?: Buffer[]];

/** This worker's sessions, and their rows in Redis. */
export class DirectoryHolder {
  readonly shards = Array.from({ length: SHARDS }, (_, index) => new Shard(index));
  readonly writer: DirectoryWriter;

  constructor(private readonly options: HolderOptions) {
    this.writer = new DirectoryWriter(this.shards, (held) => this.write(held), options.trouble);
  }

  find({ bare, id }: SessionEntry): Held | undefined {
    const held = this.shards[shardOf(bare)]!.held.get(id);
    return held?.gone === false ? held : undefined;
  }

  *of(bare: string): Generator<Held> {
    for (const held of this.shards[shardOf(bare)]!.held.values()) {
      if (held.entry.bare === bare && !held.gone) yield held;
    }
  }

  /** A new session, here. Throws when Redis is away. */
  async add(entry: SessionEntry, claim: Claim, room: number): Promise<Claimed> {
    const shard = this.shards[shardOf(entry.bare)]!;
    const flags = { reclaim: false, gone: false, writing: false, again: false };
    const held: Held = { entry, shard, written: undefined, ...flags, waiting: undefined };
    shard.held.set(entry.id, held);
    this.writer.begin(held);
    try {
      const claimed = await this.claim(held, claim, room);
      if (typeof claimed === 'string') this.drop(held);
      return claimed;
    } catch (error) {
      // It may have been done, or be done yet.
      held.gone = held.again = true;
      throw error;
    } finally {
      this.writer.end(held);
    }
  }

  /** Its row is not as it should be, or may not be. */
  reclaim(held: Held): Promise<undefined> {
    held.reclaim = true;
    return this.writer.push(held);
  }

  /** Writes what should be there, once. */
  private async write(held: Held): Promise<void> {
    if (held.gone) return this.remove(held);
    if (!held.reclaim && held.written !== undefined) return this.update(held);
    held.reclaim = false;
    const claimed = await this.claim(held, CLAIM.own, Infinity);
    if (typeof claimed !== 'string') return;
    this.drop(held);
    this.options.reader.forget(held.entry.bare);
    if (claimed === 'taken') this.options.onLost(held.entry);
  }

  private async update(held: Held): Promise<void> {
    const { redis, self, news } = this.options;
    const { bare, resource, id } = held.entry;
    const row = packed(held.entry, this.options.epoch());
    if (row === held.written) return;
    const reply = await redis.run(UPDATE, this.names(held).slice(0, 2), [resource, row, self, id]);
    const [status, rows, watchers] = reply as Reply;
    const said = String(status);
    if (said === 'absent' || said === 'lost') {
      // Redis lost it, or another has the resource, if that one lives.
      if (said === 'absent') counters.reconciliations++;
      held.reclaim = held.again = true;
      return;
    }
    held.written = row;
    if (said === 'same') news.spread(bare, false);
    else await news.heard(news.tell(bare, rows!, watchers!));
  }

  private async remove(held: Held): Promise<void> {
    const { redis, self, news, reader } = this.options;
    const { bare, resource, id } = held.entry;
    const reply = await redis.run(UNBIND, this.names(held), [bare, resource, self, id]);
    const [status, rows, watchers] = reply as Reply;
    this.drop(held);
    // Without a session of that JID this worker is no longer told of it.
    reader.forget(bare);
    // Where the bind was never confirmed it may have displaced somebody unheard.
    if (held.written === undefined) news.spread(bare, true);
    else if (String(status) === 'done') news.tell(bare, rows!, watchers!);
    else if (String(status) === 'absent') news.spread(bare, false);
  }

  /** Puts the row there, in place of what it may replace. Rows of dead workers are in nobody's way. */
  private async claim(held: Held, claim: Claim, room: number): Promise<Claimed> {
    const { redis, keys, self, reader } = this.options;
    const { bare, resource, id } = held.entry;
    const most = Number.isFinite(room) ? Math.max(0, room) : -1;
    const fallen = new Set<string>();
    for (;;) {
      const row = packed(held.entry, this.options.epoch());
      const args: RedisArgument[] = [bare, resource, row, self, id, claim, most, keys.heldIn(held.shard.index)];
      const reading = reader.begin(bare);
      let others: Row[] | undefined;
      let status: string, rows: Buffer[], watchers: Buffer[], before: Row[];
      try {
        const reply = (await redis.run(BIND, this.names(held), [...args, ...fallen])) as Required<Reply>;
        [status, rows, watchers] = [String(reply[0]), reply[1], reply[2]];
        before = rowsOf(bare, rows);
        if (status === 'done' || status === 'same') others = before.filter((other) => other.resource !== resource);
      } finally {
        reader.end(bare, reading, others);
      }
      const found = before.find((other) => other.resource === resource);
      if (others !== undefined) {
        held.written = row;
        await this.settled(bare, status === 'same', claim, rows, watchers);
        if (found === undefined || found.id === id) return undefined;
        if (found.worker === self) this.displaced(found);
        return found;
      }
      const known = fallen.size;
      for (const other of before) if (!this.stands(other)) fallen.add(other.id);
      if (fallen.size === known) return status === 'taken' && found?.id === id ? 'moved' : (status as Claimed);
    }
  }

  private async settled(bare: string, same: boolean, claim: Claim, rows: Buffer[], watchers: Buffer[]): Promise<void> {
    const { news, self } = this.options;
    // A bind that finds itself there was done before, and its answer lost: whom it displaced, too.
    if (same) return news.spread(bare, claim !== CLAIM.own);
    // This worker has what it just read.
    const others = watchers.filter((watcher) => Number(String(watcher)) !== self);
    await news.heard(news.tell(bare, rows, others));
  }

  /** Does that row stand for a session, or was it left behind? */
  private stands(row: Row): boolean {
    return row.worker === this.options.self ? this.find(row) !== undefined : this.options.lives(row.worker, row.epoch);
  }

  private displaced(row: Row): void {
    const held = this.find(row);
    if (held !== undefined && !held.writing) this.drop(held);
  }

  private drop(held: Held): void {
    held.gone = true;
    held.again = false;
    held.shard.held.delete(held.entry.id);
    held.shard.failed.delete(held);
  }

  private names({ entry, shard }: Held): string[] {
    const { keys, self } = this.options;
    const { index } = shard;
    return [keys.sessions(index, entry.bare), keys.watch(index, entry.bare), keys.held(index, self)];
  }
}
