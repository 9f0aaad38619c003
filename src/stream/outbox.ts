import { counters, count } from '../metrics/counters.js';
import type { DropReason } from '../metrics/drops.js';
import { flusher } from './flusher.js';

/** What a full outbox does to notifications that nobody has to acknowledge reading. */
export type SlowReaderPolicy = 'drop_oldest' | 'keep_latest' | 'disconnect';

/**
 * Bytes that are serialised once and queued to any number of outboxes by reference.
 * `node` is set for pub-sub notifications: those, and only those, may be dropped for a slow reader.
 * A nonza (RFC 6120 §1.4; stream features, acknowledgements) is not a stanza: it is neither counted nor sent again (XEP-0198 §4).
 */
export class Shared {
  constructor(
    readonly bytes: Buffer,
    readonly node: string | undefined = undefined,
    readonly nonza = false,
  ) {}
}

/** Where an outbox writes to: one connection's transport. */
export interface Sink {
  /** False while an earlier write is under way; the sink calls `outbox.flush()` when it can take more. */
  readonly writable: boolean;
  /** Writes as many queued entries as it can, by `outbox.take…`. */
  drain(outbox: Outbox): void;
}

const REQUEST = Buffer.from("<r xmlns='urn:xmpp:sm:3'/>");

/** One queued stanza: `head`, if any, and `shared` are its bytes. */
export interface Entry {
  head: Buffer | undefined;
  shared: Shared;
}

type Slot = Buffer | Shared | undefined;

/**
 * A connection's outgoing queue, and with stream management (XEP-0198) its queue of unacknowledged stanzas: one ring with
 * three cursors, `acked ≤ written ≤ end`. An entry is a pair (own opening bytes or nothing, shared bytes). Entries are
 * written once per tick. Slots that were dropped, or held a nonza that is written, are holes that all cursors skip.
 */
export class Outbox {
  private ring: Slot[] = [];
  private capacity = 0;
  private acked = 0;
  private written = 0;
  private end = 0;
  /** Stanzas (not holes) in [acked, written). */
  private unacked = 0;
  /** Bytes held: unsent and unacknowledged. */
  bytes = 0;
  /** Bytes of the entries that are not written yet. */
  unsent = 0;
  /** Bytes of the unsent entries that may be dropped. */
  private droppable = 0;
  /** Entries that a slow reader lost so far. */
  dropped = 0;
  sink: Sink | undefined;
  /** Own opening bytes of the entry that {@link takeOne} gave last. */
  head: Buffer | undefined;
  dirty = false;
  /** Stanzas from this position on are kept until they are acknowledged. */
  private keepFrom = Infinity;
  /** Makes the `<a/>` that is owed to the peer (XEP-0198 §4); written after the entries of the tick. */
  private answer: (() => Buffer) | undefined;
  /** Stanzas written since the last `<r/>`. */
  private sinceRequest = 0;
  private requestEvery = 0;
  /** The peer's last `h` (XEP-0198 §4), modulo 2^32. */
  private lastH = 0;

  constructor(
    private readonly limit: number,
    private readonly policy: SlowReaderPolicy,
    /** The queue is over its limit and nothing may be dropped. */
    public onOverflow: () => void,
  ) {}

  /** Queues one entry for this tick's write. False when it was dropped. */
  push(head: Buffer | undefined, shared: Shared): boolean {
    const size = head === undefined ? shared.bytes.length : head.length + shared.bytes.length;
    if (this.bytes + size > this.limit && !this.makeRoom(size, shared)) return false;
    this.add(head, shared, size);
    return true;
  }

  private add(head: Buffer | undefined, shared: Shared, size: number): void {
    if (this.end - this.acked === this.capacity) this.grow();
    const at = (this.end++ & (this.capacity - 1)) << 1;
    this.ring[at] = head;
    this.ring[at + 1] = shared;
    this.bytes += size;
    this.unsent += size;
    if (shared.node !== undefined) this.droppable += size;
    counters.outboxBytes += size;
    if (!this.dirty) this.schedule();
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

  get empty(): boolean {
    return this.written === this.end;
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

  /** Positions of the first entry that is held and of the one that comes next, for {@link at}. */
  get first(): number {
    return this.acked;
  }
  get next(): number {
    return this.end;
  }

  /** The stanza at a position, with its own opening bytes; undefined where nothing is held that is to be sent (again). */
  at(position: number): Entry | undefined {
    const at = (position & (this.capacity - 1)) << 1;
    const shared = this.ring[at + 1] as Shared | undefined;
    return shared === undefined || shared.nonza ? undefined : { head: this.ring[at] as Buffer | undefined, shared };
  }

  /** Goes on where another worker's outbox was, whose stanzas follow by {@link restore}. */
  continueFrom(h: number, requestEvery: number): void {
    this.keepUntilAcknowledged(requestEvery);
    this.lastH = h;
  }

  /** Queues an entry that had its place within the limits already. `written`: it was sent before, and not acknowledged. */
  restore({ head, shared }: Entry, written: boolean): void {
    this.add(head, shared, sizeOf(head, shared));
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
  *drainStanzas(): Generator<Buffer> {
    const mask = this.capacity - 1;
    for (let i = this.acked; i !== this.end; i++) {
      const at = (i & mask) << 1;
      const shared = this.ring[at + 1] as Shared | undefined;
      if (shared?.node !== undefined) count(counters.drops, 'session_ended');
      else if (shared !== undefined && !shared.nonza) {
        const head = this.ring[at] as Buffer | undefined;
        yield head === undefined ? shared.bytes : Buffer.concat([head, shared.bytes]);
      }
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

  private release(at: number, shared: Shared): void {
    const size = sizeOf(this.ring[at] as Buffer | undefined, shared);
    this.bytes -= size;
    counters.outboxBytes -= size;
    this.ring[at] = undefined;
    this.ring[at + 1] = undefined;
  }

  private grow(): void {
    const bigger = this.capacity === 0 ? 4 : this.capacity * 2;
    const ring: Slot[] = new Array<Slot>(bigger * 2).fill(undefined);
    const oldMask = this.capacity - 1;
    for (let i = this.acked; i !== this.end; i++) {
      const from = (i & oldMask) << 1;
      const to = (i & (bigger - 1)) << 1;
      ring[to] = this.ring[from];
      ring[to + 1] = this.ring[from + 1];
    }
    this.ring = ring;
    this.capacity = bigger;
  }

  /**
   * The queue is full. Notifications make room by policy, never anything else; what is left decides.
   * The new entry is dropped when it is a notification itself; otherwise the connection is given up. The entry is then taken
   * all the same, or nobody would know of it: who hears of the overflow ends the queue before more is read.
   */
  private makeRoom(size: number, incoming: Shared): boolean {
    if (this.policy !== 'disconnect') {
      // Each pass over the queue has to free a good part of it, or a slow reader would cost everybody else time.
      if (this.droppable > this.limit / 4) {
        if (this.policy === 'keep_latest') this.dropSuperseded(incoming.node);
        if (this.bytes + size > (this.limit * 3) / 4) this.dropOldest(this.limit / 2);
      }
      if (this.bytes + size <= this.limit) return true;
    }
    // Where nobody is connected there is nobody to disconnect.
    if (incoming.node !== undefined && (this.policy !== 'disconnect' || this.sink === undefined)) {
      count(counters.drops, 'outbox_full');
      this.dropped++;
      return false;
    }
    count(counters.drops, 'outbox_overflow');
    this.onOverflow();
    return incoming.node === undefined;
  }

  /** Of each node only the newest unsent notification stays; of `incoming` none, since it is newer. */
  private dropSuperseded(incoming: string | undefined): void {
    const mask = this.capacity - 1;
    const seen = new Set<string>(incoming === undefined ? [] : [incoming]);
    for (let i = this.end - 1; i >= this.written; i--) {
      const at = (i & mask) << 1;
      const shared = this.ring[at + 1] as Shared | undefined;
      if (shared?.node === undefined) continue;
      if (seen.has(shared.node)) this.drop(at, shared, 'superseded');
      else seen.add(shared.node);
    }
  }

  private dropOldest(goal: number): void {
    const mask = this.capacity - 1;
    for (let i = this.written; i !== this.end && this.bytes > goal; i++) {
      const at = (i & mask) << 1;
      const shared = this.ring[at + 1] as Shared | undefined;
      if (shared?.node !== undefined) this.drop(at, shared, 'oldest');
    }
  }

  private drop(at: number, shared: Shared, reason: DropReason): void {
    const size = sizeOf(this.ring[at] as Buffer | undefined, shared);
    this.unsent -= size;
    this.droppable -= size;
    this.release(at, shared);
    this.dropped++;
    count(counters.drops, reason);
  }
}

/** All bytes of a stanza. */
export function whole({ head, shared }: Entry): Buffer {
  return head === undefined ? shared.bytes : Buffer.concat([head, shared.bytes]);
}

function sizeOf(head: Buffer | undefined, shared: Shared): number {
  return head === undefined ? shared.bytes.length : head.length + shared.bytes.length;
}
