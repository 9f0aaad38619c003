import { storeLatency } from '../../metrics/histogram.js';
import type { Redis, RedisArgument } from '../../redis/redis.js';
import {
  type Addition,
  type ItemPage,
  type ItemQuery,
  type ItemRecord,
  type ItemStore,
  type StoreError,
  WAITING_BYTES,
} from '../store.js';
import { Request } from './calls.js';
import type { Keys } from './keys.js';
import type { Job, Lanes } from './lanes.js';
import { packItem, token, unpackItem } from './pack.js';
import {
  PLACES,
  add,
  addAgain,
  expire,
  get,
  latest,
  page,
  publish,
  publishAgain,
  purge,
  retract,
  trim,
} from './item-scripts.js';

/** Items that one call carries at most, and bytes, but for the last one. */
const BATCH_ITEMS = 500;
const BATCH_BYTES = 2 ** 20;

/** Where an item comes that was published then, in the first of its places; it may be any of {@link PLACES}. */
function placeAt(published: number): number {
  return Math.floor(published) * PLACES;
}

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
}

/** Publishes to one node, under one limit, that leave in one call. */
class PublishJob implements Job {
  readonly since = performance.now();
  bytes = 0;
  private readonly entries: Entry[] = [];
  private readonly waiting: { resolve(found: boolean): void; reject(error: StoreError): void }[] = [];

  constructor(
    private readonly names: Keys,
    private readonly node: string,
    readonly maxItems: number,
  ) {}

  get full(): boolean {
    return this.entries.length >= BATCH_ITEMS || this.bytes >= BATCH_BYTES;
  }

  add(entry: Entry, bytes: number): Promise<boolean> {
    this.entries.push(entry);
    this.bytes += bytes;
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  async run(request: Request): Promise<void> {
    const limit = Math.max(0, this.maxItems);
    const args: RedisArgument[] = [limit];
    for (const { id, place, value } of lasting(this.entries, limit)) args.push(id, place, value);
    const { names, node } = this;
    const keys = [names.items(node), names.order(node), names.node(node)];
    const again = () => ({ script: publishAgain, keys: [...keys, names.retracted(node)], args });
    const done = await request.change(publish, keys, args, again);
    storeLatency.observe((performance.now() - this.since) / 1000);
    // What cannot be removed now, the next publish does.
    if (done === 2) await this.trim(request, keys.slice(0, 2), limit).catch(() => undefined);
    for (const { resolve } of this.waiting) resolve(done !== 0);
  }

  private async trim(request: Request, keys: readonly string[], limit: number): Promise<void> {
    while (((await request.change(trim, keys, [limit])) as number) > 0);
  }

  fail(error: StoreError): void {
    for (const { reject } of this.waiting) reject(error);
  }
}

/** Those that are there after all of them, in order. */
function lasting(entries: readonly Entry[], limit: number): readonly Entry[] {
  if (entries.length === 1 && limit > 0) return entries;
  const ids = new Set<string>();
  const kept: Entry[] = [];
  for (let i = entries.length - 1; i >= 0 && kept.length < limit; i--) {
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
    const bytes = value.length + WAITING_BYTES;
    lanes.charge(bytes);
    let job = lanes.last(node);
    if (!(job instanceof PublishJob) || job.full || job.maxItems !== maxItems) {
      job = new PublishJob(this.keys, node, maxItems);
      lanes.add(node, job);
    }
    return (job as PublishJob).add({ id: item.id, place: placeAt(item.published), value }, bytes);
  }

  add(node: string, item: ItemRecord, maxItems: number, notBefore?: number): Promise<Addition> {
    const value = packItem(item);
    const keys = [...this.of(node), this.keys.node(node)];
    const args = [maxItems, bound(notBefore), item.id, placeAt(item.published), value];
    const work = async (request: Request): Promise<Addition> => {
      const again = () => ({ script: addAgain, keys: [...keys, this.keys.retracted(node)], args });
      const outcome = await request.change(add, keys, args, again);
      return outcome === 0 ? 'gone' : outcome === 1 ? 'kept' : 'full';
    };
    return this.lanes.inTurn(node, work, value.length + WAITING_BYTES);
  }

  private of(node: string): [items: string, order: string] {
    return [this.keys.items(node), this.keys.order(node)];
  }

  retract(node: string, ids: readonly string[]): Promise<string[]> {
    if (ids.length === 0) return Promise.resolve([]);
    const keys = [...this.of(node), this.keys.retracted(node)];
    return this.lanes.inTurn(node, async (request) => {
      const gone = (await request.once(retract, keys, ids, this.marker(node))) as number[];
      return ids.filter((_, i) => gone[i] === 1);
    });
  }

  purge(node: string): Promise<number> {
    const purged = (request: Request) => request.once(purge, this.of(node), [], this.marker(node)) as Promise<number>;
    return this.lanes.inTurn(node, purged);
  }

  private marker(node: string): string {
    return this.keys.done(this.keys.node(node), token());
  }

  expire(node: string, notBefore: number): Promise<number> {
    const args = [placeOf(notBefore)];
    return this.lanes.inTurn(node, async (request) => {
      for (let expired = 0; ;) {
        const [gone, left] = (await request.change(expire, this.of(node), args)) as [number, number];
        expired += gone;
        if (left === 0) return expired;
      }
    });
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
