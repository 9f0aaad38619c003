import type { Logger } from 'pino';
import type { Bus } from '../cluster/bus.js';
import type { Config } from '../config/config.js';
import type { Jid } from '../jid/jid.js';
import { count, counters } from '../metrics/counters.js';
import type { Session } from '../session/session.js';
import { type Affiliation, type Store, StoreError } from '../store/store.js';
import type { Element } from '../xml/element.js';
import { opaqueString } from '../jid/precis.js';
import { CatchingUp } from './catching-up.js';
import { Cluster } from './cluster.js';
import { Turn } from './departures.js';
import { Expiry } from './expiry.js';
import { Fanout } from './fanout.js';
import { Hearsay } from './hearsay.js';
import { freshId } from './ids.js';
import { type Endpoint, Interest, Reader } from './interest.js';
import { LastItems } from './last-items.js';
import { type NodeFacts, Policies } from './node.js';
import { Nodes } from './nodes.js';
import type { NodeLimits } from './options.js';
import { Refusal } from './refusals.js';
import { Subscriptions } from './subscriptions.js';
import { eventBody } from './wire.js';
import { Notices } from './xml/notices.js';

/** What the engine asks of the router. */
export interface Post {
  deliver(to: Jid, stanza: Element): void;
  sessionsOf(bare: string): readonly Session[];
  /** All sessions of this worker. */
  sessions(): Iterable<Session>;
}

export interface EngineDependencies {
  /** Address of the service, such as `pubsub.localhost`. */
  host: string;
  config: Config;
  store: Store;
  bus: Bus;
  router: Post;
  log: Logger;
}

/** Who asks. */
export interface Actor {
  jid: Jid;
  /** A service-wide administrator may do at every node what its owners may. */
  admin: boolean;
  /** Absent where it speaks by message. */
  session: Endpoint | undefined;
}

/** The store was away so long ago, in milliseconds, that it is another outage. */
const OUTAGE_MS = 60_000;

/** RFC 7622 §3.4: a NodeID should be fit for a resourcepart (XEP-0060 §4.6.2), and item ids are held to the same length. */
const NAME_BYTES = 1023;

/** The parts of the pub-sub engine in one worker, wired together. What they are used for is in the modules beside. */
export class Engine {
  readonly host: string;
  readonly config: Config;
  readonly store: Store;
  readonly log: Logger;
  readonly limits: NodeLimits;
  readonly policies: Policies;
  readonly nodes: Nodes;
  readonly interest: Interest;
  readonly cluster: Cluster;
  readonly hearsay: Hearsay;
  readonly fanout: Fanout;
  readonly subscriptions: Subscriptions;
  readonly lastItems: LastItems;
  readonly expiry: Expiry;
  readonly notices: Notices;
  readonly catchingUp: CatchingUp;
  private readonly router: Post;
  /** When the store was last found away. */
  private outageTold = -Infinity;
  private readonly tasks = new Set<Promise<void>>();
  private doubting = false;

  constructor({ host, config, store, bus, router, log }: EngineDependencies) {
    this.host = host;
    this.config = config;
    this.store = store;
    this.log = log;
    this.router = router;
    this.limits = {
      itemsPerNode: config.limits.enabled ? config.limits.items_per_node : Number.MAX_SAFE_INTEGER,
      payloadBytes: config.pubsub.max_payload_bytes,
    };
    this.policies = new Policies(this.limits);
    this.nodes = new Nodes(store.nodes, this.policies);
    this.cluster = new Cluster(bus, log);
    this.hearsay = new Hearsay(store.nodes, this.nodes, this.cluster, this.limits);
    this.interest = new Interest(this.nodes, (gained, lost) => this.cluster.announceInterest(gained, lost));
    this.fanout = new Fanout(host, bus, this.nodes, this.interest, router);
    this.subscriptions = new Subscriptions(store.nodes, this.interest, this.cluster, router, (session) =>
      this.readerOf(session),
    );
    this.lastItems = new LastItems(store.items, this.nodes, this.cluster);
    this.expiry = new Expiry(store.items, (work) => this.task(work));
    this.notices = new Notices(host, router);
    this.cluster.listen({
      interest: (worker, gained, name) =>
        gained ? this.interest.gain(worker, name) : this.interest.lose(worker, name),
      workerGone: (worker) => {
        this.interest.workerGone(worker);
        this.doubt();
      },
      interesting: () => this.interest.local(),
      notification: (frame) => this.fanout.received(frame),
      nodeChanged: (name, gone) => this.forget(name, gone),
      subscriptionChanged: (name, jid) => this.subscriptions.changedElsewhere(name, jid),
      direct: (reader) => this.fanout.receivedDirect(reader),
      lastItems: (names) => this.lastItems.list(names),
      departed: (names) => this.departed(names),
      facts: (name) => this.hearsay.tell(name),
    });
    this.catchingUp = new CatchingUp(this);
    bus.onGap((since, over) => this.catchingUp.begin(since, over));
  }

  /** What the engine keeps in the session's slot. */
  readerOf(session: Endpoint): Reader {
    return ((session.pubsub as Reader | undefined) ?? (session.pubsub = new Reader(session, this.host))) as Reader;
  }

  // --- nodes -------------------------------------------------------------------------------------------------------------

  /** The node and its facts, or the refusal that there is none. */
  async node(name: string): Promise<KnownNode | Refusal> {
    for (;;) {
      const state = await this.nodes.load(name);
      if (state === undefined) return new Refusal('node-not-found');
      const { facts } = state;
      // They may have been dropped since they were read.
      if (facts !== undefined) return { name, facts };
    }
  }

  /** The same, for its owners and administrators alone (XEP-0060 §14.2). */
  async ownedNode(actor: Actor, name: string): Promise<KnownNode | Refusal> {
    const node = await this.node(name);
    if (node instanceof Refusal) return node;
    return this.standing(actor, node.facts) === 'owner' ? node : new Refusal('forbidden');
  }

  /** The affiliation that counts. */
  standing(actor: Actor, facts: NodeFacts): Affiliation {
    return actor.admin ? 'owner' : facts.affiliation(actor.jid.bare);
  }

  /** Why a NodeID or an item's id will not do; undefined when it will. */
  badName(what: 'node' | 'item', name: string): Refusal | undefined {
    if (Buffer.byteLength(name) > NAME_BYTES) {
      return new Refusal('not-acceptable', `the ${what} id is longer than ${NAME_BYTES} bytes`);
    }
    if (what === 'node' && opaqueString(name) !== name) {
      return new Refusal('not-acceptable', 'the node id is not a prepared OpaqueString (RFC 8265)');
    }
    return undefined;
  }

  /** What is known of the node here is out of date. */
  private forget(name: string, gone: boolean): void | Promise<void> {
    this.nodes.invalidate(name, gone);
    if (!gone) return undefined;
    this.expiry.forget(name);
    const node = this.nodes.ensure(name);
    const checked = this.subscriptions.nodeGone(node);
    this.nodes.release(node);
    return checked;
  }

  /**
   * What is known may be out of date: a worker that is gone had perhaps changed something and told nobody, or the store could
   * not be asked. Facts are read again when they are needed, the sessions' subscriptions now, a few at a time.
   */
  doubt(): void {
    this.subscriptions.doubt();
    if (this.doubting) return;
    this.doubting = true;
    this.task(async () => {
      // Deaths come in groups.
      await new Promise((resolve) => setImmediate(resolve));
      this.doubting = false;
      this.nodes.doubt();
      await this.subscriptions.loadAgain([...this.router.sessions()]);
    });
  }

  /** The node's durable facts were changed here; resolves when every worker has dropped the old ones. */
  async changed(name: string, gone = false): Promise<void> {
    await this.forget(name, gone);
    await this.cluster.nodeChanged(name, gone);
  }

  // --- order -------------------------------------------------------------------------------------------------------------

  /** Waits for `work`, then for the turn at the node and of the actor's session, then does `action`. */
  async inTurn<Result>(
    name: string,
    actor: Actor,
    work: Promise<Result>,
    action: (result: Result) => void,
  ): Promise<Result> {
    const reader = actor.session === undefined ? undefined : this.readerOf(actor.session);
    let act = (): void => undefined;
    const node = this.nodes.ensure(name);
    const turn = new Turn(node, reader, () => act());
    turn.queue();
    try {
      const result = await work;
      act = () => action(result);
      return result;
    } finally {
      turn.ready();
      await turn.done;
      this.nodes.release(node);
    }
  }

  /** Sends an event (the content of `<event/>`) to the node's recipients, if the node delivers at all. Call it in turn. */
  notify(name: string, facts: NodeFacts, event: string): void {
    if (!facts.policy.delivers) return;
    const node = this.nodes.ensure(name);
    if (node.recipients.length > 0 || node.workers.length > 0) {
      this.fanout.send(node, facts.policy.type, false, eventBody(freshId(), event));
    }
    this.nodes.release(node);
  }

  /** Resolves when all that the session has published so far is kept, and the notifications are on their way. */
  async published({ tail }: Reader): Promise<void> {
    if (tail === undefined) return;
    const turn = new Turn(tail.node, tail.reader, () => undefined);
    turn.queue();
    turn.ready();
    await turn.done;
    this.nodes.release(tail.node);
  }

  // --- failures and loose ends -------------------------------------------------------------------------------------------

  /** What a request is told when the store, or something else, did not do its work. */
  failed(error: unknown, what = 'a request to the pub-sub service failed'): Refusal {
    if (error instanceof StoreError && error.reason === 'full') {
      this.outage(error, 'the disk is full: nothing more is kept until there is room on that of data_dir');
      return new Refusal('store-full');
    }
    if (error instanceof StoreError && error.reason === 'unavailable') {
      count(counters.drops, 'store_unavailable');
      this.outage(error, 'the store is not available: requests fail');
      return new Refusal('internal-error');
    }
    this.log.error({ err: error }, what);
    return new Refusal('internal-error');
  }

  /** All requests of an outage fail for the same reason: it is said once in a while. */
  private outage({ message }: StoreError, what: string): void {
    const now = performance.now();
    if (now - this.outageTold > OUTAGE_MS) this.log.error({ reason: message }, what);
    this.outageTold = now;
  }

  /** Work that nobody waits for; its failure is logged. */
  task(work: () => Promise<void>): void {
    const task = work()
      .catch((error: unknown) => void this.failed(error, 'the pub-sub service could not finish its work'))
      .finally(() => this.tasks.delete(task));
    this.tasks.add(task);
  }

  /** Resolves when what was accepted for these nodes, by this worker, is kept or refused, and its notifications are on their way. */
  async departed(names: Iterable<string>): Promise<void> {
    const last: Promise<void>[] = [];
    for (const name of names) {
      const node = this.nodes.peek(name);
      if (node?.tail === undefined) continue;
      const turn = new Turn(node, undefined, () => undefined);
      turn.queue();
      turn.ready();
      last.push(turn.done.then(() => this.nodes.release(node)));
    }
    await Promise.all(last);
  }

  /** Resolves when all tasks and departures that are under way now are done. */
  async settled(): Promise<void> {
    const busy: string[] = [];
    for (const { name, tail } of this.nodes.all()) if (tail !== undefined) busy.push(name);
    await Promise.all([...this.tasks, this.departed(busy)]);
  }
}

/** A node's facts as they were a moment ago; it may have others by the time that somebody who waits for them goes on. */
export interface KnownNode {
  readonly name: string;
  readonly facts: NodeFacts;
}
