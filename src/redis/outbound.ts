import type { RedisArgument } from './redis.js';

/** Bytes that are gathered in one piece. */
const SLAB = 64 * 1024;
/** More than the header of a bulk string and the line that ends it need. */
const FRAME = 16;
/** Text up to that length is written here; the way through the runtime pays off for longer. */
const SHORT = 40;
const DIGIT = 0x30;

/**
 * What is to be written on a connection, in the order of the calls: commands as the Redis protocol has them, arrays of bulk strings.
 * One piece of memory for many commands is many times cheaper to write than each for itself.
 */
export class Outbound {
  private slab: Buffer;
  private at = 0;
  private begun = 0;
  private readonly full: Buffer[] = [];

  constructor(private readonly size = SLAB) {
    this.slab = Buffer.allocUnsafe(size);
  }

  add(name: string, args: readonly RedisArgument[]): void {
    this.room(FRAME);
    this.header(0x2a, args.length + 1);
    this.text(name);
    for (let i = 0; i < args.length; i++) {
      const arg = args[i]!;
      if (typeof arg === 'object') this.bytes(arg);
      else this.text(typeof arg === 'string' ? arg : String(arg));
    }
  }

  /** `*` or `$`, a length, and the end of the line. */
  private header(kind: number, length: number): void {
    const { slab } = this;
    slab[this.at++] = kind;
    if (length < 10) slab[this.at++] = DIGIT + length;
    else if (length < 100) {
      slab[this.at++] = DIGIT + Math.floor(length / 10);
      slab[this.at++] = DIGIT + (length % 10);
    } else this.at += slab.write(String(length), this.at, 'latin1');
    this.line();
  }

  private line(): void {
    this.slab[this.at++] = 13;
    this.slab[this.at++] = 10;
  }

  private text(text: string): void {
    const { length } = text;
    this.room(2 * FRAME + 3 * length);
    if (length <= SHORT && this.ascii(text)) return;
    this.header(0x24, Buffer.byteLength(text));
    this.at += this.slab.write(text, this.at);
    this.line();
  }

  /** False, and nothing is written, when it holds anything else. */
  private ascii(text: string): boolean {
    const { slab, at } = this;
    const { length } = text;
    this.header(0x24, length);
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127) {
        this.at = at;
        return false;
      }
      slab[this.at++] = code;
    }
    this.line();
    return true;
  }

  private bytes(bytes: Buffer): void {
    this.room(2 * FRAME + bytes.length);
    this.header(0x24, bytes.length);
    this.slab.set(bytes, this.at);
    this.at += bytes.length;
    this.line();
  }

  /** Makes sure that so many bytes fit. */
  private room(bytes: number): void {
    if (this.at + bytes <= this.slab.length) return;
    this.cut();
    this.slab = Buffer.allocUnsafe(Math.max(this.size, bytes));
    this.at = this.begun = 0;
  }

  private cut(): void {
    if (this.at > this.begun) this.full.push(this.slab.subarray(this.begun, this.at));
    this.begun = this.at;
  }

  /** All that was added; it must not be touched any more unless {@link reuse} says so. */
  take(): Buffer[] {
    this.cut();
    return this.full.splice(0);
  }

  /** All that was taken has been written: its memory may be used again. */
  reuse(): void {
    this.at = this.begun = 0;
  }
}
