import type { Arena } from './arena.js';
import type { Environment } from './environment.js';
import { garbageKey, garbageLimit } from './garbage.js';
import { HEAD_BYTES, type Head } from './head.js';
import { ID, idEnd, idOf, publishedOf, setTime } from './item.js';
import { LAST, NUMBER, idKey, itemKey, number as numberKey, numberOf } from './keys.js';
import { StoreError } from '../store.js';

/** Items over the limit that a publish removes by itself. */
const TRIMMED_AT_ONCE = 16;
/** No item has this number. */
const NONE = 0;

/** What publishes and retractions do to a node's items: planned on the head, then written in one go. */
export class Changes {
  /** The number from which on items are new, and not in the table yet, when indexed. */
  private first = 0;
  /** Items by number. */
  private readonly added = new Map<number, Buffer>();
  /** Numbers of items that go; those of a node that is not indexed are taken by the next items. */
  private readonly removed: number[] = [];
  /** Ids (latin1) that changed, to their number. */
  private readonly ids = new Map<string, number>();
  private readonly key = Buffer.alloc(2 * NUMBER);

  constructor(
    private readonly environment: Environment,
    readonly head: Head,
  ) {}

  /** Begins anew with the head as it is. */
  begin(): void {
    this.first = this.head.next;
    if (this.added.size > 0) this.added.clear();
    if (this.removed.length > 0) this.removed.length = 0;
    if (this.ids.size > 0) this.ids.clear();
  }

  /** So many items are over the limit that they must be cut off by {@link cut} first. */
  mustCut(maxItems: number): boolean {
    return this.head.indexed && this.head.count - maxItems > TRIMMED_AT_ONCE;
  }

  /**
   * The item becomes the newest, in place of one with the same id, and the oldest over the limit go. False when the node must
   * become indexed first: see {@link publishAnyway}.
   */
  publish(value: Buffer, maxItems: number): boolean {
    const { head } = this;
    const end = idEnd(value);
    const published = publishedOf(value);
    head.time = published > head.time ? published : head.time;
    setTime(value, head.time);
    this.drop(value, ID, end);
    while (head.count >= maxItems && head.count > 0) this.dropOldest();
    if (maxItems <= 0) return true;
    if (head.indexed) {
      this.setId(value.subarray(ID, end), head.next);
      this.added.set(head.next++, value);
      head.count++;
    } else if (head.fits(end - ID)) {
      const number = this.removed.pop() ?? head.next++;
      head.append(number, value, ID, end);
      this.added.set(number, value);
    } else return false;
    return true;
  }

  /** The same, whatever it takes; inside a write transaction. */
  publishAnyway(name: string, value: Buffer, maxItems: number, arena: Arena): void {
    if (this.publish(value, maxItems)) return;
    this.between(name, arena, () => this.index());
    this.publish(value, maxItems);
  }

  /** Writes what is planned, and does what needs nothing planned; inside a write transaction. */
  between(name: string, arena: Arena, work: () => void): void {
    this.write(name, arena);
    work();
    this.begin();
  }

  /** Removes the item; false when there is none. */
  retract(id: Buffer): boolean {
    return this.drop(id, 0, id.length);
  }

  private drop(source: Buffer, from: number, to: number): boolean {
    const { head } = this;
    if (!head.indexed) {
      const entry = head.find(source, from, to);
      if (entry < 0) return false;
      this.vacate(head.remove(entry));
      return true;
    }
    const id = source.subarray(from, to);
    const number = this.numberOf(id);
    if (number === NONE) return false;
    this.setId(id, NONE);
    this.vacate(number);
    head.count--;
    return true;
  }

  /** Removes the oldest item; there is one. */
  dropOldest(): void {
    const { head } = this;
    if (!head.indexed) {
      this.vacate(head.shift());
      return;
    }
    const { number, value } = this.oldest();
    this.setId(idOf(value), NONE);
    this.vacate(number);
    head.floor = number + 1;
    head.count--;
  }

  /** The oldest item of an indexed node. */
  private oldest(): { number: number; value: Buffer } {
    const { items, floor } = this.head;
    const table = this.environment.tables.items;
    if (floor < this.first) {
      // Mostly it stands right at the floor.
      const value = table.getBinaryFast(itemKey(items, floor, this.key));
      if (value !== undefined && !this.removed.includes(floor)) return { number: floor, value };
      for (const found of table.getRange({ start: itemKey(items, floor), end: itemKey(items, this.first) })) {
        const number = numberOf(found.key);
        if (!this.removed.includes(number)) return { number, value: found.value };
      }
    }
    for (const [number, value] of this.added) return { number, value };
    throw new StoreError('corrupt', 'The head of a node counts more items than there are.');
  }

  /** The item's number is free. */
  private vacate(number: number): void {
    if (!this.added.delete(number) || !this.head.indexed) this.removed.push(number);
  }

  private setId(id: Buffer, number: number): void {
    this.ids.set(id.toString('latin1'), number);
  }

  private numberOf(id: Buffer): number {
    const changed = this.ids.get(id.toString('latin1'));
    if (changed !== undefined) return changed;
    const { head } = this;
    const value = this.environment.tables.ids.getBinaryFast(idKey(head.items, id));
    const number = value === undefined ? NONE : value.readUIntBE(0, NUMBER);
    return number >= head.floor ? number : NONE;
  }

  /** Issues all writes, under the head's next version. Values must stay where they are until the commit. */
  write(name: string, arena: Arena): void {
    const { head, key } = this;
    const { heads, items, ids } = this.environment.tables;
    const { added, removed } = this;
    const memory = arena.room(HEAD_BYTES);
    const stored = arena.take(memory, head.store(memory, arena.offset));
    void heads.put(name, stored, head.version);
    for (const [number, value] of added) void items.put(itemKey(head.items, number, key), value);
    for (const number of removed) void items.remove(itemKey(head.items, number, key));
    for (const [text, number] of this.ids) {
      const id = idKey(head.items, Buffer.from(text, 'latin1'));
      if (number === NONE) void ids.remove(id);
      else void ids.put(id, arena.copy(numberKey(number)));
    }
  }

  /** The node becomes indexed; inside a write transaction, with nothing else planned. */
  private index(): void {
    const { head } = this;
    const { items, ids } = this.environment.tables;
    head.index((id, from, to) => {
      const value = items.getBinary(itemKey(head.items, from));
      if (value === undefined) throw new StoreError('corrupt', 'An item that is listed is not there.');
      void items.remove(itemKey(head.items, from));
      void items.put(itemKey(head.items, to), value);
      void ids.put(idKey(head.items, id), numberKey(to));
    });
  }

  /**
   * Leaves the newest `maxItems` items, of very many; inside a write transaction, with nothing else planned. The others are
   * gone at once and wiped later.
   */
  cut(maxItems: number): void {
    const { head } = this;
    if (maxItems <= 0) this.raiseFloor(head.next, 0);
    else if (head.dense) this.raiseFloor(head.next - maxItems, maxItems);
    else {
      const newest = this.environment.tables.items.getKeys({
        start: itemKey(head.items, head.next),
        end: itemKey(head.items, head.floor - 1),
        reverse: true,
        offset: maxItems - 1,
        limit: 1,
      });
      for (const key of newest) this.raiseFloor(numberOf(key), maxItems);
    }
  }

  /** All items below `floor` are gone, which leaves `count`; indexed, inside a write transaction. */
  raiseFloor(floor: number, count: number): void {
    const { head } = this;
    head.floor = floor;
    head.count = count;
    void this.environment.tables.garbage.put(garbageKey('items', head.items), garbageLimit(floor));
  }

  /** All items are gone; inside a write transaction. */
  purge(): void {
    const { head } = this;
    if (head.count > 0) void this.environment.tables.garbage.put(garbageKey('items', head.items), garbageLimit(LAST));
    head.clear(this.environment.incarnation());
  }
}
