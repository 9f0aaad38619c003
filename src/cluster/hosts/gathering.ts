import { count, counters } from '../../metrics/counters.js';
import { BATCH_MAX, Batch, FRAME_HEADER, FRAME_MAX } from '../frames.js';
import type { RemotePeer } from './remote-peer.js';

/** The frames of a tick, each once, whoever they are for; and who has something to be sent. */
export class Gathering {
  private readonly batch = new Batch();
  private readonly dirty = new Set<RemotePeer>();

  constructor(
    /** Somebody has something to be sent: {@link leave} is to be called at the end of this tick. */
    private readonly schedule: () => void,
  ) {}

  get empty(): boolean {
    return this.batch.used === 0;
  }

  add(peers: readonly RemotePeer[], kind: number, parts: readonly Uint8Array[]): void {
    let length = 0;
    for (let i = 0; i < parts.length; i++) length += parts[i]!.length;
    if (length > FRAME_MAX) return count(counters.drops, 'bus_frame_too_large');
    const size = FRAME_HEADER + length;
    if (!this.batch.fits(size)) this.seal();
    const start = this.batch.used;
    this.batch.add(kind, length, parts);
    for (let i = 0; i < peers.length; i++) {
      const peer = peers[i]!;
      peer.range(start, start + size);
      this.touch(peer);
    }
    counters.busFramesOut += peers.length;
    counters.busBytesOut += size * peers.length;
    // A large frame is a batch of its own.
    if (size > BATCH_MAX) this.seal();
  }

  /** The peer may have something to be sent. */
  touch(peer: RemotePeer): void {
    this.dirty.add(peer);
    this.schedule();
  }

  forget(peer: RemotePeer): void {
    this.dirty.delete(peer);
  }

  /** Gives each peer its frames; answers with those that may have something to be sent. */
  leave(): RemotePeer[] {
    this.seal();
    const dirty = [...this.dirty];
    this.dirty.clear();
    return dirty;
  }

  /** Gives each peer its frames. Those for all are shared by all. */
  seal(): void {
    const { batch } = this;
    if (batch.used === 0) return;
    const view = batch.view();
    let shared: Buffer | undefined;
    for (const peer of this.dirty) {
      const { ranges, rangeBytes } = peer;
      if (rangeBytes === 0) continue;
      let piece: Buffer;
      if (ranges.length === 2 && rangeBytes * 2 >= batch.used) {
        shared ??= Buffer.from(view);
        piece = shared.subarray(ranges[0], ranges[1]);
      } else {
        piece = Buffer.allocUnsafe(rangeBytes);
        for (let i = 0, at = 0; i < ranges.length; i += 2) at += view.copy(piece, at, ranges[i], ranges[i + 1]);
      }
      peer.window.add(piece, peer.rangeFrames);
      peer.clearRanges();
    }
    batch.reuse();
  }
}
