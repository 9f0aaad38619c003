import type { Redis } from '../../redis/redis.js';
import type { Affiliation, NodeRecord, NodeStore, SubscriptionRecord } from '../store.js';
import { Request } from './calls.js';
import type { Entry, Indexes } from './indexes.js';
import { type Keys, SHARDS, shardOf } from './keys.js';
import type { Lanes } from './lanes.js';
import { merged } from './lists.js';
import { packNode, token, tokenOf, unpackNode } from './pack.js';
import { changeNode, createNode, removeNode } from './scripts.js';
import { RedisSubscriptions } from './subscriptions.js';

/** So long it may take to look through the subscriptions of a node that was removed, in milliseconds; then they go by themselves. */
const REMOVED_MS = 24 * 3_600_000;

/** Nodes and affiliations in Redis: a node with all that is its own in one slot, and indexes (indexes.ts) in others. */
export class RedisNodes implements NodeStore {
  private readonly subscriptions: RedisSubscriptions;

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly lanes: Lanes,
    private readonly indexes: Indexes,
  ) {
    this.subscriptions = new RedisSubscriptions(redis, keys, lanes, indexes);
  }

  // --- entries of the indexes --------------------------------------------------------------------------------------------

  private nodesIndex(shard: number): [string, string] {
    return this.keys.index('nodes', `s${shard}`);
  }

  private name(name: string, shard = shardOf(name)): Entry {
    const there = async (request: Request) => (await request.read('EXISTS', this.keys.node(name))) === 1;
    return { keys: this.nodesIndex(shard), entry: name, ordered: true, there };
  }

  private creation(bare: string, name: string): Entry {
    const there = async (request: Request) => (await this.read(request, name))?.creator === bare;
    return { keys: this.keys.index('created', `b:${bare}`), entry: name, there };
  }

  private affiliation(bare: string, name: string): Entry {
    const there = async (request: Request) => {
      const record = await this.read(request, name);
      return record !== undefined && Object.hasOwn(record.affiliations, bare);
    };
    return { keys: this.keys.index('affs', `b:${bare}`), entry: name, there };
  }

  /** The entry of an index as it is found among the keys. */
  entryOf(kind: string, tag: string, entry: string): Entry | undefined {
    const bare = tag.slice(2);
    if (kind === 'nodes') return this.name(entry);
    if (kind === 'created') return this.creation(bare, entry);
    if (kind === 'affs') return this.affiliation(bare, entry);
    return kind === 'subsof' ? this.subscriptions.entryOf(bare, entry) : undefined;
  }

  private affiliations({ name, affiliations }: NodeRecord): Entry[] {
    return Object.keys(affiliations).map((bare) => this.affiliation(bare, name));
  }

  private async read(request: Request, name: string): Promise<NodeRecord | undefined> {
    const value = (await request.read('GET', this.keys.node(name))) as Buffer | null;
    return value === null ? undefined : unpackNode(name, value);
  }

  // --- nodes -------------------------------------------------------------------------------------------------------------

  create(node: NodeRecord): Promise<boolean> {
    const record = held(node);
    const packed = packNode(record, token());
    const { name, creator } = record;
    const entries = [this.name(name), this.creation(creator, name), ...this.affiliations(record)];
    return this.lanes.inTurn(name, (request) =>
      this.indexes.around(
        request,
        entries,
        async () => (await request.change(createNode, [this.keys.node(name)], [packed])) === 1,
        (created) => (created ? true : undefined),
      ),
    );
  }

  get(name: string): Promise<NodeRecord | undefined> {
    return this.read(new Request(this.redis), name);
  }

  update(name: string, change: (node: NodeRecord) => NodeRecord | undefined): Promise<NodeRecord | undefined> {
    return this.lanes.inTurn(name, async (request) => {
      const key = this.keys.node(name);
      for (;;) {
        const value = (await request.read('GET', key)) as Buffer | null;
        if (value === null) return undefined;
        const before = unpackNode(name, value);
        const changed = change(unpackNode(name, value));
        if (changed === undefined) return before;
        const now = held({ ...changed, name, version: before.version + 1 });
        const packed = packNode(now, token());
        const done = await this.indexes.around(
          request,
          this.moved(before, now),
          async () => (await request.change(changeNode, [key], [tokenOf(value), packed])) === 1,
          () => undefined,
        );
        if (done) return unpackNode(name, Buffer.from(packed));
      }
    });
  }

  /** The entries in which two records of a node differ. */
  private moved(before: NodeRecord, now: NodeRecord): Entry[] {
    const { name } = now;
    const changed = [...Object.keys(before.affiliations), ...Object.keys(now.affiliations)].filter(
      (bare) => Object.hasOwn(before.affiliations, bare) !== Object.hasOwn(now.affiliations, bare),
    );
    const creators = before.creator === now.creator ? [] : [before.creator, now.creator];
    return [
      ...changed.map((bare) => this.affiliation(bare, name)),
      ...creators.map((bare) => this.creation(bare, name)),
    ];
  }

  remove(name: string): Promise<boolean> {
    return this.lanes.inTurn(name, async (request) => {
      const node = this.keys.node(name);
      /** The node as it was when an attempt to remove it got no answer. */
      let lost: NodeRecord | undefined;
      for (;;) {
        const value = (await request.read('GET', node)) as Buffer | null;
        const seen = value === null ? undefined : unpackNode(name, value);
        // The attempt did it, and what is there now was made since.
        if (lost !== undefined && (seen?.created !== lost.created || seen.version < lost.version)) return true;
        if (value === null || seen === undefined) return false;
        const removed = this.keys.removed(name, token());
        const all = [node, this.keys.subscriptions(name), this.keys.items(name), this.keys.order(name), removed];
        const { reply, again } = await this.indexes.around(
          request,
          [this.name(name), this.creation(seen.creator, name)],
          () => request.removal(removeNode, all, [tokenOf(value), REMOVED_MS]),
          (done) => (done.reply === 1 ? false : undefined),
        );
        if (reply === 1 || again) {
          this.indexes.settleBeside(this.affiliations(seen));
          this.subscriptions.settleRemoved(name, removed);
        }
        if (reply === 1) return true;
        if (again) lost = seen;
      }
    });
  }

  // --- lists -------------------------------------------------------------------------------------------------------------

  async list(after: string | undefined, limit: number): Promise<string[]> {
    const request = new Request(this.redis);
    return merged(limit, async (shard, most) => {
      const keys = this.nodesIndex(shard);
      const pending = await this.indexes.pending(request, keys);
      const listed = await request.names(keys[0], after, most + pending.size);
      if (pending.size === 0) return listed;
      const start = after === undefined ? undefined : Buffer.from(after);
      const names = [...pending.keys()].filter((name) => !start || Buffer.compare(Buffer.from(name), start) > 0);
      const there = await Promise.all(names.map((name) => this.indexes.isThere(request, this.name(name), pending)));
      return [
        ...listed.filter((name) => !pending.has(String(name))),
        ...names.filter((_, i) => there[i]).map((name) => Buffer.from(name)),
      ];
    });
  }

  async count(): Promise<number> {
    const request = new Request(this.redis);
    const shards = Array.from({ length: SHARDS }, (_, shard) =>
      this.indexes.count(request, (name) => this.name(name, shard)),
    );
    return (await Promise.all(shards)).reduce((sum, count) => sum + count, 0);
  }

  countByCreator(bare: string): Promise<number> {
    return this.indexes.count(new Request(this.redis), (name) => this.creation(bare, name));
  }

  async affiliationsOf(bare: string): Promise<{ node: string; affiliation: Affiliation }[]> {
    const request = new Request(this.redis);
    const { entries, pending } = await this.indexes.all(request, this.affiliation(bare, '').keys);
    const records = await Promise.all(entries.map((name) => this.read(request, name)));
    return entries.flatMap((node, i) => {
      const held = records[i]?.affiliations ?? {};
      const affiliation = Object.hasOwn(held, bare) ? held[bare] : undefined;
      this.indexes.read(this.affiliation(bare, node), affiliation !== undefined, pending);
      return affiliation === undefined ? [] : [{ node, affiliation }];
    });
  }

  // --- subscriptions -----------------------------------------------------------------------------------------------------

  addSubscription(subscription: SubscriptionRecord): Promise<SubscriptionRecord | undefined> {
    return this.subscriptions.add(subscription);
  }

  replaceSubscription(subscription: SubscriptionRecord): Promise<boolean> {
    return this.subscriptions.replace(subscription);
  }

  removeSubscription(node: string, jid: string): Promise<boolean> {
    return this.subscriptions.remove(node, jid);
  }

  subscription(node: string, jid: string): Promise<SubscriptionRecord | undefined> {
    return this.subscriptions.get(node, jid);
  }

  subscriptionsOfNode(node: string): Promise<SubscriptionRecord[]> {
    return this.subscriptions.ofNode(node);
  }

  countSubscriptions(node: string): Promise<number> {
    return this.subscriptions.count(node);
  }

  countSubscriptionsOf(bare: string): Promise<number> {
    return this.subscriptions.countOf(bare);
  }

  subscriptionsOf(bare: string): Promise<SubscriptionRecord[]> {
    return this.subscriptions.of(bare);
  }
}

/** Without affiliations `none`, which are never kept. */
function held(node: NodeRecord): NodeRecord {
  const affiliations = Object.entries(node.affiliations).filter(([, affiliation]) => affiliation !== 'none');
  return { ...node, affiliations: Object.fromEntries(affiliations) };
}
