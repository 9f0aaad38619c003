import type { Environment } from './environment.js';
import type { Head } from './head.js';
import { timeOf } from './item.js';
import { NUMBER, idKey, itemKey } from './keys.js';

/** The items of a node that are there for a reader: above the floor, and not expired. */
export class Window {
  /** Sequence numbers of the items are in `[start, end)`. */
  readonly start: number;
  readonly end: number;
  readonly count: number;
  /** Sequence number of the oldest item in the last {@link slice}. */
  firstSeq = 0;

  constructor(
    private readonly environment: Environment,
    private readonly head: Head,
    notBefore?: number,
  ) {
    this.end = head.next;
    this.start = head.floor;
    this.count = head.count;
    if (notBefore === undefined || head.count === 0) return;
    const start = this.firstAt(notBefore);
    this.count -= this.rank(start);
    this.start = start;
  }

  /** Sequence number of the item with that id, 0 when there is none. */
  find(id: string): number {
    const { head } = this;
    const bytes = Buffer.from(id);
    let seq = 0;
    if (head.indexed) {
      const value = this.environment.tables.ids.getBinaryFast(idKey(head.items, bytes));
      if (value !== undefined) seq = value.readUIntBE(0, NUMBER);
    } else {
      const entry = head.find(bytes, 0, bytes.length);
      if (entry >= 0) seq = head.seqAt(entry);
    }
    return seq >= this.start ? seq : 0;
  }

  get(seq: number): Buffer | undefined {
    if (seq === 0) return undefined;
    const value = this.environment.tables.items.getBinary(itemKey(this.head.items, seq));
    return value && Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }

  /** At most `limit` items of `[start, end)`: the first, or from the last one backwards. */
  slice(start: number, end: number, limit: number, backwards: boolean): Buffer[] {
    const values: Buffer[] = [];
    if (start >= end || limit <= 0) return values;
    const { items } = this.head;
    const low = itemKey(items, start);
    const high = itemKey(items, end - 1);
    const range = backwards
      ? { start: high, end: low, reverse: true, inclusiveEnd: true, limit }
      : { start: low, end: high, inclusiveEnd: true, limit };
    for (const { key, value } of this.environment.tables.items.getRange(range)) {
      if (backwards || values.length === 0) this.firstSeq = Buffer.from(key).readUIntBE(NUMBER, NUMBER);
      values.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    }
    return values;
  }

  /** How many items come before that sequence number. */
  rank(seq: number): number {
    const { start, end, count } = this;
    if (end - start === count) return seq - start;
    return seq - start < end - seq ? this.between(start, seq) : count - this.between(seq, end);
  }

  private between(start: number, end: number): number {
    if (start >= end) return 0;
    const { items } = this.head;
    return this.environment.tables.items.getKeysCount({ start: itemKey(items, start), end: itemKey(items, end) });
  }

  /** The lowest sequence number from which on no item is older; times never fall from item to item. */
  private firstAt(notBefore: number): number {
    let low = this.start;
    let high = this.end;
    let middle = low;
    while (low < high) {
      const found = this.from(middle, high);
      if (found === undefined || found.time >= notBefore) high = middle;
      else low = found.seq + 1;
      middle = low + Math.floor((high - low) / 2);
    }
    return low;
  }

  /** The first item in `[seq, end)`. */
  private from(seq: number, end: number): { seq: number; time: number } | undefined {
    const { items } = this.environment.tables;
    const key = itemKey(this.head.items, seq);
    const value = items.getBinaryFast(key);
    if (value !== undefined) return { seq, time: timeOf(value) };
    for (const found of items.getRange({ start: key, end: itemKey(this.head.items, end), limit: 1 }))
      return { seq: Buffer.from(found.key).readUIntBE(NUMBER, NUMBER), time: timeOf(found.value) };
    return undefined;
  }
}
