/**
 * The head of a node's items: one small record that says all that a publish must know. It is written with every change
 * of the items, under a version that is compared and set, so that two processes never work on the same state.
 *
 *     0  f64  version, as it also stands in LMDB's version field
 *     8  u48  the node's incarnation: another one after deletion and creation under the same name
 *    14  u48  the items' incarnation: another one after a purge, too
 *    20  u48  next sequence number
 *    26  u48  floor: items below are gone, whether they were wiped already or not
 *    32  u48  how many items there are
 *    38  f64  time of the newest item, see item.ts
 *    46  u8   1 when the ids are in a table of their own
 *    47       else: the items in order, each u48 sequence number, u16 length of the id, id
 */
const INCARNATION = 8;
const ITEMS = 14;
const NEXT = 20;
const FLOOR = 26;
const COUNT = 32;
const TIME = 38;
const INDEXED = 46;
const ENTRIES = 47;

const U48 = 6;
const ENTRY_ID = U48 + 2;

/** The head of a node fits LMDB's page beside others; nodes with more items have their ids in a table. */
const HEAD_BYTES = 1400;
const VERSIONS = 2 ** 50;

export class Head {
  version = 0;
  incarnation = 0;
  items = 0;
  next = 1;
  floor = 1;
  count = 0;
  time = 0;
  indexed = false;
  /** Entries lie in `[ENTRIES, length)`. */
  private readonly bytes = Buffer.allocUnsafeSlow(HEAD_BYTES);
  private length = ENTRIES;

  /** A new node's. Versions begin anywhere, so that a head is never taken for that of an earlier node of the same name. */
  reset(incarnation: number, items: number): this {
    this.version = Math.floor(Math.random() * VERSIONS);
    this.incarnation = incarnation;
    return this.clear(items);
  }

  /** Without items, under a new incarnation of them. */
  clear(items: number): this {
    this.items = items;
    this.next = 1;
    this.floor = 1;
    this.count = 0;
    this.time = 0;
    this.indexed = false;
    this.length = ENTRIES;
    return this;
  }

  /** Reads the first `length` bytes of `source`, which may be LMDB's buffer for the last value. */
  load(source: Uint8Array, length: number): this {
    const { bytes } = this;
    for (let i = 0; i < length; i++) bytes[i] = source[i] as number;
    this.length = length;
    this.version = bytes.readDoubleBE(0);
    this.incarnation = bytes.readUIntBE(INCARNATION, U48);
    this.items = bytes.readUIntBE(ITEMS, U48);
    this.next = bytes.readUIntBE(NEXT, U48);
    this.floor = bytes.readUIntBE(FLOOR, U48);
    this.count = bytes.readUIntBE(COUNT, U48);
    this.time = bytes.readDoubleBE(TIME);
    this.indexed = bytes[INDEXED] === 1;
    return this;
  }

  /** The head as bytes under the next version; the memory is used again. */
  store(): Buffer {
    const { bytes } = this;
    this.version++;
    bytes.writeDoubleBE(this.version, 0);
    bytes.writeUIntBE(this.incarnation, INCARNATION, U48);
    bytes.writeUIntBE(this.items, ITEMS, U48);
    bytes.writeUIntBE(this.next, NEXT, U48);
    bytes.writeUIntBE(this.floor, FLOOR, U48);
    bytes.writeUIntBE(this.count, COUNT, U48);
    bytes.writeDoubleBE(this.time, TIME);
    bytes[INDEXED] = this.indexed ? 1 : 0;
    return bytes.subarray(0, this.length);
  }

  /** Every sequence number from the floor on has its item. */
  get dense(): boolean {
    return this.next - this.floor === this.count;
  }

  /** Where the entry of the id (`from` to `to` of `source`) is, or -1. */
  find(source: Uint8Array, from: number, to: number): number {
    const { bytes, length } = this;
    const size = to - from;
    for (let at = ENTRIES; at < length;) {
      const idSize = ((bytes[at + U48] as number) << 8) | (bytes[at + U48 + 1] as number);
      const id = at + ENTRY_ID;
      if (idSize === size) {
        // Ids of one publisher mostly begin alike.
        let i = size - 1;
        while (i >= 0 && bytes[id + i] === source[from + i]) i--;
        if (i < 0) return at;
      }
      at = id + idSize;
    }
    return -1;
  }

  seqAt(entry: number): number {
    return this.bytes.readUIntBE(entry, U48);
  }

  /** Takes the entry out; returns its sequence number. */
  remove(entry: number): number {
    const { bytes } = this;
    const seq = bytes.readUIntBE(entry, U48);
    const end = entry + ENTRY_ID + bytes.readUInt16BE(entry + U48);
    bytes.copyWithin(entry, end, this.length);
    this.length -= end - entry;
    this.count--;
    this.floor = this.length > ENTRIES ? this.seqAt(ENTRIES) : this.next;
    return seq;
  }

  /** Takes the oldest entry out; returns its sequence number. */
  shift(): number {
    return this.remove(ENTRIES);
  }

  /** Adds an entry for the next sequence number; false when there is no room. */
  append(source: Uint8Array, from: number, to: number): boolean {
    const { bytes, length } = this;
    const end = length + ENTRY_ID + to - from;
    if (end > HEAD_BYTES) return false;
    bytes.writeUIntBE(this.next, length, U48);
    bytes.writeUInt16BE(to - from, length + U48);
    for (let i = from, at = length + ENTRY_ID; i < to; i++, at++) bytes[at] = source[i] as number;
    this.length = end;
    this.next++;
    this.count++;
    return true;
  }

  /** Hands every entry over, in order, and leaves the ids to the table. */
  moveEntries(each: (id: Buffer, seq: number) => void): void {
    const { bytes } = this;
    for (let at = ENTRIES; at < this.length;) {
      const end = at + ENTRY_ID + bytes.readUInt16BE(at + U48);
      each(bytes.subarray(at + ENTRY_ID, end), this.seqAt(at));
      at = end;
    }
    this.length = ENTRIES;
    this.indexed = true;
  }
}
