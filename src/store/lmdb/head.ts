import { StoreError } from '../store.js';

/**
 * The head of a node's items: one small record that says all that a publish must know. It is written with every change
 * of the items, under a version that is compared and set, so that two processes never work on the same state.
 *
 * While the items are few, the head lists them in order, each with the number in its key; a new item takes the number of
 * one that goes, and so is written over it. When the list outgrows the head, the node becomes indexed, until a purge: then
 * numbers rise with every item, so that keys are in order, and a table of ids leads to the numbers.
 *
 *     0  f64  version, as it also stands in LMDB's version field
 *     8  u48  the node's incarnation: another one after deletion and creation under the same name
 *    14  u48  the items' incarnation: another one after a purge, too
 *    20  u48  next number for an item
 *    26  u48  floor, when indexed: items below are gone, whether they were wiped already or not
 *    32  u48  how many items there are
 *    38  f64  time of the newest item, see item.ts
 *    46  u8   1 when indexed
 *    47       else: the items in order, each u48 number, u16 length of the id, id
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

/** So that heads lie in LMDB's pages beside each other, and changing one stays cheap. */
export const HEAD_BYTES = 1400;
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
    if (length < ENTRIES || length > HEAD_BYTES) throw damaged();
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

  /** Writes the head, under its next version, to `into` from `at` on; returns where it ends. */
  store(into: Buffer, at: number): number {
    const { bytes, length } = this;
    this.version++;
    bytes.writeDoubleBE(this.version, 0);
    bytes.writeUIntBE(this.incarnation, INCARNATION, U48);
    bytes.writeUIntBE(this.items, ITEMS, U48);
    bytes.writeUIntBE(this.next, NEXT, U48);
    bytes.writeUIntBE(this.floor, FLOOR, U48);
    bytes.writeUIntBE(this.count, COUNT, U48);
    bytes.writeDoubleBE(this.time, TIME);
    bytes[INDEXED] = this.indexed ? 1 : 0;
    for (let i = 0; i < length; i++) into[at + i] = bytes[i] as number;
    return at + length;
  }

  /** Every number from the floor on has its item, when indexed. */
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

  numberAt(entry: number): number {
    return this.bytes.readUIntBE(entry, U48);
  }

  /** The numbers of all entries, in order. */
  numbers(): number[] {
    const numbers: number[] = [];
    for (let at = ENTRIES; at < this.length; at += ENTRY_ID + this.bytes.readUInt16BE(at + U48))
      numbers.push(this.numberAt(at));
    return numbers;
  }

  /** Takes the entry out; returns its number. */
  remove(entry: number): number {
    const { bytes } = this;
    if (entry + ENTRY_ID > this.length) throw damaged();
    const number = this.numberAt(entry);
    const end = entry + ENTRY_ID + bytes.readUInt16BE(entry + U48);
    if (end > this.length) throw damaged();
    bytes.copyWithin(entry, end, this.length);
    this.length -= end - entry;
    this.count--;
    return number;
  }

  /** Takes the oldest entry out; returns its number. */
  shift(): number {
    return this.remove(ENTRIES);
  }

  /** An entry for an id of that many bytes can be appended. */
  fits(idLength: number): boolean {
    return this.length + ENTRY_ID + idLength <= HEAD_BYTES;
  }

  /** Adds an entry, which {@link fits}, for the id at `from` to `to` of `source`. */
  append(number: number, source: Uint8Array, from: number, to: number): void {
    const { bytes, length } = this;
    bytes.writeUIntBE(number, length, U48);
    bytes.writeUInt16BE(to - from, length + U48);
    for (let i = from, at = length + ENTRY_ID; i < to; i++, at++) bytes[at] = source[i] as number;
    this.length = length + ENTRY_ID + to - from;
    this.count++;
  }

  /** The node becomes indexed: hands every entry over, in order, with its old and its new number. */
  index(each: (id: Buffer, from: number, to: number) => void): void {
    const { bytes } = this;
    this.floor = this.next;
    for (let at = ENTRIES; at < this.length;) {
      const end = at + ENTRY_ID + bytes.readUInt16BE(at + U48);
      each(bytes.subarray(at + ENTRY_ID, end), this.numberAt(at), this.next++);
      at = end;
    }
    this.length = ENTRIES;
    this.indexed = true;
  }
}

function damaged(): StoreError {
  return new StoreError('corrupt', 'The head of a node is damaged.');
}
