import { counters } from '../metrics/counters.js';
import { type Entry, Shared, sizeOf } from './entry.js';

type Slot = Buffer | Shared | undefined;

/**
 * Where an outbox keeps its entries, each a pair (own opening bytes or nothing, shared bytes): a ring with three cursors,
 * `acked ≤ written ≤ end`. Slots that were dropped, or held a nonza that is written, are holes that all cursors skip.
 */
export class Ring {
  protected ring: Slot[] = [];
  protected capacity = 0;
  protected acked = 0;
  protected written = 0;
  protected end = 0;
  /** Bytes held: unsent and unacknowledged. */
  bytes = 0;
  /** Bytes of the entries that are not written yet. */
  unsent = 0;
  /** Bytes of the unsent entries that may be dropped. */
  protected droppable = 0;

  get empty(): boolean {
    return this.written === this.end;
  }

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

  protected add(head: Buffer | undefined, shared: Shared, size: number): void {
    if (this.end - this.acked === this.capacity) this.grow();
    const at = (this.end++ & (this.capacity - 1)) << 1;
    this.ring[at] = head;
    this.ring[at + 1] = shared;
    this.bytes += size;
    this.unsent += size;
    if (shared.node !== undefined) this.droppable += size;
    counters.outboxBytes += size;
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

  /** Makes a hole. */
  protected release(at: number, shared: Shared): void {
    const size = sizeOf(this.ring[at] as Buffer | undefined, shared);
    this.bytes -= size;
    counters.outboxBytes -= size;
    this.ring[at] = undefined;
    this.ring[at + 1] = undefined;
  }
}
