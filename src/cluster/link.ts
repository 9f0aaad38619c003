import type { Socket } from 'node:net';
import { counters } from '../metrics/counters.js';
import { Batch, FRAME_HEADER, greeting } from './frames.js';

/**
 * The way out to one peer. At most one write is under way; what comes meanwhile waits here, so that its size and
 * its progress are known. Frames leave in the order of the calls.
 */
export class Link {
  private readonly batch = new Batch();
  private readonly sealed: Buffer[] = [];
  private sealedBytes = 0;
  private inFlight = 0;
  private issued = 0;
  private confirmed = 0;
  /** The kernel has not taken the last write whole. */
  blocked = false;
  /** Grows whenever a blocked write was taken. */
  progress = 0;
  private closed = false;

  constructor(
    private readonly socket: Socket,
    self: number,
    /** Called when `pending` may have passed a bound. */
    private readonly changed: () => void,
  ) {
    socket.write(greeting(self));
  }

  /** Bytes that wait for the peer. */
  get pending(): number {
    return this.batch.used + this.sealedBytes + this.inFlight;
  }

  /** Something is to be flushed. */
  get filled(): boolean {
    return this.batch.used > 0;
  }

  add(kind: number, length: number, parts: readonly Uint8Array[]): void {
    if (this.closed) return;
    const size = FRAME_HEADER + length;
    if (!this.batch.fits(size)) this.seal();
    this.batch.add(kind, length, parts);
    counters.busFramesOut++;
    counters.busBytesOut += size;
  }

  flush(): void {
    if (this.batch.used === 0 || this.blocked || this.closed) return;
    const bytes = this.batch.view();
    if (this.write(bytes)) this.batch.reuse();
    else this.batch.replace();
  }

  close(): void {
    this.closed = true;
    this.socket.destroy();
    this.sealed.length = 0;
    this.sealedBytes = 0;
    this.inFlight = 0;
    this.batch.used = 0;
    this.blocked = false;
  }

  private seal(): void {
    if (!this.blocked) return this.flush();
    const bytes = this.batch.view();
    this.sealed.push(bytes);
    this.sealedBytes += bytes.length;
    this.batch.replace();
    this.changed();
  }

  /** True when the kernel took all of it at once, so that its memory is free again. */
  private write(bytes: Buffer): boolean {
    this.issued++;
    this.socket.write(bytes, this.written);
    if (this.socket.writableLength === 0) return true;
    this.blocked = true;
    this.inFlight = bytes.length;
    this.changed();
    return false;
  }

  private readonly written = (): void => {
    this.confirmed++;
    // The call-backs of earlier writes, taken at once, may come after a later write blocked.
    if (!this.blocked || this.confirmed !== this.issued) return;
    this.blocked = false;
    this.inFlight = 0;
    this.progress++;
    while (!this.blocked && this.sealed.length > 0) {
      const bytes = this.sealed.shift()!;
      this.sealedBytes -= bytes.length;
      this.write(bytes);
    }
    this.flush();
    this.changed();
  };
}
