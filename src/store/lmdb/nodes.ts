import type { Affiliation, NodeRecord, NodeStore, SubscriptionRecord } from '../store.js';
import type { Environment, Tables } from './environment.js';
import { read } from './errors.js';
import { type Collector, garbageKey, garbageLimit } from './garbage.js';
import { HEAD_BYTES, Head } from './head.js';
import { LAST, number, part, startingWith } from './keys.js';
import { inPieces } from './pieces.js';
import { type StoredNode, toRecord, toStored, toStoredSubscription } from './records.js';
import type { Writer } from './writer.js';

const NOTHING = Buffer.alloc(1);

/** LMDB counts by looking at every key. From so many on the number is remembered, of so many nodes, for so many milliseconds. */
const MANY = 10_000;
const COUNTED = 1000;
const COUNTED_MS = 10_000;

/** Affiliations by their number in the index. */
const AFFILIATIONS = [
  'owner',
  'publisher',
  'publish-only',
  'member',
  'none',
  'outcast',
] as const satisfies Affiliation[];

/** Nodes, affiliations and subscriptions in LMDB. Index entries carry the node's incarnation, so they never pass to another node. */
export class LmdbNodes implements NodeStore {
  private readonly nodes: Tables['nodes'];
  private readonly subscriptions: Tables['subscriptions'];
  private readonly head = new Head();
  /** Of nodes with many subscriptions, by their incarnation. */
  private readonly counted = new Map<number, { count: number; until: number }>();

  constructor(
    private readonly environment: Environment,
    private readonly writer: Writer,
    private readonly collector: Collector,
  ) {
    this.nodes = environment.tables.nodes;
    this.subscriptions = environment.tables.subscriptions;
  }

  create(node: NodeRecord): Promise<boolean> {
    const { name } = node;
    return this.writer.transact(() => {
      if (this.nodes.doesExist(name)) return false;
      const { heads, creators } = this.environment.tables;
      const stored = toStored(node, this.environment.incarnation());
      const head = this.head.reset(stored.incarnation, this.environment.incarnation());
      void this.nodes.put(name, stored);
      const bytes = Buffer.alloc(HEAD_BYTES);
      void heads.put(name, bytes.subarray(0, head.store(bytes, 0)), head.version);
      void creators.put(ofBare(stored.creator, stored.incarnation), NOTHING);
      this.indexAffiliations(stored, [], stored.affiliations);
      return true;
    });
  }

  get(name: string): Promise<NodeRecord | undefined> {
    return read(this.environment, () => {
      const stored = this.nodes.get(name);
      return stored && toRecord(stored);
    });
  }

  async update(name: string, change: (node: NodeRecord) => NodeRecord | undefined): Promise<NodeRecord | undefined> {
    const outcome = await this.writer.transact(() => {
      const stored = this.nodes.get(name);
      if (stored === undefined) return {};
      const attempt = attempted(() => change(toRecord(stored)));
      if ('error' in attempt) return attempt;
      if (attempt.record === undefined) return { record: toRecord(stored) };
      const changed = toStored({ ...attempt.record, name, version: stored.version + 1 }, stored.incarnation);
      void this.nodes.put(name, changed);
      this.indexAffiliations(changed, stored.affiliations, changed.affiliations);
      this.moveCreator(stored, changed);
      return { record: toRecord(changed) };
    });
    if ('error' in outcome) throw outcome.error;
    return outcome.record;
  }

  private moveCreator(from: StoredNode, to: StoredNode): void {
    if (from.creator === to.creator) return;
    const { creators } = this.environment.tables;
    void creators.remove(ofBare(from.creator, from.incarnation));
    void creators.put(ofBare(to.creator, to.incarnation), NOTHING);
  }

  private indexAffiliations(
    { name, incarnation }: StoredNode,
    before: StoredNode['affiliations'],
    now: StoredNode['affiliations'],
  ): void {
    const { affiliations } = this.environment.tables;
    const old = new Map(before);
    for (const [bare, affiliation] of now) {
      if (old.get(bare) !== affiliation) {
        const code = Buffer.of(AFFILIATIONS.indexOf(affiliation));
        void affiliations.put(ofBare(bare, incarnation), Buffer.concat([code, Buffer.from(name)]));
      }
      old.delete(bare);
    }
    for (const bare of old.keys()) void affiliations.remove(ofBare(bare, incarnation));
  }

  /** One small write, however much the node holds: items and subscriptions are wiped afterwards. */
  remove(name: string): Promise<boolean> {
    return this.writer.transact(() => {
      const stored = this.nodes.get(name);
      if (stored === undefined) return false;
      const { heads, creators, garbage } = this.environment.tables;
      const { incarnation } = stored;
      const bytes = heads.getBinaryFast(name);
      if (bytes !== undefined) {
        const { items } = this.head.load(bytes, bytes.length);
        void garbage.put(garbageKey('items', items), garbageLimit(LAST));
      }
      void garbage.put(garbageKey('subscriptions', incarnation), garbageLimit(LAST));
      void heads.remove(name);
      void this.nodes.remove(name);
      void creators.remove(ofBare(stored.creator, incarnation));
      this.indexAffiliations(stored, stored.affiliations, []);
      this.collector.start();
      return true;
    });
  }

  list(after: string | undefined, limit: number): Promise<string[]> {
    return read(this.environment, () => {
      const range = { start: after ?? '', exclusiveStart: after !== undefined, limit };
      return [...this.nodes.getRange(range)].map(({ value }) => value.name);
    });
  }

  count(): Promise<number> {
    return read(this.environment, () => this.environment.count(this.nodes));
  }

  countByCreator(bare: string): Promise<number> {
    return read(this.environment, () => this.environment.tables.creators.getKeysCount(startingWith(part(bare))));
  }

  affiliationsOf(bare: string): Promise<{ node: string; affiliation: Affiliation }[]> {
    return read(this.environment, () =>
      [...this.environment.tables.affiliations.getRange(startingWith(part(bare)))].map(({ value }) => ({
        node: Buffer.from(value).toString('utf8', 1),
        affiliation: AFFILIATIONS[value[0] as number] as Affiliation,
      })),
    );
  }

  addSubscription(subscription: SubscriptionRecord): Promise<SubscriptionRecord | undefined> {
    const stored = toStoredSubscription(subscription);
    return this.writer.transact(() => {
      const incarnation = this.incarnationOf(stored.node);
      if (incarnation === undefined) return undefined;
      const key = subscriptionKey(incarnation, stored.jid);
      const kept = this.subscriptions.get(key);
      if (kept !== undefined) return kept;
      void this.subscriptions.put(key, stored);
      void this.environment.tables.subscribers.put(Buffer.concat([part(stored.bare), key]), NOTHING);
      return stored;
    });
  }

  replaceSubscription(subscription: SubscriptionRecord): Promise<boolean> {
    const stored = toStoredSubscription(subscription);
    return this.writer.transact(() => {
      const incarnation = this.incarnationOf(stored.node);
      if (incarnation === undefined) return false;
      const key = subscriptionKey(incarnation, stored.jid);
      if (this.subscriptions.get(key)?.subid !== stored.subid) return false;
      void this.subscriptions.put(key, stored);
      return true;
    });
  }

  removeSubscription(node: string, jid: string): Promise<boolean> {
    return this.writer.transact(() => {
      const incarnation = this.incarnationOf(node);
      if (incarnation === undefined) return false;
      const key = subscriptionKey(incarnation, jid);
      const stored = this.subscriptions.get(key);
      if (stored === undefined) return false;
      void this.subscriptions.remove(key);
      void this.environment.tables.subscribers.remove(Buffer.concat([part(stored.bare), key]));
      return true;
    });
  }

  subscription(node: string, jid: string): Promise<SubscriptionRecord | undefined> {
    return read(this.environment, () => {
      const incarnation = this.incarnationOf(node);
      return incarnation === undefined ? undefined : this.subscriptions.get(subscriptionKey(incarnation, jid));
    });
  }

  async subscriptionsOfNode(node: string): Promise<SubscriptionRecord[]> {
    const found: SubscriptionRecord[] = [];
    const incarnation = await read(this.environment, () => this.incarnationOf(node));
    if (incarnation === undefined) return found;
    await inPieces(this.environment, startingWith(number(incarnation)), (piece) =>
      Array.from(this.subscriptions.getRange(piece), ({ key, value }) => {
        found.push(value);
        return key;
      }),
    );
    return found;
  }

  async countSubscriptions(node: string): Promise<number> {
    const incarnation = await read(this.environment, () => this.incarnationOf(node));
    if (incarnation === undefined) return 0;
    const counted = this.counted.get(incarnation);
    if (counted !== undefined && performance.now() < counted.until) return counted.count;
    this.counted.delete(incarnation);
    const range = startingWith(number(incarnation));
    const count = await read(this.environment, () => this.subscriptions.getKeysCount(range));
    if (count < MANY) return count;
    if (this.counted.size >= COUNTED) this.counted.clear();
    this.counted.set(incarnation, { count, until: performance.now() + COUNTED_MS });
    return count;
  }

  async subscriptionsOf(bare: string): Promise<SubscriptionRecord[]> {
    const prefix = part(bare);
    const found: SubscriptionRecord[] = [];
    await inPieces(this.environment, startingWith(prefix), (piece) => {
      const keys = [...this.environment.tables.subscribers.getKeys(piece)];
      for (const indexed of keys) {
        const key = Buffer.from(indexed.subarray(prefix.length));
        const stored = this.subscriptions.get(key);
        // Those of a deleted node may not have been wiped yet.
        if (stored && this.incarnationOf(stored.node) === key.readUIntBE(0, 6)) found.push(stored);
      }
      return keys;
    });
    return found;
  }

  countSubscriptionsOf(bare: string): Promise<number> {
    return read(this.environment, () => this.environment.tables.subscribers.getKeysCount(startingWith(part(bare))));
  }

  private incarnationOf(name: string): number | undefined {
    const bytes = this.environment.tables.heads.getBinaryFast(name);
    return bytes && this.head.load(bytes, bytes.length).incarnation;
  }
}

function attempted(
  change: () => NodeRecord | undefined,
): { record: NodeRecord | undefined } | { error: unknown; record?: undefined } {
  try {
    return { record: change() };
  } catch (error) {
    return { error };
  }
}

function ofBare(bare: string, incarnation: number): Buffer {
  return Buffer.concat([part(bare), number(incarnation)]);
}

function subscriptionKey(incarnation: number, jid: string): Buffer {
  return Buffer.concat([number(incarnation), part(jid)]);
}
