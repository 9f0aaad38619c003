import { BATCH_MAX } from '../frames.js';
import { FLAG } from './envelope.js';

/** So much may lie in a peer's inbox that it has not acknowledged; what follows waits here. */
const SENT_BYTES = 4 * 1024 * 1024;
const SENT_BATCHES = 1024;
/** A batch of more pieces than that becomes one. */
const PIECES = 8;
const NOTHING = Buffer.alloc(0);

/** A batch with its place in the order. */
export interface Sealed {
  seq: number;
  flags: number;
  /** Whole frames each; or, with {@link FLAG.part}, a piece of one. */
  pieces: readonly Buffer[];
  bytes: number;
  frames: number;
  /** Of a frame's last piece: the frame. */
  whole?: Buffer;
  /** The last of its frames, counted as {@link Window.queued} is. */
  end: number;
  /** `performance.now()` */
  made: number;
}

/** Whole frames that were not acknowledged. */
export interface Left {
  frames: Buffer;
  /** They were in the peer's inbox. */
  landed: boolean;
}

/** Whole frames. */
interface Item {
  piece: Buffer;
  bytes: number;
  frames: number;
}

/** What is on the way to one peer, in order, and kept until the peer has acknowledged it. */
export class Window {
  generation = 0;
  /** Bytes of all that is kept. */
  bytes = 0;
  /** The last batch that was ever sent. */
  sent = 0;
  /** The last one of which Redis has said that it is in the inbox. */
  landed = 0;
  /** Frames that were ever given to it. */
  queued = 0;
  /** Those among them that are in batches, or were dropped. */
  private batched = 0;
  private last = 0;
  private sealed: Sealed[] = [];
  private sealedBytes = 0;
  /** Of `sealed`: the next to be sent. */
  private cursor = 0;
  private waiting: Item[] = [];
  /** How much of the first that waits, a large frame, is sealed. */
  private cut = 0;

  /** Starts that generation without what is here; its first batch leaves even when it is empty. Answers with the frames that are dropped. */
  begin(generation: number): number {
    let frames = 0;
    for (const one of this.sealed) frames += one.frames;
    for (const one of this.waiting) frames += one.frames;
    this.generation = generation;
    this.batched = this.queued;
    this.bytes = this.last = this.sent = this.landed = this.sealedBytes = this.cursor = this.cut = 0;
    this.sealed = [];
    this.waiting = [{ piece: NOTHING, bytes: 0, frames: 0 }];
    return frames;
  }

  /** What is not acknowledged, in order. */
  left(): Left[] {
    const left: Left[] = [];
    for (const { seq, flags, pieces, whole } of this.sealed) {
      const frames = whole !== undefined ? [whole] : (flags & FLAG.part) !== 0 ? [] : pieces;
      for (const piece of frames) left.push({ frames: piece, landed: seq <= this.landed });
    }
    for (const { piece } of this.waiting) left.push({ frames: piece, landed: false });
    return left;
  }

  add(piece: Buffer, frames: number): void {
    this.bytes += piece.length;
    this.queued += frames;
    this.waiting.push({ piece, bytes: piece.length, frames });
  }

  /** Batches sent and not acknowledged. */
  get batches(): number {
    return this.sealed.length;
  }

  /** Nothing waits, and all is acknowledged. */
  get settled(): boolean {
    return this.sealed.length === 0 && this.waiting.length === 0;
  }

  /** Something waits to be sent, or to be sent again. */
  get unsent(): boolean {
    return this.waiting.length > 0 || this.cursor < this.sealed.length;
  }

  /** When the oldest batch was made that is not acknowledged. */
  get oldest(): number | undefined {
    return this.sealed[0]?.made;
  }

  /** The batch to be sent now, if there is one. */
  next(now: number): Sealed | undefined {
    if (this.cursor === this.sealed.length && !this.seal(now)) return undefined;
    const batch = this.sealed[this.cursor++]!;
    this.sent = Math.max(this.sent, batch.seq);
    return batch;
  }

  /** All that is not acknowledged is sent once more. Answers with how many batches that are. */
  again(): number {
    const sent = this.cursor;
    this.cursor = 0;
    return sent;
  }

  /** The batch that was sent last is sent once more. */
  back(): void {
    this.cursor = Math.max(0, this.cursor - 1);
  }

  /** The peer has taken the batches up to this one; true when that is news. */
  taken(generation: number, seq: number): boolean {
    const first = this.sealed[0];
    if (generation !== this.generation || first === undefined || seq < first.seq) return false;
    const count = Math.min(this.sealed.length, seq - first.seq + 1);
    let bytes = 0;
    for (let i = 0; i < count; i++) bytes += this.sealed[i]!.bytes;
    this.sealedBytes -= bytes;
    this.bytes -= bytes;
    this.sealed.splice(0, count);
    this.cursor = Math.max(0, this.cursor - count);
    return true;
  }

  private seal(now: number): boolean {
    const first = this.waiting[0];
    if (first === undefined || this.sealedBytes >= SENT_BYTES || this.sealed.length >= SENT_BATCHES) return false;
    if (first.bytes > BATCH_MAX) {
      this.sealPart(first, now);
      return true;
    }
    let pieces: Buffer[] = [];
    let bytes = 0;
    let frames = 0;
    let count = 0;
    for (; count < this.waiting.length; count++) {
      const item = this.waiting[count]!;
      if (bytes + item.bytes > BATCH_MAX) break;
      if (item.bytes > 0) pieces.push(item.piece);
      bytes += item.bytes;
      frames += item.frames;
    }
    this.waiting.splice(0, count);
    if (pieces.length > PIECES) pieces = [Buffer.concat(pieces)];
    this.push(0, pieces, bytes, frames, now);
    return true;
  }

  /** The next piece of a frame that is too large for one batch. */
  private sealPart(item: Item, now: number): void {
    const piece = item.piece.subarray(this.cut, this.cut + BATCH_MAX);
    this.cut += piece.length;
    const last = this.cut === item.bytes;
    if (last) {
      this.waiting.shift();
      this.cut = 0;
    }
    this.push(last ? FLAG.part | FLAG.last : FLAG.part, [piece], piece.length, last ? item.frames : 0, now);
    if (last) this.sealed[this.sealed.length - 1]!.whole = item.piece;
  }

  private push(flags: number, pieces: readonly Buffer[], bytes: number, frames: number, made: number): void {
    this.batched += frames;
    this.sealed.push({ seq: ++this.last, flags, pieces, bytes, frames, end: this.batched, made });
    this.sealedBytes += bytes;
  }
}
