import { count, counters } from '../metrics/counters.js';
import type { DropReason } from '../metrics/drops.js';
import type { Shared } from './entry.js';
import { Ring } from './ring.js';

/** What a full outbox does to notifications that nobody has to acknowledge reading. */
export type SlowReaderPolicy = 'drop_oldest' | 'keep_latest' | 'disconnect';

/** A ring of bounded size: what happens when its client reads too slowly. */
export abstract class BoundedRing extends Ring {
  /** Entries that a slow reader lost so far. */
  dropped = 0;
  /** It is to be written at the end of this tick. */
  dirty = false;

  constructor(
    private readonly limit: number,
    private readonly policy: SlowReaderPolicy,
    /** The queue is over its limit and nothing may be dropped. */
    public onOverflow: () => void,
  ) {
    super();
  }

  /** Somebody is connected. */
  protected abstract get attached(): boolean;
  /** Sees to it that what is queued is written. */
  protected abstract schedule(): void;

  /** Queues one entry for this tick's write. False when it was dropped. */
  push(head: Buffer | undefined, shared: Shared): boolean {
    const size = head === undefined ? shared.bytes.length : head.length + shared.bytes.length;
    if (this.bytes + size > this.limit && !this.makeRoom(size, shared)) return false;
    this.add(head, shared, size);
    if (!this.dirty) this.schedule();
    return true;
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
    if (incoming.node !== undefined && (this.policy !== 'disconnect' || !this.attached)) {
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
    const before = this.bytes;
    this.release(at, shared);
    const size = before - this.bytes;
    this.unsent -= size;
    this.droppable -= size;
    this.dropped++;
    count(counters.drops, reason);
  }
}
