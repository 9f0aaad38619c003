import type { Environment } from './environment.js';
import type { Head } from './head.js';
import { timeOf } from './item.js';
import { NUMBER, idKey, itemKey, numberOf } from './keys.js';

/**
 * The items of a node that are there for a reader. Their places rise from the oldest to the newest: those of an indexed
 * node are the numbers in the keys, which may have holes; else places in the head's list.
 */
export class Window {
  /** Items are at places in `[start, end)`. */
  readonly start: number = 0;
  readonly end: number;
  readonly count: number;
  /** Place of the oldest item in the last {@link slice}. */
  first = 0;
  private readonly listed: number[] | undefined;

  constructor(
    private readonly environment: Environment,
    private readonly head: Head,
    notBefore?: number,
  ) {
    this.count = head.count;
    if (head.indexed) {
      this.start = head.floor;
      this.end = head.next;
    } else {
      this.listed = head.numbers();
      this.end = this.listed.length;
    }
    if (notBefore === undefined || head.count === 0) return;
    const start = this.firstAt(notBefore);
    this.count -= this.rank(start);
    this.start = start;
  }

  /** Place of the item with that id, -1 when there is none. */
  find(id: string): number {
    const { head, listed } = this;
    const bytes = Buffer.from(id);
    let place = -1;
    if (listed !== undefined) {
      const entry = head.find(bytes, 0, bytes.length);
      if (entry >= 0) place = listed.indexOf(head.numberAt(entry));
    } else {
      const value = this.environment.tables.ids.getBinaryFast(idKey(head.items, bytes));
      if (value !== undefined) place = value.readUIntBE(0, NUMBER);
    }
    return place >= this.start ? place : -1;
  }

  /** At most `limit` items of the places `[start, end)`: the first, or from the last one backwards. */
  slice(start: number, end: number, limit: number, backwards: boolean): Buffer[] {
    if (start >= end || limit <= 0) return [];
    return this.listed === undefined
      ? this.range(start, end, limit, backwards)
      : this.list(this.listed, start, end, limit, backwards);
  }

  private list(listed: readonly number[], start: number, end: number, limit: number, backwards: boolean): Buffer[] {
    const { items } = this.head;
    this.first = backwards ? Math.max(start, end - limit) : start;
    const numbers = backwards
      ? listed.slice(this.first, end).reverse()
      : listed.slice(start, Math.min(end, start + limit));
    const values = numbers.map((number) => this.environment.tables.items.getBinary(itemKey(items, number)));
    return values.filter((value) => value !== undefined).map(asBuffer);
  }

  private range(start: number, end: number, limit: number, backwards: boolean): Buffer[] {
    const { items } = this.head;
    const low = itemKey(items, start);
    const high = itemKey(items, end - 1);
    const bounds = backwards ? { start: high, end: low, reverse: true } : { start: low, end: high };
    const values: Buffer[] = [];
    for (const { key, value } of this.environment.tables.items.getRange({ ...bounds, inclusiveEnd: true, limit })) {
      if (backwards || values.length === 0) this.first = numberOf(key);
      values.push(asBuffer(value));
    }
    return values;
  }

  /** How many items are at lower places. */
  rank(place: number): number {
    const { start, end, count } = this;
    if (end - start === count) return place - start;
    return place - start < end - place ? this.between(start, place) : count - this.between(place, end);
  }

  private between(start: number, end: number): number {
    if (start >= end) return 0;
    const { items } = this.head;
    return this.environment.tables.items.getKeysCount({ start: itemKey(items, start), end: itemKey(items, end) });
  }

  /** The lowest place from which on no item is older; times never fall from item to item. */
  private firstAt(notBefore: number): number {
    let low = this.start;
    let high = this.end;
    let middle = low;
    while (low < high) {
      const found = this.timeAt(middle, high);
      if (found === undefined || found.time >= notBefore) high = middle;
      else low = found.place + 1;
      middle = low + Math.floor((high - low) / 2);
    }
    return low;
  }

  /** The first item at `[place, end)`. */
  private timeAt(place: number, end: number): { place: number; time: number } | undefined {
    const { items } = this.environment.tables;
    const incarnation = this.head.items;
    const key = itemKey(incarnation, this.listed?.[place] ?? place);
    const value = items.getBinaryFast(key);
    if (value !== undefined) return { place, time: timeOf(value) };
    for (const found of items.getRange({ start: key, end: itemKey(incarnation, end), limit: 1 }))
      return { place: numberOf(found.key), time: timeOf(found.value) };
    return undefined;
  }
}

function asBuffer(value: Uint8Array): Buffer {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}
