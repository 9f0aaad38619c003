import { createHash } from 'node:crypto';

/**
 * Keys of LMDB's tables. LMDB compares them as bytes and takes at most 1978 of them, so a part of unknown length is kept
 * as it is while it is short, and is cut and hashed where it is long.
 */

/** Longest name that is its own key, in UTF-8 bytes. */
const NAME_BYTES = 1800;
/** Longest part inside a composed key that is kept as it is. */
const PART_BYTES = 800;
/** Length of a number in a key: 48 bits, big endian, so that byte order is numeric order. */
export const NUMBER = 6;
/** Above every number that a key holds. */
export const LAST = 2 ** 48 - 1;

const HASHED = 0xffff;
const DIGEST = 32;

function digest(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/**
 * Keys of tables that are listed in order of a name. The last byte keeps the empty name legal; hashed keys are longer than
 * any that is not, so they never meet. Names that share their first 1800 bytes are listed in no particular order.
 */
export const NAMES = {
  writeKey(name: string, target: Buffer, start: number): number {
    // A string has at most three bytes for each of its units.
    if (name.length * 3 <= NAME_BYTES || Buffer.byteLength(name) <= NAME_BYTES) {
      const end = start + target.write(name, start);
      target[end] = 0;
      return end + 1;
    }
    const bytes = Buffer.from(name);
    target.set(bytes.subarray(0, NAME_BYTES), start);
    target.set(digest(bytes), start + NAME_BYTES);
    return start + NAME_BYTES + DIGEST;
  },
  /** Cut and hashed names cannot be told from keys, so records say them. */
  readKey(): string {
    return '';
  },
};

/** A string as the first part of a composed key: its length before it, so that no part is the beginning of another. */
export function part(text: string): Buffer {
  const bytes = Buffer.from(text);
  const long = bytes.length > PART_BYTES;
  const body = long ? digest(bytes) : bytes;
  const key = Buffer.allocUnsafe(2 + body.length);
  key.writeUInt16BE(long ? HASHED : bytes.length, 0);
  key.set(body, 2);
  return key;
}

export function number(value: number): Buffer {
  const key = Buffer.allocUnsafe(NUMBER);
  key.writeUIntBE(value, 0, NUMBER);
  return key;
}

/** Key of an item; `into` is used again and again, as every reader and writer copies keys. */
export function itemKey(incarnation: number, item: number, into = Buffer.allocUnsafe(2 * NUMBER)): Buffer {
  into.writeUIntBE(incarnation, 0, NUMBER);
  into.writeUIntBE(item, NUMBER, NUMBER);
  return into;
}

/** The item's number in its key. */
export function numberOf(key: Uint8Array): number {
  return Buffer.prototype.readUIntBE.call(key, NUMBER, NUMBER);
}

/** Key of an item's id in the index of a node with many items. */
export function idKey(incarnation: number, id: Buffer): Buffer {
  const long = id.length > NAME_BYTES;
  const body = long ? digest(id) : id;
  const key = Buffer.allocUnsafe(NUMBER + 1 + body.length);
  key.writeUIntBE(incarnation, 0, NUMBER);
  key[NUMBER] = long ? 1 : 0;
  key.set(body, NUMBER + 1);
  return key;
}

/** The range of all keys that begin with `prefix`. */
export function startingWith(prefix: Buffer): { start: Buffer; end: Buffer } {
  const end = Buffer.from(prefix);
  let last = end.length - 1;
  while (last > 0 && end[last] === 0xff) last--;
  end[last] = (end[last] as number) + 1;
  return { start: prefix, end: end.subarray(0, last + 1) };
}
