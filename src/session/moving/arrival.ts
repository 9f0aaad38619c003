import { count, counters } from '../../metrics/counters.js';
import type { Jid } from '../../jid/jid.js';
import { Outbox, Shared, type Entry } from '../../stream/outbox.js';
import type { SessionContext } from '../context.js';
import { StreamManagement } from '../management.js';
import { Session } from '../session.js';
import type { Snapshot } from './frames.js';

/** Bytes from which a notification is known: its message's id is among the first (pubsub/wire.ts). */
const KEY_BYTES = 64;

/**
 * A session on its way to this worker. What comes for it here is held until the queue is complete that its old worker has for it, and
 * is put behind that. Notifications that both workers got are not put there twice.
 */
export class Arrival {
  readonly session: Session;
  /** The queue is complete; it is the session's as soon as all is here that may be in it, too. */
  whole = false;
  private readonly queue: Outbox;
  /** Notifications in the queue, by their first bytes. */
  private readonly known = new Set<string>();
  private readonly left: number;
  private outstanding: number;
  private settle!: () => void;

  constructor(
    context: SessionContext,
    readonly from: number,
    jid: Jid,
    snapshot: Snapshot,
  ) {
    const { limits, slow_reader, sm } = context.config;
    // Nothing happens to a full queue before it is the session's.
    const outbox = (): Outbox => new Outbox(limits.outbox_bytes, slow_reader, () => undefined);
    const session = new Session(context, jid, snapshot.id, { outbox: outbox(), lang: snapshot.lang });
    session.mute = true;
    session.since = snapshot.since;
    session.available = snapshot.available;
    session.priority = snapshot.priority;
    if (snapshot.presence !== undefined) session.presence = new Shared(Buffer.from(snapshot.presence, 'base64'));
    if (snapshot.directed !== undefined) session.directed = new Set(snapshot.directed);
    session.sm = new StreamManagement(snapshot.id, snapshot.resumable);
    session.sm.handled = snapshot.handled;
    session.moving = new Promise((resolve) => (this.settle = resolve));
    this.session = session;
    this.left = snapshot.left;
    this.outstanding = snapshot.outstanding;
    this.queue = outbox();
    this.queue.continueFrom(snapshot.acknowledged, sm.request_every);
  }

  /** The next part of the queue. */
  add(entries: readonly Entry[]): void {
    if (this.session.ended) return;
    for (const entry of entries) {
      this.queue.restore(entry, this.outstanding > 0);
      if (this.outstanding > 0) this.outstanding--;
      if (entry.head !== undefined) this.known.add(keyOf(entry));
    }
  }

  /**
   * From here on it is a session like others that wait. `lossy`: notifications were dropped from it that were
   * perhaps held here; they are not put behind newer ones.
   */
  complete(lossy: boolean): void {
    const { session, queue } = this;
    const held = session.outbox;
    queue.onOverflow = held.onOverflow;
    session.outbox = queue;
    const entries = [...stanzas(held, held.first, held.next)];
    const known = entries.map((entry) => entry.head !== undefined && this.known.has(keyOf(entry)));
    const from = lossy ? known.lastIndexOf(true) : 0;
    for (const [index, { head, shared }] of entries.entries()) {
      if (known[index]) continue;
      if (head !== undefined && index < from) count(counters.drops, 'oldest');
      else queue.push(head, shared);
    }
    held.clear();
    session.context.spool?.adopt(session);
    session.mute = false;
    session.moving = undefined;
    session.wait(this.left);
    this.settle();
  }

  /** The session does not come. What is held for it and nobody else has. */
  forsake(): Entry[] {
    const { outbox } = this.session;
    const held = [...stanzas(outbox, outbox.first, outbox.next)].filter(({ head }) => head === undefined);
    this.session.vanish();
    this.over();
    return held;
  }

  /** Its old worker has died with the rest of it. */
  orphaned(): void {
    this.session.mute = false;
    this.session.end();
    this.over();
  }

  /** It has ended, here or there. */
  over(): void {
    this.queue.clear();
    this.session.moving = undefined;
    this.settle();
  }
}

/** Only notifications have an opening of their own (pubsub/fanout.ts). */
function keyOf({ shared }: Entry): string {
  return shared.bytes.toString('latin1', 0, KEY_BYTES);
}

/** The stanzas from one position of a queue to another. */
export function* stanzas(outbox: Outbox, from: number, to: number): Generator<Entry> {
  for (let position = from; position !== to; position++) {
    const entry = outbox.at(position);
    if (entry !== undefined) yield entry;
  }
}
