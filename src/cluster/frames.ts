import type { Channel } from './bus.js';

/**
 * What two workers say to each other on a Unix socket. The receiver dials, both sides greet, and from then on the
 * accepting side sends frames: u32 length of the rest (little endian), u8 channel, body.
 */
export const FRAME_HEADER = 5;
/** Largest frame: room for the largest stanza and for a session that is handed over with its queue. */
export const FRAME_MAX = 64 * 1024 * 1024;
/** Bytes collected for one peer before they are written ahead of the tick's end. */
export const BATCH_MAX = 256 * 1024;
const BATCH_MIN = 16 * 1024;
const READ_BYTES = 64 * 1024;
/** Below this much room the reader makes more before the next read. */
const READ_ROOM = 16 * 1024;

/** Channels of the bus itself, above all of {@link Channel}. */
export const CONTROL = {
  /** u32 id, u8 channel, body */
  request: 250,
  /** u32 id, body */
  answer: 251,
  /** u32 id, reason (UTF-8) */
  refusal: 252,
  /** u32 id */
  barrier: 253,
  /** u32 id */
  barrierDone: 254,
  /** u32: so many of the frames that would come back were handled by now. On Unix sockets only. */
  confirmed: 255,
} as const;
export type FrameKind = Channel | (typeof CONTROL)[keyof typeof CONTROL];

const MAGIC = Buffer.from('THRUMBUS2', 'latin1');
export const GREETING_BYTES = MAGIC.length + 4;

export function greeting(number: number): Buffer {
  const bytes = Buffer.alloc(GREETING_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(number, MAGIC.length);
  return bytes;
}

/** The number that a greeting of exactly {@link GREETING_BYTES} tells; undefined when it is none. */
export function greeted(bytes: Buffer): number | undefined {
  if (bytes.compare(MAGIC, 0, MAGIC.length, 0, MAGIC.length) !== 0) return undefined;
  return bytes.readUInt32LE(MAGIC.length);
}

/** Hands over the frames that `bytes` consists of; false when it does not. The body is valid during the call. */
export function eachFrame(bytes: Buffer, handle: (kind: number, body: Buffer) => void): boolean {
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < FRAME_HEADER) return false;
    const end = at + 4 + bytes.readUInt32LE(at);
    if (end < at + FRAME_HEADER || end > bytes.length) return false;
    handle(bytes[at + 4]!, bytes.subarray(at + FRAME_HEADER, end));
    at = end;
  }
  return true;
}

/** Frames collected for one write. The buffer is used again and again as long as the kernel takes it whole. */
export class Batch {
  private bytes = Buffer.allocUnsafeSlow(BATCH_MIN);
  used = 0;

  /** False when the frame needs a fresh batch first. A frame above BATCH_MAX gets a batch of its own. */
  fits(size: number): boolean {
    return this.used === 0 || this.used + size <= BATCH_MAX;
  }

  add(kind: number, length: number, parts: readonly Uint8Array[]): void {
    const need = this.used + FRAME_HEADER + length;
    if (need > this.bytes.length) this.grow(need);
    const bytes = this.bytes;
    let at = this.used;
    const rest = length + 1;
    bytes[at] = rest;
    bytes[at + 1] = rest >>> 8;
    bytes[at + 2] = rest >>> 16;
    bytes[at + 3] = rest >>> 24;
    bytes[at + 4] = kind;
    at += FRAME_HEADER;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]!;
      bytes.set(part, at);
      at += part.length;
    }
    this.used = at;
  }

  view(): Buffer {
    return this.bytes.subarray(0, this.used);
  }

  /** Starts anew in the same memory: nobody reads the old content any more. */
  reuse(): void {
    this.used = 0;
    if (this.bytes.length > BATCH_MAX) this.bytes = Buffer.allocUnsafeSlow(BATCH_MIN);
  }

  /** Starts anew in other memory: the old content is still to be written. */
  replace(): void {
    this.used = 0;
    this.bytes = Buffer.allocUnsafeSlow(BATCH_MIN);
  }

  private grow(need: number): void {
    let size = this.bytes.length;
    while (size < need) size *= 2;
    if (need > BATCH_MAX) size = need;
    const bytes = Buffer.allocUnsafeSlow(size);
    this.bytes.copy(bytes, 0, 0, this.used);
    this.bytes = bytes;
  }
}

/** Cuts what was read into frames without copying whole ones. */
export class FrameReader {
  private bytes = Buffer.allocUnsafeSlow(READ_BYTES);
  private start = 0;
  private end = 0;

  /** Where the next bytes may be put; never empty. */
  space(): Buffer {
    return this.end === 0 ? this.bytes : this.bytes.subarray(this.end);
  }

  /** Notes that `count` bytes were put into `space()`. */
  filled(count: number): void {
    this.end += count;
  }

  /** Takes `count` bytes from the front, or undefined when there are fewer. */
  take(count: number): Buffer | undefined {
    if (this.end - this.start < count) return undefined;
    this.start += count;
    return this.bytes.subarray(this.start - count, this.start);
  }

  /** Makes `space()` roomy while nothing may be handed over yet. */
  reserve(): void {
    this.makeRoom(this.end - this.start + READ_ROOM);
  }

  /**
   * Hands over every whole frame; the body is valid during the call. False when the bytes are no frames. With
   * `stay`, `space()` stays where it is, for a read that already has it.
   */
  frames(handle: (kind: number, body: Buffer) => void, stay: boolean): boolean {
    const bytes = this.bytes;
    let need = FRAME_HEADER;
    while (this.end - this.start >= FRAME_HEADER) {
      const at = this.start;
      const rest = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
      if (rest === 0 || rest > FRAME_MAX + 1) return false;
      need = 4 + rest;
      if (this.end - at < need) break;
      this.start = at + need;
      handle(bytes[at + 4]!, bytes.subarray(at + FRAME_HEADER, at + need));
      need = FRAME_HEADER;
    }
    if (!stay) this.makeRoom(need);
    return true;
  }

  /** Moves an unfinished frame to the front where the whole of it has room. */
  private makeRoom(need: number): void {
    const left = this.end - this.start;
    const size = Math.max(READ_BYTES, need);
    if (this.bytes.length !== size && (left > 0 || this.bytes.length > READ_BYTES)) {
      const bytes = Buffer.allocUnsafeSlow(size);
      this.bytes.copy(bytes, 0, this.start, this.end);
      this.bytes = bytes;
    } else if (left > 0) {
      const roomy = this.start + need <= this.bytes.length && this.bytes.length - this.end >= READ_ROOM;
      if (roomy || this.start === 0) return;
      this.bytes.copyWithin(0, this.start, this.end);
    }
    this.start = 0;
    this.end = left;
  }
}
