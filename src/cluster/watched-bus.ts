import type { BusListener, Channel, GapListener, UndeliveredListener } from './bus.js';
import type { Talk } from './talk.js';

/** Who listens to a bus, hears of its peers, and of more waiting than it may: the same for every bus, however its frames travel. */
export abstract class WatchedBus {
  readonly peers = new Set<number>();
  congested = false;
  private readonly congestion: ((congested: boolean) => void)[] = [];
  private readonly ups: ((peer: number) => void)[] = [];
  private readonly downs: ((peer: number) => void)[] = [];
  private readonly undelivered: (UndeliveredListener | undefined)[] = [];
  private readonly gaps: GapListener[] = [];
  protected readonly unsent: (((peer: number, body: Buffer) => void) | undefined)[] = [];
  /** Channels on which also the dead are heard. */
  protected readonly late = new Set<number>();
  protected abstract readonly talk: Talk;

  /** Bytes that wait for the slowest peer. */
  abstract get backlog(): number;

  listen(channel: Channel, listener: BusListener, late = false): void {
    this.talk.listen(channel, listener);
    if (late) this.late.add(channel);
  }

  onCongestion(listener: (congested: boolean) => void): void {
    this.congestion.push(listener);
  }

  onPeerUp(listener: (peer: number) => void): void {
    this.ups.push(listener);
    for (const peer of this.peers) listener(peer);
  }

  onPeerDown(listener: (peer: number) => void): void {
    this.downs.push(listener);
  }

  onUndelivered(channel: Channel, listener: UndeliveredListener): void {
    this.undelivered[channel] = listener;
  }

  onGap(listener: GapListener): void {
    this.gaps.push(listener);
  }

  onUnsent(channel: Channel, listener: (peer: number, body: Buffer) => void): void {
    this.unsent[channel] = listener;
  }

  protected tellGap(since: number, over: Promise<void> | undefined): void {
    for (const listener of this.gaps) this.talk.guard(() => listener(since, over));
  }

  /** Frames of that kind come back when they were not delivered. */
  readonly returns = (kind: number): boolean => this.undelivered[kind] !== undefined;

  /** A frame comes back. */
  returned(peer: number, kind: number, body: Buffer, lives: boolean): void {
    const listener = this.undelivered[kind];
    if (listener !== undefined) this.talk.guard(() => listener(peer, body, lives));
  }

  protected tellUp(peer: number): void {
    for (const listener of this.ups) this.talk.guard(() => listener(peer));
  }

  protected tellDown(peer: number): void {
    for (const listener of this.downs) this.talk.guard(() => listener(peer));
  }

  /** Congested above the high water, and until half of it is reached again. */
  protected weigh(highWater: number): void {
    const congested = this.backlog > (this.congested ? highWater / 2 : highWater);
    if (congested === this.congested) return;
    this.congested = congested;
    for (const listener of this.congestion) this.talk.guard(() => listener(congested));
  }
}
