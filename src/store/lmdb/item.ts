import type { ItemRecord } from '../store.js';

/**
 * How an item lies in LMDB, after its key `[incarnation, number]`:
 *
 *     0  f64  time that expiry goes by: when it was published, but never before the item that precedes it
 *     8  f64  when it was published
 *    16  u16  length of the id
 *    18  u16  length of the publisher
 *    20       id, publisher, payload
 */
const PUBLISHED = 8;
const ID_LENGTH = 16;
const PUBLISHER_LENGTH = 18;
export const ID = 20;

/** At least as many bytes as the item takes. */
export function itemRoom(item: ItemRecord): number {
  return ID + 3 * (item.id.length + item.publisher.length) + item.payload.length;
}

/** Writes the item to `into` from `at` on; returns where it ends. */
export function encodeItem(item: ItemRecord, into: Buffer, at: number): number {
  const idLength = into.write(item.id, at + ID);
  const publisherLength = into.write(item.publisher, at + ID + idLength);
  into.writeDoubleBE(item.published, at + PUBLISHED);
  into.writeUInt16BE(idLength, at + ID_LENGTH);
  into.writeUInt16BE(publisherLength, at + PUBLISHER_LENGTH);
  const payload = at + ID + idLength + publisherLength;
  into.set(item.payload, payload);
  return payload + item.payload.length;
}

export function decodeItem(value: Buffer): ItemRecord {
  const publisher = ID + value.readUInt16BE(ID_LENGTH);
  const payload = publisher + value.readUInt16BE(PUBLISHER_LENGTH);
  return {
    id: value.toString('utf8', ID, publisher),
    publisher: value.toString('utf8', publisher, payload),
    published: value.readDoubleBE(PUBLISHED),
    payload: value.subarray(payload),
  };
}

export function timeOf(value: Buffer): number {
  return value.readDoubleBE(0);
}

export function publishedOf(value: Buffer): number {
  return value.readDoubleBE(PUBLISHED);
}

export function setTime(value: Buffer, time: number): void {
  value.writeDoubleBE(time, 0);
}

/** Where the id ends; it begins at {@link ID}. */
export function idEnd(value: Uint8Array): number {
  return ID + (((value[ID_LENGTH] as number) << 8) | (value[ID_LENGTH + 1] as number));
}

/** The id's bytes, as a view. */
export function idOf(value: Uint8Array): Buffer {
  return Buffer.from(value.buffer, value.byteOffset + ID, idEnd(value) - ID);
}
