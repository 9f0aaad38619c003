import { setTimeout as pause } from 'node:timers/promises';
import { MEET_MS } from '../cluster/bus.js';
import { count, counters } from '../metrics/counters.js';
import type { ItemRecord } from '../store/store.js';
import type { Engine } from './engine.js';
import type { Notification } from './fanout.js';
import { freshId } from './ids.js';
import { missedOf, type Missed } from './missed.js';
import type { NodeState, Policy } from './node.js';
import { delayedItemBody } from './wire.js';

/** Nodes that are looked at at the same time. */
const SLICE = 64;
/** So many bytes of notifications are kept back at most; then those that come are sent, and what was missed is not. */
const HELD_BYTES = 16 * 1024 * 1024;
/** No notification is on its way for so long. */
const LATE_MS = 60_000;
/** Before the store is asked again that could not answer. */
const AGAIN_MS = 1_000;
const WHEN = 'while this worker was cut off from others';

/** Notifications that came for a node before those that were missed. */
interface Held {
  notifications: Notification[];
}

/** The node's policy when that was found: facts may be dropped at any time. */
type Found = Missed & { policy: Policy };

/** What subscribers were notified of last when it began (see recent.ts). */
interface Remembered {
  times: ReadonlyMap<string, readonly number[]>;
  first: number;
}

/**
 * After a gap this worker's subscribers get what was published meanwhile and kept: for each node that is read here, what the store has
 * and they have not. What comes while that is looked for waits, so that order is kept and nothing comes twice.
 */
export class CatchingUp {
  /** Nodes that may have missed something, and what came for them since. */
  private readonly pending = new Map<NodeState, Held>();
  /** Those of them for which something waits. */
  private readonly urgent = new Set<NodeState>();
  private heldBytes = 0;
  /** From when on, in milliseconds since the epoch, nodes without any notification so far may have missed something. */
  private since = Infinity;
  /** Resolves when this worker is one of the others again, where it was not. */
  private rejoined: Promise<void> | undefined;

  constructor(private readonly engine: Engine) {}

  /** What others sent may be lost since then; `over`: see `Bus.onGap`. */
  begin(since: number, over: Promise<void> | undefined): void {
    const { interest, nodes, fanout } = this.engine;
    const round = ++interest.gaps;
    this.since = Math.min(this.since, since);
    for (const node of nodes.all()) {
      if (node.recipients.length > 0 && !this.pending.has(node)) this.pending.set(node, { notifications: [] });
    }
    fanout.hold = (node, notification) => this.hold(node, notification);
    if (over !== undefined) {
      this.rejoined = over;
      fanout.apart.begin();
    }
    this.run(round).catch((err: unknown) => this.engine.log.error({ err }, 'what was missed could not be sent'));
  }

  private async run(round: number): Promise<void> {
    const { interest, cluster, fanout, log } = this.engine;
    const began = performance.now();
    const dropped = (): number => counters.drops['catching_up'] ?? 0;
    const before = dropped();
    await this.rejoined;
    // Until the others know what is read here.
    const patience = new AbortController();
    await Promise.race([cluster.barrier(), pause(MEET_MS, undefined, patience).catch(() => undefined)]);
    patience.abort();
    // There was another gap, and all begins again.
    const current = (): boolean => round === interest.gaps;
    if (!current()) return;
    if (fanout.apart.now) fanout.apart.finish();
    // Of nodes that are looked at later it is not to be forgotten what came before.
    const known = { times: fanout.recent.byNode(), first: fanout.recent.first };
    let items = 0;
    for (let nodes = this.next(); nodes.length > 0 && current(); nodes = this.next()) {
      try {
        items += await this.slice(nodes, known, current);
      } catch (error) {
        this.engine.failed(error);
        await pause(AGAIN_MS);
      }
    }
    if (!current()) return;
    this.since = Infinity;
    fanout.hold = undefined;
    setTimeout(() => current() && fanout.sentLate.clear(), LATE_MS).unref();
    const facts = { items, ms: Math.round(performance.now() - began) };
    const incomplete = dropped() - before;
    if (incomplete === 0) log.info(facts, `subscribers were sent what they had missed ${WHEN}`);
    else
      log.warn(
        { ...facts, incomplete },
        `of some nodes subscribers were sent only the last of what they had missed ${WHEN}`,
      );
  }

  /** Nothing is looked for any more; what came meanwhile is sent. */
  stop(): void {
    const { interest, fanout } = this.engine;
    interest.gaps++;
    for (const node of [...this.pending.keys()]) this.release(node, undefined);
    fanout.hold = undefined;
    if (fanout.apart.now) fanout.apart.finish();
  }

  private next(): NodeState[] {
    const nodes: NodeState[] = [];
    for (const node of this.urgent) if (nodes.push(node) === SLICE) return nodes;
    for (const node of this.pending.keys()) {
      if (!this.urgent.has(node) && nodes.push(node) === SLICE) return nodes;
    }
    return nodes;
  }

  /** Answers with how many items were missed. */
  private async slice(
    nodes: readonly NodeState[],
    { times, first }: Remembered,
    current: () => boolean,
  ): Promise<number> {
    const { engine, since } = this;
    const found = new Map<NodeState, Found>();
    await Promise.all(
      nodes.map(async (node) => {
        if ((await engine.nodes.load(node.name)) !== node || node.recipients.length === 0) return;
        const policy = node.facts?.policy;
        if (policy?.persist !== true || !policy.delivers) return;
        const known = { times: times.get(node.name) ?? [], first };
        const missed = await missedOf(engine.store.items, node, known, since, policy.notBefore(Date.now()));
        if (missed.items.length > 0) found.set(node, { ...missed, policy });
      }),
    );
    // Those of the items whose notifications had not left have come when this is over, and are held.
    const names = [...found.keys()].map(({ name }) => name);
    if (names.length > 0) await Promise.all([engine.departed(names), engine.cluster.departed(names)]);
    if (!current()) return 0;
    let items = 0;
    for (const node of nodes) items += this.release(node, found.get(node));
    return items;
  }

  private hold(node: NodeState, notification: Notification): boolean {
    const held = this.pending.get(node);
    if (held === undefined) return false;
    held.notifications.push(notification);
    this.urgent.add(node);
    this.heldBytes += notification.body.length;
    if (this.heldBytes > HELD_BYTES) this.giveUp();
    return true;
  }

  /** Sends what was missed, then what came meanwhile. */
  private release(node: NodeState, found: Found | undefined): number {
    const { fanout } = this.engine;
    const held = this.pending.get(node);
    if (held === undefined) return 0;
    this.pending.delete(node);
    this.urgent.delete(node);
    for (const item of found?.items ?? []) this.send(node, item, found!.policy);
    if (found?.more === true) count(counters.drops, 'catching_up');
    for (const { type, droppable, body, published } of held.notifications) {
      this.heldBytes -= body.length;
      if (published !== 0 && fanout.recent.has(node.name, published)) continue;
      fanout.toRecipients(node, type, droppable, body, published);
    }
    return found?.items.length ?? 0;
  }

  private send(node: NodeState, item: ItemRecord, { payloads, namesPublisher, type }: Policy): void {
    const { host, fanout } = this.engine;
    const body = delayedItemBody(host, node, freshId(), item, { payload: payloads, publisher: namesPublisher });
    fanout.missed(node, type, body, item.published);
  }

  /** More comes than can wait. */
  private giveUp(): void {
    count(counters.drops, 'catching_up', this.pending.size);
    for (const node of [...this.pending.keys()]) this.release(node, undefined);
  }
}
