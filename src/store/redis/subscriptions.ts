import type { Redis } from '../../redis/redis.js';
import { type StoreError, type SubscriptionRecord, WAITING_BYTES } from '../store.js';
import { Request } from './calls.js';
import type { Entry, Indexes } from './indexes.js';
import type { Keys } from './keys.js';
import type { Job, Lanes } from './lanes.js';
import { scanned } from './lists.js';
import { bareOf, packedOpening, packSubscription, unpackSubscription } from './pack.js';
import { resubscribe, subscribe, unsubscribe } from './scripts.js';

/** Changes that are done together at most. */
const TOGETHER = 200;

interface Change {
  entry: Entry;
  jid: string;
  /** Undefined to remove it. */
  value: string | undefined;
  /** How the one begins that it must replace. */
  opening?: string;
  resolve(done: Done): void;
}

/** Whether it was done, or what is there instead. */
type Done = boolean | Buffer;

/** Changes to the subscriptions of one node, done together. */
class SubscribeJob implements Job {
  readonly since = performance.now();
  bytes = 0;
  private readonly changes: Change[] = [];
  private readonly rejections: ((error: StoreError) => void)[] = [];

  constructor(
    private readonly keys: [node: string, subscriptions: string],
    private readonly indexes: Indexes,
  ) {}

  get full(): boolean {
    return this.changes.length >= TOGETHER;
  }

  add(change: Omit<Change, 'resolve'>, bytes: number): Promise<Done> {
    this.bytes += bytes;
    return new Promise((resolve, reject) => {
      this.changes.push({ ...change, resolve });
      this.rejections.push(reject);
    });
  }

  async run(request: Request): Promise<void> {
    const of = new Map(this.changes.map((change) => [change.entry, change]));
    const done = await this.indexes.around(
      request,
      [...of.keys()],
      () => Promise.all(this.changes.map((change) => this.change(request, change))),
      (results, entry) => {
        const change = of.get(entry)!;
        const done = results[this.changes.indexOf(change)];
        // Another one may be there.
        if (change.opening !== undefined && !done) return undefined;
        return change.value !== undefined && done !== false;
      },
    );
    this.changes.forEach(({ resolve }, i) => resolve(done[i]!));
  }

  private async change(request: Request, { jid, value, opening }: Change): Promise<Done> {
    if (value !== undefined && opening !== undefined) {
      return (await request.change(resubscribe, [this.keys[1]], [jid, value, opening])) === 1;
    }
    if (value !== undefined) {
      const kept = (await request.change(subscribe, this.keys, [jid, value])) as number | Buffer;
      return typeof kept === 'number' ? kept === 1 : kept;
    }
    const { reply, again } = await request.removal(unsubscribe, [this.keys[1]], [jid]);
    return reply === 1 || again;
  }

  fail(error: StoreError): void {
    for (const reject of this.rejections) reject(error);
  }
}

/** Subscriptions in Redis: with their node, and in an index by the bare JID. */
export class RedisSubscriptions {
  /** Subscriptions of removed nodes that have to be looked through, by their key. */
  private readonly removed = new Map<string, string>();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly lanes: Lanes,
    private readonly indexes: Indexes,
  ) {
    redis.onState((up) => {
      if (up) for (const [removed, node] of this.removed) this.settleRemoved(node, removed);
    });
  }

  private index(bare: string): [string, string] {
    return this.keys.index('subsof', `b:${bare}`);
  }

  /** The entry of a subscription in the index: what follows the bare JID, and the node; neither has a NUL. */
  entry(node: string, jid: string): Entry {
    const bare = bareOf(jid);
    const there = async (request: Request) => (await request.read('HEXISTS', this.keys.subscriptions(node), jid)) === 1;
    return { keys: this.index(bare), entry: `${jid.slice(bare.length)}\0${node}`, there };
  }

  /** The same, from what is in the index. */
  entryOf(bare: string, entry: string): Entry {
    const [rest, node] = entry.split('\0') as [string, string];
    return this.entry(node, bare + rest);
  }

  async add(subscription: SubscriptionRecord): Promise<SubscriptionRecord | undefined> {
    const { node, jid } = subscription;
    const done = await this.change(node, jid, packSubscription(subscription));
    return typeof done === 'boolean' ? (done ? subscription : undefined) : unpackSubscription(node, jid, done);
  }

  async replace(subscription: SubscriptionRecord): Promise<boolean> {
    const { node, jid } = subscription;
    return (await this.change(node, jid, packSubscription(subscription), packedOpening(subscription))) === true;
  }

  async remove(node: string, jid: string): Promise<boolean> {
    return (await this.change(node, jid, undefined)) === true;
  }

  private change(node: string, jid: string, value: string | undefined, opening?: string): Promise<Done> {
    const { lanes } = this;
    const refusal = lanes.refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    let job = lanes.last(node);
    if (!(job instanceof SubscribeJob) || job.full) {
      job = new SubscribeJob([this.keys.node(node), this.keys.subscriptions(node)], this.indexes);
      lanes.add(node, job);
    }
    lanes.charge(WAITING_BYTES);
    return (job as SubscribeJob).add({ entry: this.entry(node, jid), jid, value, opening }, WAITING_BYTES);
  }

  async get(node: string, jid: string): Promise<SubscriptionRecord | undefined> {
    return this.read(new Request(this.redis), node, jid);
  }

  private async read(request: Request, node: string, jid: string): Promise<SubscriptionRecord | undefined> {
    const value = (await request.read('HGET', this.keys.subscriptions(node), jid)) as Buffer | null;
    return value === null ? undefined : unpackSubscription(node, jid, value);
  }

  async ofNode(node: string): Promise<SubscriptionRecord[]> {
    const request = new Request(this.redis);
    const records = new Map<string, SubscriptionRecord>();
    const key = this.keys.subscriptions(node);
    for (let left = true; left;) {
      let pieces = 0;
      for await (const pairs of scanned(key, () => request)) {
        for (const [jid, value] of pairs) records.set(jid, unpackSubscription(node, jid, value));
        pieces++;
      }
      // A server that has taken another's place meanwhile goes through them in another order, and passes some over.
      left = pieces > 1 && records.size < ((await request.read('HLEN', key)) as number);
    }
    return [...records.values()];
  }

  async count(node: string): Promise<number> {
    return (await new Request(this.redis).read('HLEN', this.keys.subscriptions(node))) as number;
  }

  /** The index of each subscription that a node had when it was removed is made right, without anybody waiting for it. */
  settleRemoved(node: string, removed: string): void {
    this.removed.set(removed, node);
    this.lanes.beside(async () => {
      const request = () => new Request(this.redis);
      for await (const pairs of scanned(removed, request))
        await this.indexes.settleAll(pairs.map(([jid]) => this.entry(node, jid)));
      await request().write('UNLINK', removed);
      this.removed.delete(removed);
    });
  }

  countOf(bare: string): Promise<number> {
    return this.indexes.count(new Request(this.redis), (entry) => this.entryOf(bare, entry));
  }

  async of(bare: string): Promise<SubscriptionRecord[]> {
    const request = new Request(this.redis);
    const { entries, pending } = await this.indexes.all(request, this.index(bare));
    const records = await Promise.all(
      entries.map(async (text) => {
        const [rest, node] = text.split('\0') as [string, string];
        const jid = bare + rest;
        const record = await this.read(request, node, jid);
        this.indexes.read(this.entry(node, jid), record !== undefined, pending);
        return record;
      }),
    );
    return records.filter((record) => record !== undefined);
  }
}
