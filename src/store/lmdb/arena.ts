/** Usual size of a chunk; what is larger than a quarter gets memory of its own. */
const CHUNK = 256 * 1024;
/** Chunks kept for the next use. */
const KEPT = 8;

/**
 * Memory for the values of one commit: LMDB's writer thread reads them where they lie, so they stay put until the commit,
 * and all are given back at once.
 */
export class Arena {
  private readonly chunks: Buffer[] = [Buffer.allocUnsafeSlow(CHUNK)];
  private current = 0;
  private used = 0;

  /** Where the bytes taken next begin in {@link chunk}. */
  offset = 0;

  /** Memory with at least that many free bytes, from {@link offset} on. Nothing is taken yet: see {@link take}. */
  room(bytes: number): Buffer {
    if (bytes > CHUNK >> 2) {
      this.offset = 0;
      return Buffer.allocUnsafeSlow(bytes);
    }
    if (this.used + bytes > CHUNK) {
      this.used = 0;
      if (++this.current === this.chunks.length) this.chunks.push(Buffer.allocUnsafeSlow(CHUNK));
    }
    this.offset = this.used;
    return this.chunks[this.current] as Buffer;
  }

  /** Takes the bytes of `memory` (from the last {@link room}) up to `end`. */
  take(memory: Buffer, end: number): Buffer {
    const taken = memory.subarray(this.offset, end);
    if (memory === this.chunks[this.current]) this.used = end;
    return taken;
  }

  copy(source: Buffer): Buffer {
    const memory = this.room(source.length);
    memory.set(source, this.offset);
    return this.take(memory, this.offset + source.length);
  }

  /** Gives all back: nothing that was taken may be used any more. */
  reset(): void {
    this.current = 0;
    this.used = 0;
    if (this.chunks.length > KEPT) this.chunks.length = KEPT;
  }
}
