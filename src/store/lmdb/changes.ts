import type { Arena } from './arena.js';
import type { Environment } from './environment.js';
import { garbageKey, garbageLimit } from './garbage.js';
import type { Head } from './head.js';
import { ID, idOf, setTime } from './item.js';
import { LAST, NUMBER, idKey, itemKey, number } from './keys.js';

/** Items over the limit that a publish removes by itself. */
const TRIMMED_AT_ONCE = 16;
/** No item has this sequence number. */
const NONE = 0;

/** What a publish does to a node's items: planned on the head, then written in one go. */
export class Changes {
  private first = 0;
  private readonly added: (Buffer | undefined)[] = [];
  private readonly removed: number[] = [];
  /** Ids (latin1) that changed, to their sequence number. */
  private readonly ids = new Map<string, number>();
  private readonly key = Buffer.alloc(2 * NUMBER);

  constructor(
    private readonly environment: Environment,
    readonly head: Head,
  ) {}

  /** Begins anew with the head as it is. */
  begin(): void {
    this.first = this.head.next;
    this.added.length = 0;
    this.removed.length = 0;
    if (this.ids.size > 0) this.ids.clear();
  }

  /** So many items are over the limit that they must be cut off by {@link cut} first. */
  mustCut(maxItems: number): boolean {
    return this.head.indexed && this.head.count - maxItems > TRIMMED_AT_ONCE;
  }

  /** The item becomes the newest, in place of one with the same id. */
  publish(value: Buffer, published: number, maxItems: number): void {
    const { head } = this;
    const end = ID + value.readUInt16BE(16);
    head.time = published > head.time ? published : head.time;
    setTime(value, head.time);
    this.dropId(value, end);
    while (head.count >= maxItems && head.count > 0) this.dropOldest();
    if (maxItems <= 0) return;
    if (!head.indexed && !head.append(value, ID, end)) head.moveEntries((id, seq) => this.setId(id, seq));
    else if (!head.indexed) {
      this.added.push(value);
      return;
    }
    this.setId(value.subarray(ID, end), head.next++);
    head.count++;
    this.added.push(value);
  }

  /** Removes the item; false when there is none. */
  retract(id: Buffer): boolean {
    return this.dropId(id, id.length, 0);
  }

  private dropId(source: Buffer, end: number, start = ID): boolean {
    const { head } = this;
    if (!head.indexed) {
      const entry = head.find(source, start, end);
      if (entry < 0) return false;
      this.drop(head.remove(entry));
      return true;
    }
    const id = source.subarray(start, end);
    const seq = this.seqOf(id);
    if (seq === NONE) return false;
    this.ids.set(id.toString('latin1'), NONE);
    this.drop(seq);
    head.count--;
    return true;
  }

  /** Removes the oldest item; there is one. */
  dropOldest(): void {
    const { head } = this;
    if (!head.indexed) {
      this.drop(head.shift());
      return;
    }
    const seq = this.oldest();
    head.floor = seq + 1;
    head.count--;
  }

  /** Finds the oldest item of an indexed node and removes it; returns its sequence number. */
  private oldest(): number {
    const { head } = this;
    const { items } = this.environment.tables;
    if (head.floor < this.first) {
      // Mostly the floor itself.
      const value = items.getBinaryFast(itemKey(head.items, head.floor, this.key));
      if (value !== undefined && !this.removed.includes(head.floor)) {
        this.forget(value);
        this.drop(head.floor);
        return head.floor;
      }
      const range = { start: itemKey(head.items, head.floor), end: itemKey(head.items, this.first) };
      for (const { key, value } of items.getRange(range)) {
        const seq = key.readUIntBE(NUMBER, NUMBER);
        if (this.removed.includes(seq)) continue;
        this.forget(value);
        this.drop(seq);
        return seq;
      }
    }
    let seq = Math.max(head.floor, this.first);
    while (this.added[seq - this.first] === undefined) seq++;
    this.forget(this.added[seq - this.first] as Buffer);
    this.drop(seq);
    return seq;
  }

  private forget(value: Buffer): void {
    this.ids.set(idOf(value).toString('latin1'), NONE);
  }

  private drop(seq: number): void {
    if (seq >= this.first) this.added[seq - this.first] = undefined;
    else this.removed.push(seq);
  }

  private setId(id: Buffer, seq: number): void {
    this.ids.set(id.toString('latin1'), seq);
  }

  private seqOf(id: Buffer): number {
    const changed = this.ids.get(id.toString('latin1'));
    if (changed !== undefined) return changed;
    const { head } = this;
    const value = this.environment.tables.ids.getBinaryFast(idKey(head.items, id));
    const seq = value === undefined ? NONE : value.readUIntBE(0, NUMBER);
    return seq >= head.floor ? seq : NONE;
  }

  /** Issues all writes, under the head's next version. Values must stay where they are until the commit. */
  write(name: Buffer, arena: Arena): void {
    const { head, key } = this;
    const { heads, items, ids } = this.environment.tables;
    const { added, removed } = this;
    const stored = head.store();
    void heads.put(name, arena.copy(stored, stored.length), head.version);
    for (let i = 0; i < added.length; i++) {
      const value = added[i];
      if (value !== undefined) void items.put(itemKey(head.items, this.first + i, key), value);
    }
    for (const seq of removed) void items.remove(itemKey(head.items, seq, key));
    for (const [text, seq] of this.ids) {
      const id = idKey(head.items, Buffer.from(text, 'latin1'));
      if (seq === NONE) void ids.remove(id);
      else void ids.put(id, arena.copy(number(seq), NUMBER));
    }
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
      for (const key of newest) this.raiseFloor(key.readUIntBE(NUMBER, NUMBER), maxItems);
    }
  }

  /** All items below `floor` are gone, which leaves `count`; inside a write transaction. */
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
