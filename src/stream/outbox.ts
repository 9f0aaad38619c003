import { count, counters } from '../metrics/counters.js';
import { type Entry, type Shared, sizeOf, whole } from './entry.js';
import { flusher } from './flusher.js';
import { BoundedRing } from './slow-reader.js';

export { Shared, isMessage, whole, type Copies, type Entry } from './entry.js';
export type { SlowReaderPolicy } from './slow-reader.js';

/** Where an outbox writes to: one connection's transport. */
export interface Sink {
  /** False while an earlier write is under way; the sink calls `outbox.flush()` when it can take more. */
  readonly writable: boolean;
  /** Writes as many queued entries as it can, by `outbox.take…`. */
  drain(outbox: Outbox): void;
}

const REQUEST = Buffer.from("<r xmlns='urn:xmpp:sm:3'/>");

/**
 * A connection's outgoing queue, written once per tick, and with stream management (XEP-0198) its queue of unacknowledged
 * stanzas: written entries that stay.
 */
export class Outbox extends BoundedRing {
  /** Stanzas (not holes) in [acked, written). */
  private unacked = 0;
  sink: Sink | undefined;
  /** Own opening bytes of the entry that {@link takeOne} gave last. */
  head: Buffer | undefined;
  /** Stanzas from this position on are kept until they are acknowledged. */
  private keepFrom = Infinity;
  /** Makes the `<a/>` that is owed to the peer (XEP-0198 §4); written after the entries of the tick. */
  private answer: (() => Buffer) | undefined;
  /** Stanzas written since the last `<r/>`. */
  private sinceRequest = 0;
  private requestEvery = 0;
  /** The peer's last `h` (XEP-0198 §4), modulo 2^32. */
  private lastH = 0;

  protected get attached(): boolean {
    return this.sink !== undefined;
  }

  /** Writes at the end of this tick. */
  schedule(): void {
    if (this.dirty || this.sink === undefined) return;
    this.dirty = true;
    flusher.add(this);
  }

  /** Writes what is queued, if the sink can take it now. */
  flush(): void {
    this.dirty = false;
    const sink = this.sink;
    if (sink !== undefined && sink.writable && (!this.empty || this.nonzaDue)) sink.drain(this);
  }

  private get nonzaDue(): boolean {
    return this.answer !== undefined || (this.requestEvery > 0 && this.sinceRequest >= this.requestEvery);
  }

  /** Stanzas sent and not acknowledged. */
  get outstanding(): number {
    return this.unacked;
  }

  /**
   * Copies whole queued entries into the first `room` bytes of `target` until one does not fit; the entries count as
   * written. Returns how many bytes. An entry larger than `room` is left for {@link takeOne}.
   */
  takeInto(target: Buffer, room: number): number {
    let offset = 0;
    const ring = this.ring;
    const mask = this.capacity - 1;
    while (this.written !== this.end) {
      const at = (this.written & mask) << 1;
      const shared = ring[at + 1] as Shared | undefined;
      if (shared !== undefined) {
        const head = ring[at] as Buffer | undefined;
        const body = shared.bytes;
        const size = head === undefined ? body.length : head.length + body.length;
        if (offset + size > room) break;
        if (head !== undefined) {
          target.set(head, offset);
          offset += head.length;
        }
        target.set(body, offset);
        offset += body.length;
        this.passed(at, shared, size);
      }
      this.written++;
    }
    if (this.unacked === 0) this.acked = this.written;
    return offset;
  }

  /** The next entry for sinks that frame each stanza; it counts as written, and {@link head} is its opening. Undefined at the end. */
  takeOne(): Shared | undefined {
    const mask = this.capacity - 1;
    while (this.written !== this.end) {
      const at = (this.written & mask) << 1;
      const shared = this.ring[at + 1] as Shared | undefined;
      if (shared === undefined) {
        this.written++;
        continue;
      }
      const head = this.ring[at] as Buffer | undefined;
      this.passed(at, shared, head === undefined ? shared.bytes.length : head.length + shared.bytes.length);
      this.written++;
      if (this.unacked === 0) this.acked = this.written;
      this.head = head;
      return shared;
    }
    if (this.unacked === 0) this.acked = this.written;
    return undefined;
  }

  /** The acknowledgement owed and the request due, each once; sinks write them behind what they took. */
  takeNonza(): Buffer | undefined {
    if (this.answer !== undefined) {
      const make = this.answer;
      this.answer = undefined;
      return make();
    }
    if (this.requestEvery === 0 || this.sinceRequest < this.requestEvery) return undefined;
    this.sinceRequest = 0;
    return REQUEST;
  }

  /** Owes the peer one `<a/>`, made when it is written, however often it asked in this tick. */
  owe(answer: () => Buffer): void {
    this.answer = answer;
    this.schedule();
  }

  /** Asks for an acknowledgement with the next write, whatever was counted: also a sign of life that no stanza is spent on. */
  request(): void {
    if (this.requestEvery === 0) return;
    this.sinceRequest = this.requestEvery;
    this.schedule();
  }

  /** Stanzas that are queued from here on are kept until they are acknowledged; `<r/>` goes out after every `requestEvery`. */
  keepUntilAcknowledged(requestEvery: number): void {
    this.keepFrom = this.end;
    this.requestEvery = requestEvery;
    this.sinceRequest = 0;
    this.lastH = 0;
  }

  // --- to another worker ---------------------------------------------------------------------------------------------

  /** Goes on where another worker's outbox was, whose stanzas follow by {@link restore}. */
  continueFrom(h: number, requestEvery: number): void {
    this.keepUntilAcknowledged(requestEvery);
    this.lastH = h;
  }

  /** Queues an entry that had its place within the limits already. `written`: it was sent before, and not acknowledged. */
  restore({ head, shared }: Entry, written: boolean): void {
    this.add(head, shared, sizeOf(head, shared));
    this.schedule();
    if (written) this.takeOne();
  }

  // --- acknowledgements ------------------------------------------------------------------------------------------------

  /** The peer's last `h`. */
  get acknowledged(): number {
    return this.lastH;
  }

  /** Whether so much was sent. */
  covers(h: number): boolean {
    return (h - this.lastH) >>> 0 <= this.unacked;
  }

  /** Applies the peer's `h` (XEP-0198 §4, counters wrap at 2^32). False when it acknowledges more than was sent. */
  acknowledge(h: number): boolean {
    const ring = this.ring;
    const mask = this.capacity - 1;
    let more = (h - this.lastH) >>> 0;
    if (more > this.unacked) return false;
    this.lastH = h;
    this.unacked -= more;
    while (this.acked !== this.written) {
      const at = (this.acked & mask) << 1;
      const shared = ring[at + 1] as Shared | undefined;
      if (shared !== undefined) {
        if (more === 0) break;
        more--;
        this.release(at, shared);
      }
      this.acked++;
    }
    return true;
  }

  /** Stanzas sent since acknowledgements were switched on, modulo 2^32. */
  get sentCount(): number {
    return (this.lastH + this.unacked) >>> 0;
  }

  /** What was written and not acknowledged goes out again, first (XEP-0198 §5). */
  rewind(): void {
    const mask = this.capacity - 1;
    for (let i = this.acked; i !== this.written; i++) {
      const at = (i & mask) << 1;
      const shared = this.ring[at + 1] as Shared | undefined;
      if (shared === undefined) continue;
      const size = sizeOf(this.ring[at] as Buffer | undefined, shared);
      this.unsent += size;
      if (shared.node !== undefined) this.droppable += size;
    }
    this.written = this.acked;
    this.unacked = 0;
    this.sinceRequest = 0;
    this.schedule();
  }

  /** Empties the queue and hands out every stanza in it, unacknowledged ones first; notifications are out of date by now. */
  *drainStanzas(): Generator<Shared> {
    const mask = this.capacity - 1;
    for (let i = this.acked; i !== this.end; i++) {
      const at = (i & mask) << 1;
      const shared = this.ring[at + 1] as Shared | undefined;
      if (shared?.node !== undefined) count(counters.drops, 'session_ended');
      else if (shared !== undefined && !shared.nonza)
        yield whole({ head: this.ring[at] as Buffer | undefined, shared });
    }
    this.clear();
  }

  /** Lets go of everything. */
  clear(): void {
    counters.outboxBytes -= this.bytes;
    this.ring = [];
    this.capacity = this.acked = this.written = this.end = this.unacked = this.bytes = this.unsent = this.droppable = 0;
  }

  /** Bookkeeping for an entry that has just been written. */
  private passed(at: number, shared: Shared, size: number): void {
    this.unsent -= size;
    if (shared.node !== undefined) this.droppable -= size;
    if (this.written >= this.keepFrom && !shared.nonza) {
      this.unacked++;
      this.sinceRequest++;
      return;
    }
    this.bytes -= size;
    counters.outboxBytes -= size;
    this.ring[at] = undefined;
    this.ring[at + 1] = undefined;
  }
}
