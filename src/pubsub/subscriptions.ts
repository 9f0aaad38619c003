import type { NodeStore, SubscriptionRecord } from '../store/store.js';
import type { Cluster } from './cluster.js';
import type { Sessions } from './fanout.js';
import type { Endpoint, Interest, Reader } from './interest.js';
import type { NodeState } from './node.js';
import { readBoolean } from './options.js';

/** Event notifications may be sent in these states (XEP-0060 §4.2). */
export function isActive(subscription: SubscriptionRecord | undefined): subscription is SubscriptionRecord {
  return subscription?.state === 'subscribed' || subscription?.state === 'unconfigured';
}

/** Active, and not turned off by the option `deliver` (XEP-0060 §16.4.2). */
export function delivers(subscription: SubscriptionRecord | undefined): boolean {
  if (!isActive(subscription)) return false;
  const deliver = subscription.options?.['deliver'];
  return typeof deliver !== 'string' || readBoolean([deliver]) !== false;
}

/** Sessions whose subscriptions are read at the same time when all are read again. */
const SLICE = 64;
/** Bare JIDs that are remembered to have no subscription. */
const WITHOUT_MAX = 100_000;

/** A session's subscriptions being read. */
interface Load {
  /** What changed meanwhile: node and form, and whether it is on. It is newer than what is being read. */
  changes: { node: string; full: boolean; on: boolean }[];
  promise: Promise<string[]>;
}

/** One subscription being read. */
interface Refresh {
  readonly node: string;
  readonly jid: string;
  readonly bare: string;
  /** It changed meanwhile. */
  again: boolean;
  promise: Promise<void>;
}

/**
 * Makes interest follow the store. Nobody is told what a subscription became, only that it changed: each worker
 * reads the store again, so that changes that cross each other end alike everywhere.
 */
export class Subscriptions {
  private readonly loads = new Map<Reader, Load>();
  private readonly refreshes = new Map<string, Refresh>();
  /** Bare JIDs that had no subscription when they were last asked for, and were given none since: those of most sensors. */
  private readonly without = new Set<string>();
  /** Changes of subscriptions heard of so far. */
  private news = 0;

  constructor(
    private readonly store: NodeStore,
    private readonly interest: Interest,
    private readonly cluster: Cluster,
    private readonly sessions: Sessions,
    private readonly readerOf: (session: Endpoint) => Reader,
  ) {}

  // --- sessions ----------------------------------------------------------------------------------------------------------

  /**
   * Reads the subscriptions of a session that can be reached now. Resolves to the nodes whose notifications come to it, from
   * whatever worker they are published at; calls while one is under way share it.
   */
  load(reader: Reader): Promise<string[]> {
    const running = this.loads.get(reader);
    if (running !== undefined) return running.promise;
    const load: Load = { changes: [], promise: undefined as never };
    this.loads.set(reader, load);
    load.promise = this.read(reader, load).finally(() => this.loads.delete(reader));
    return load.promise;
  }

  /** The same for sessions whose subscriptions were read before, or could not be, in slices that let others work. */
  async loadAgain(sessions: readonly Endpoint[]): Promise<void> {
    for (let at = 0; at < sessions.length; at += SLICE) {
      await Promise.all(
        sessions.slice(at, at + SLICE).map(async (session) => {
          if (session.ended) return;
          // One that is under way may have read what is out of date.
          await this.loads.get(this.readerOf(session))?.promise;
          if (!session.ended) await this.load(this.readerOf(session));
        }),
      );
    }
  }

  /** The same at once, where it is known that there are none; false when they have to be read. */
  knownNone(reader: Reader): boolean {
    if (!this.without.has(reader.session.jid.bare) || reader.recipients.size > 0 || this.loads.has(reader))
      return false;
    this.interest.reach(reader, takesBare(reader.session));
    reader.known = true;
    return true;
  }

  private async read(reader: Reader, load: Load): Promise<string[]> {
    const { jid } = reader.session;
    const { news } = this;
    const records = await this.store.subscriptionsOf(jid.bare);
    if (records.length === 0 && news === this.news) {
      if (this.without.size >= WITHOUT_MAX) this.without.clear();
      this.without.add(jid.bare);
    }
    if (reader.closed) return [];
    // The session may have come and gone meanwhile: what counts is how it is now.
    const reachable = takesBare(reader.session);
    this.interest.reach(reader, reachable);
    reader.known = true;
    const bare = new Set<string>();
    const full = new Set<string>();
    for (const record of records) {
      if (!delivers(record)) continue;
      if (record.jid === jid.full) full.add(record.node);
      else if (record.jid === jid.bare) bare.add(record.node);
    }
    for (const { node, full: ofFull, on } of load.changes) {
      const set = ofFull ? full : bare;
      if (on) set.add(node);
      else set.delete(node);
    }
    for (const name of [...reader.recipients.keys()]) {
      if (!bare.has(name)) this.interest.set(reader, name, 'bare', false);
      if (!full.has(name)) this.interest.set(reader, name, 'full', false);
    }
    for (const name of full) this.interest.set(reader, name, 'full', true);
    if (reachable) for (const name of bare) this.interest.set(reader, name, 'bare', true);
    this.interest.flush();
    const names = [...reader.recipients.keys()];
    // Others of this worker may have made the nodes interesting a moment ago: that need not be known yet, either.
    if (names.length > 0) await this.cluster.barrier();
    return names;
  }

  /** What is for the bare JID does not come to the session any more. */
  unreachable(reader: Reader): void {
    this.interest.reach(reader, false);
    this.interest.flush();
  }

  closed(reader: Reader): void {
    this.interest.close(reader);
    this.interest.flush();
  }

  // --- subscriptions -------------------------------------------------------------------------------------------------------

  /** The subscription was changed here. Resolves when every worker goes by it. */
  async changed(node: string, jid: string, bare: string): Promise<void> {
    this.heard(bare);
    await this.refresh(node, jid, bare);
    await this.cluster.subscriptionChanged(node, jid);
  }

  private heard(bare: string): void {
    this.news++;
    this.without.delete(bare);
  }

  /** Subscriptions may have changed that nobody told of. */
  doubt(): void {
    this.news++;
    this.without.clear();
  }

  /** Another worker changed it. Undefined when that is of no concern here. */
  changedElsewhere(node: string, jid: string): void | Promise<void> {
    const bare = jid.split('/', 1)[0]!;
    this.heard(bare);
    if (this.sessions.sessionsOf(bare).length === 0) return undefined;
    return this.refresh(node, jid, bare).then(() => this.cluster.barrier());
  }

  /**
   * The node was deleted, and perhaps made again: those who are subscribed here, or may be about to be by what was read
   * before, are so only if the store says so now.
   */
  nodeGone(node: NodeState): void | Promise<void> {
    const { name } = node;
    const jids = new Map<string, string>();
    const both = ({ jid }: Endpoint): void => void jids.set(jid.bare, jid.bare).set(jid.full, jid.bare);
    for (const { session } of node.recipients) both(session);
    for (const { session } of this.loads.keys()) both(session);
    for (const refresh of this.refreshes.values()) if (refresh.node === name) jids.set(refresh.jid, refresh.bare);
    if (jids.size === 0) return undefined;
    return Promise.all([...jids].map(([jid, bare]) => this.refresh(name, jid, bare))).then(() => undefined);
  }

  /** One at a time for each subscription, so that what was read last is applied last. */
  private refresh(node: string, jid: string, bare: string): Promise<void> {
    const key = `${node}\0${jid}`;
    const running = this.refreshes.get(key);
    if (running !== undefined) {
      running.again = true;
      return running.promise;
    }
    const refresh: Refresh = { node, jid, bare, again: false, promise: undefined as never };
    this.refreshes.set(key, refresh);
    refresh.promise = this.follow(refresh).finally(() => this.refreshes.delete(key));
    return refresh.promise;
  }

  private async follow(refresh: Refresh): Promise<void> {
    const { node, jid, bare } = refresh;
    let record: SubscriptionRecord | undefined;
    do {
      refresh.again = false;
      record = await this.store.subscription(node, jid);
    } while (refresh.again);
    const on = delivers(record);
    for (const session of this.sessions.sessionsOf(bare)) {
      if (session.ended || (jid !== bare && session.jid.full !== jid)) continue;
      const reader = this.readerOf(session);
      reader.permit = undefined;
      const full = jid !== bare;
      this.loads.get(reader)?.changes.push({ node, full, on });
      this.interest.set(reader, node, full ? 'full' : 'bare', on);
    }
    this.interest.flush();
  }
}

/** RFC 6121 §8.5.2.1.1: messages for the bare JID go to available resources of non-negative priority. */
function takesBare(session: Endpoint): boolean {
  return session.available && session.priority >= 0;
}
