import { storeLatency } from '../../metrics/histogram.js';
import type { Redis, RedisArgument } from '../../redis/redis.js';
import type { ItemPage, ItemQuery, ItemRecord, ItemStore, StoreError } from '../store.js';
import { Request } from './calls.js';
import type { Keys } from './keys.js';
import type { Job, Lanes } from './lanes.js';
import { packItem, unpackItem } from './pack.js';
import { PLACES, expire, get, latest, page, publish, purge, retract } from './scripts.js';

/** Items that one call carries at most, and bytes, but for the last one. */
const BATCH_ITEMS = 500;
const BATCH_BYTES = 2 ** 20;

/** The place of the first item that was published then. */
function placeOf(published: number): number {
  return Math.ceil(published) * PLACES;
}

const bound = (notBefore: number | undefined): number | string =>
  notBefore === undefined ? '-inf' : placeOf(notBefore);

interface Entry {
  id: string;
  place: number;
  value: Buffer;
  maxItems: number;
}

/** Publishes to one node that leave in one call. */
class PublishJob implements Job {
  readonly since = performance.now();
  bytes = 0;
  private readonly entries: Entry[] = [];
  private readonly waiting: { resolve(found: boolean): void; reject(error: StoreError): void }[] = [];

  constructor(private readonly keys: readonly string[]) {}

  get full(): boolean {
    return this.entries.length >= BATCH_ITEMS || this.bytes >= BATCH_BYTES;
  }

  add(entry: Entry): Promise<boolean> {
    this.entries.push(entry);
    this.bytes += entry.value.length;
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  async run(request: Request): Promise<void> {
    const found = (await request.change(publish, this.keys, this.args())) === 1;
    storeLatency.observe((performance.now() - this.since) / 1000);
    for (const { resolve } of this.waiting) resolve(found);
  }

  fail(error: StoreError): void {
    for (const { reject } of this.waiting) reject(error);
  }

  /** In runs under one limit, each without what the rest of it replaces or pushes out. */
  private args(): RedisArgument[] {
    const { entries } = this;
    const args: RedisArgument[] = [];
    for (let start = 0; start < entries.length;) {
      const limit = Math.max(0, entries[start]!.maxItems);
      let end = start + 1;
      while (end < entries.length && Math.max(0, entries[end]!.maxItems) === limit) end++;
      const kept = lasting(entries, start, end, limit);
      args.push(limit, kept.length);
      for (const { id, place, value } of kept) args.push(id, place, value);
      start = end;
    }
    return args;
  }
}

/** Those of a run that are there after it, in order. */
function lasting(entries: readonly Entry[], start: number, end: number, limit: number): Entry[] {
  if (end - start === 1 && limit > 0) return [entries[start]!];
  const ids = new Set<string>();
  const kept: Entry[] = [];
  for (let i = end - 1; i >= start && kept.length < limit; i--) {
    const entry = entries[i]!;
    if (ids.has(entry.id)) continue;
    ids.add(entry.id);
    kept.push(entry);
  }
  return kept.reverse();
}

/** Items in Redis. */
export class RedisItems implements ItemStore {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly lanes: Lanes,
  ) {}

  publish(node: string, item: ItemRecord, maxItems: number): Promise<boolean> {
    const { lanes } = this;
    const refusal = lanes.refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    const value = packItem(item);
    lanes.charge(value.length);
    let job = lanes.last(node);
    if (!(job instanceof PublishJob) || job.full) {
      job = new PublishJob([...this.of(node), this.keys.node(node)]);
      lanes.add(node, job);
    }
    return (job as PublishJob).add({ id: item.id, place: Math.floor(item.published) * PLACES, value, maxItems });
  }

  private of(node: string): [items: string, order: string] {
    return [this.keys.items(node), this.keys.order(node)];
  }

  retract(node: string, ids: readonly string[]): Promise<string[]> {
    if (ids.length === 0) return Promise.resolve([]);
    return this.lanes.inTurn(node, async (request) => {
      const { reply, again } = await request.removal(retract, this.of(node), ids);
      return ids.filter((_, i) => (reply as number[])[i] === 1 || again);
    });
  }

  purge(node: string): Promise<number> {
    return this.lanes.inTurn(node, async (request) => (await request.change(purge, this.of(node), [])) as number);
  }

  expire(node: string, notBefore: number): Promise<number> {
    const args = [placeOf(notBefore)];
    return this.lanes.inTurn(node, async (request) => (await request.change(expire, this.of(node), args)) as number);
  }

  async get(node: string, ids: readonly string[], notBefore?: number): Promise<ItemRecord[]> {
    if (ids.length === 0) return [];
    const request = new Request(this.redis);
    if (notBefore !== undefined)
      return records((await request.look(get, this.of(node), [placeOf(notBefore), ...ids])) as Buffer[]);
    const values = (await request.read('HMGET', this.keys.items(node), ...ids)) as (Buffer | null)[];
    return ids.flatMap((id, i) => {
      const value = values[i];
      return value ? [unpackItem(id, value)] : [];
    });
  }

  async latest(node: string, limit: number, notBefore?: number): Promise<ItemRecord[]> {
    if (limit <= 0) return [];
    const request = new Request(this.redis);
    return records((await request.look(latest, this.of(node), [bound(notBefore), limit])) as Buffer[]);
  }

  async count(node: string, notBefore?: number): Promise<number> {
    const request = new Request(this.redis);
    const key = this.keys.order(node);
    const count = await (notBefore === undefined
      ? request.read('ZCARD', key)
      : request.read('ZCOUNT', key, placeOf(notBefore), '+inf'));
    return count as number;
  }

  async page(node: string, query: ItemQuery): Promise<ItemPage | undefined> {
    const { after, before, notBefore } = query;
    const limit = Math.max(0, query.limit);
    const args = [bound(notBefore), limit, after === undefined ? '' : 'a', after ?? ''];
    args.push(before === undefined ? '' : 'b', before ?? '');
    const found = (await new Request(this.redis).look(page, this.of(node), args)) as [number, number, Buffer[]] | null;
    if (found === null) return undefined;
    const [count, index, pairs] = found;
    return { items: records(pairs), count, index };
  }
}

function records(pairs: readonly Buffer[]): ItemRecord[] {
  const found: ItemRecord[] = [];
  for (let i = 0; i < pairs.length; i += 2) found.push(unpackItem(pairs[i]!.toString(), pairs[i + 1]!));
  return found;
}
