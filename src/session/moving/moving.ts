import { setImmediate as turn } from 'node:timers/promises';
import { CHANNEL, PeerGone } from '../../cluster/bus.js';
import { counters } from '../../metrics/counters.js';
import { whole } from '../../stream/outbox.js';
import type { SessionContext } from '../context.js';
import type { Session } from '../session.js';
import { Arrival, stanzas } from './arrival.js';
import { Departed } from './departed.js';
import { MOVE, entryFrames, readEntries, request, type Name, type Snapshot, type Welcome } from './frames.js';

/** Sessions that have left and whose new places are remembered. */
const DEPARTED_MAX = 100_000;
/** How long the other worker may take for one step; that it lives is watched by the bus. */
const STEP_MS = 60_000;
/** Bytes of a queue that may be on their way at once. */
const WINDOW_BYTES = 1024 * 1024;

/**
 * Sessions that wait to be resumed go from one worker to another, with nothing lost, doubled or out of order:
 *
 * 1. The old worker has nothing of the session under way, and sends all but its queue (`adopt`).
 * 2. The new one makes the session and holds what comes for it, reads its subscriptions, takes it over in the directory, and waits until
 *    every worker has heard: from then on all that is sent to the session is sent here.
 * 3. The old one waits until it has heard what every worker had sent to it before, then sends its queue (`queue`, `done`).
 * 4. The new one waits until what is in that queue and was sent to it as well has come, and puts what it held behind the queue.
 *    Notifications may have been sent to both, and are there once.
 *
 * So of what one sender sends, the first part is in the queue, the last is held, and between them there may be notifications
 * that are in both. Until the new worker has confirmed `done`, the old one has everything and can go on.
 */
export class Moving {
  /** Where sessions went. */
  readonly departed = new Departed(DEPARTED_MAX);
  private readonly arrivals = new Map<string, Arrival>();
  /** From where those have come that are here, as long as one may ask there whether they have. */
  private readonly came = new Departed(DEPARTED_MAX);
  private refusing = false;

  constructor(private readonly context: SessionContext) {
    const { bus } = context;
    bus.listen(CHANNEL.move, (from, body) => this.heard(from, body));
    bus.onUndelivered(CHANNEL.move, (_peer, body) => {
      // Of all else the old worker has what it needs until it is confirmed.
      if (body[0] !== MOVE.late) return;
      const { names, entries } = readEntries(body, 2);
      const jid = context.jids.get(names[1]!);
      if (jid !== undefined) context.router.reroute(jid, entries.map(whole));
    });
    bus.onPeerDown((peer) => {
      for (const [id, arrival] of this.arrivals) {
        if (arrival.from !== peer || arrival.whole) continue;
        this.arrivals.delete(id);
        arrival.orphaned();
      }
    });
  }

  /** No session is welcome any more. */
  refuse(): void {
    this.refusing = true;
  }

  /** Sessions are on their way here. */
  get expecting(): boolean {
    return this.arrivals.size > 0;
  }

  // --- from here -----------------------------------------------------------------------------------------------------

  /** Resolves to whether the session, which waits to be resumed, is at that worker now; if not, it goes on here. */
  async move(session: Session, to: number): Promise<boolean> {
    if (session.moving !== undefined || session.connection !== undefined || session.resumption === undefined) {
      return false;
    }
    if (session.ended) return false;
    let settle!: () => void;
    session.moving = new Promise((resolve) => (settle = resolve));
    const left = session.stopWaiting();
    let moved = false;
    try {
      moved = await this.handOver(session, to, left);
    } catch (error) {
      this.context.log.error({ err: error, session: session.jid.full }, 'a session could not be moved');
      session.leaving = false;
      session.endAfterAll();
    }
    session.moving = undefined;
    if (!session.ended) session.wait(left);
    if (!moved) counters.moves.failed++;
    settle();
    return moved;
  }

  private async handOver(session: Session, to: number, left: number): Promise<boolean> {
    const { bus, watchers, router } = this.context;
    await session.idle();
    await Promise.all(watchers.map((watcher) => watcher.sessionLeaving?.(session)));
    if (session.ended) return false;
    const { id, outbox } = session;
    const { dropped } = outbox;
    let welcome = await this.ask(to, MOVE.adopt, snapshot(session, left));
    if (welcome?.state === 'ready' && !session.ended) {
      await bus.barrier();
      await router.settled(session.jid.bare);
      // Answers that waited for the same barrier come first.
      await turn();
      // From here on the session is perhaps there already: an end that comes now is put off.
      if (!session.ended) session.leaving = true;
      const sent = await this.transfer(session, to);
      if (!session.ended) welcome = await this.ask(to, MOVE.done, { id, lossy: outbox.dropped > dropped });
      // Perhaps it is there, and only the answer was lost.
      if (welcome === undefined && bus.peers.has(to)) welcome = await this.ask(to, MOVE.cancel, { id });
      if (welcome?.state === 'ready' && !session.ended) {
        // What has come for it since from this worker alone; of notifications the other has got its own.
        const late = [...stanzas(outbox, sent, outbox.next)].filter(({ head }) => head === undefined);
        for (const frame of entryFrames(MOVE.late, [id, session.jid.full], late)) bus.send(to, CHANNEL.move, frame);
        session.vanish();
        this.departed.add(id, to, left);
        this.came.delete(id);
        counters.moves.out++;
        this.context.log.debug({ session: session.jid.full, to }, 'a session has gone');
        return true;
      }
    }
    await this.keep(session, to, welcome);
    return false;
  }

  /** Sends the queue; resolves to the position up to which it did, in the same turn in which it got there. */
  private async transfer(session: Session, to: number): Promise<number> {
    const { bus } = this.context;
    const { outbox } = session;
    let at = outbox.first;
    for (;;) {
      const batch = [];
      for (let bytes = 0; at !== outbox.next && bytes < WINDOW_BYTES; at++) {
        const entry = outbox.at(at);
        if (entry === undefined) continue;
        batch.push(entry);
        bytes += entry.shared.bytes.length;
      }
      for (const frame of entryFrames(MOVE.queue, [session.id], batch)) bus.send(to, CHANNEL.move, frame);
      if (at === outbox.next) return at;
      await bus.barrier([to]);
    }
  }

  /** The session did not get there. */
  private async keep(session: Session, to: number, welcome: Welcome | undefined): Promise<void> {
    const { bus, directory } = this.context;
    if (session.ended || (welcome === undefined && bus.peers.has(to))) {
      await this.ask(to, MOVE.cancel, { id: session.id });
    }
    session.leaving = false;
    if (welcome?.state === 'ended') session.end(welcome.heir);
    session.endAfterAll();
    if (session.ended) return;
    // Whoever has taken the resource meanwhile says so, unless it told the other worker, and that one died.
    if (!(await directory.adopt(session.entry())) && !bus.peers.has(to)) session.end();
  }

  /** Undefined when the worker died over it, or does not answer. */
  private async ask(worker: number, op: number, body: Snapshot | Name): Promise<Welcome | undefined> {
    try {
      const answer = await this.context.bus.request(worker, CHANNEL.move, request(op, body), STEP_MS);
      return JSON.parse(answer.toString()) as Welcome;
    } catch (error) {
      if (!(error instanceof PeerGone))
        this.context.log.error({ err: error, number: worker }, 'no answer about a session that moves');
      return undefined;
    }
  }

  // --- to here ---------------------------------------------------------------------------------------------------------

  private heard(from: number, body: Buffer): void | Buffer | Promise<Buffer> {
    const op = body[0];
    if (op === MOVE.queue) {
      const { names, entries } = readEntries(body, 1);
      this.arrivals.get(names[0]!)?.add(entries);
    } else if (op === MOVE.late) this.late(from, body);
    else if (op === MOVE.adopt) {
      return this.adopt(from, JSON.parse(body.toString('utf8', 1)) as Snapshot).then(json);
    } else {
      const { id, lossy } = JSON.parse(body.toString('utf8', 1)) as Name;
      if (op === MOVE.cancel) return json(this.came.worker(id) === from ? { state: 'ready' } : this.cancelled(id));
      return this.done(id, lossy === true).then(json);
    }
  }

  private async adopt(from: number, snapshot: Snapshot): Promise<Welcome> {
    const { context } = this;
    const { registry, watchers, directory, bus } = context;
    const jid = context.jids.get(`${snapshot.bare}/${snapshot.resource}`);
    if (this.refusing || jid === undefined || registry.full(jid.full) !== undefined) return { state: 'refused' };
    const arrival = new Arrival(context, from, jid, snapshot);
    const { session } = arrival;
    this.arrivals.set(session.id, arrival);
    this.departed.delete(session.id);
    registry.add(session);
    registry.resumable(session);
    try {
      await Promise.all(watchers.map((watcher) => watcher.sessionArriving?.(session)));
      if (!session.ended && !(await directory.adopt(session.entry()))) return this.cancelled(session.id);
      // It ended while that was written.
      if (session.ended) directory.unbind(session.entry());
      context.log.debug({ session: jid.full, from }, 'a session is coming');
      await bus.barrier();
    } catch (error) {
      context.log.warn({ err: error, session: jid.full }, 'a session could not be taken over');
      return this.cancelled(session.id);
    }
    return session.ended ? this.ended(arrival) : { state: 'ready' };
  }

  private async done(id: string, lossy: boolean): Promise<Welcome> {
    const arrival = this.arrivals.get(id);
    if (arrival === undefined) return { state: 'refused' };
    arrival.whole = true;
    // What is in the queue and was sent here too has come when this is over.
    await this.context.bus.barrier();
    if (arrival.session.ended) return this.ended(arrival);
    this.arrivals.delete(id);
    this.came.add(id, arrival.from, 2 * STEP_MS);
    arrival.complete(lossy);
    counters.moves.in++;
    this.context.log.debug({ session: arrival.session.jid.full, from: arrival.from }, 'a session has come');
    return { state: 'ready' };
  }

  /** It stays where it was, and so does what came for it here. */
  private cancelled(id: string): Welcome {
    const arrival = this.arrivals.get(id);
    if (arrival === undefined) return { state: 'refused' };
    if (arrival.session.ended) return this.ended(arrival);
    this.arrivals.delete(id);
    const { full } = arrival.session.jid;
    for (const frame of entryFrames(MOVE.late, [id, full], arrival.forsake())) {
      this.context.bus.send(arrival.from, CHANNEL.move, frame);
    }
    return { state: 'refused' };
  }

  private ended(arrival: Arrival): Welcome {
    this.arrivals.delete(arrival.session.id);
    arrival.over();
    return { state: 'ended', heir: arrival.session.heir };
  }

  /** What came for a session after it was sent here, or before it was sent back. */
  private late(from: number, body: Buffer): void {
    const { registry, bus, jids, router } = this.context;
    const { names, entries } = readEntries(body, 2);
    const [id, full] = names as [string, string];
    const session = registry.byResumption(id);
    const place = this.departed.worker(id);
    const jid = jids.get(full);
    if (session !== undefined) for (const { head, shared } of entries) session.queue(head, shared);
    else if (place !== undefined && place !== from) bus.send(place, CHANNEL.move, body);
    else if (jid !== undefined) router.reroute(jid, entries.map(whole));
  }
}

function snapshot(session: Session, left: number): Snapshot {
  const { jid, outbox, presence, directed } = session;
  const { handled, resumable } = session.sm!;
  return {
    id: session.id,
    bare: jid.bare,
    resource: jid.resource,
    lang: session.lang,
    since: session.since,
    available: session.available,
    priority: session.priority,
    presence: presence?.bytes.toString('base64'),
    directed: directed && [...directed],
    handled,
    acknowledged: outbox.acknowledged,
    outstanding: outbox.outstanding,
    resumable,
    left,
  };
}

function json(welcome: Welcome): Buffer {
  return Buffer.from(JSON.stringify(welcome));
}
