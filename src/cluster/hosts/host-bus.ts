import type { Bus, BusListener, Channel, GapListener, UndeliveredListener } from '../bus.js';

const SETTLED = Promise.resolve();

/** One bus to the workers of this host and to those of all others. */
export class HostBus implements Bus {
  readonly self: number;
  readonly peers = new Set<number>();
  readonly siblings: ReadonlySet<number>;

  constructor(
    private readonly local: Bus,
    private readonly remote: Bus,
  ) {
    this.self = local.self;
    this.siblings = local.siblings;
    for (const bus of [local, remote]) {
      bus.onPeerUp((peer) => this.peers.add(peer));
      bus.onPeerDown((peer) => this.peers.delete(peer));
    }
  }

  send(peer: number, channel: Channel, ...parts: Uint8Array[]): void {
    this.to(peer).send(peer, channel, ...parts);
  }

  broadcast(channel: Channel, ...parts: Uint8Array[]): void {
    this.local.broadcast(channel, ...parts);
    this.remote.broadcast(channel, ...parts);
  }

  request(peer: number, channel: Channel, body: Uint8Array, timeoutMs?: number): Promise<Buffer> {
    return this.to(peer).request(peer, channel, body, timeoutMs);
  }

  listen(channel: Channel, listener: BusListener, late?: boolean): void {
    this.local.listen(channel, listener, late);
    this.remote.listen(channel, listener, late);
  }

  barrier(peers?: readonly number[]): Promise<void> {
    return this.both(peers, (bus) => bus.barrier(peers));
  }

  delivered(peers: readonly number[]): Promise<void> {
    return this.both(peers, (bus) => bus.delivered(peers));
  }

  private both(peers: readonly number[] | undefined, settled: (bus: Bus) => Promise<void>): Promise<void> {
    const here = concerns(this.local, peers);
    const elsewhere = concerns(this.remote, peers);
    if (!elsewhere) return here ? settled(this.local) : SETTLED;
    if (!here) return settled(this.remote);
    return Promise.all([settled(this.local), settled(this.remote)]).then(() => undefined);
  }

  get backlog(): number {
    return Math.max(this.local.backlog, this.remote.backlog);
  }

  get congested(): boolean {
    return this.local.congested || this.remote.congested;
  }

  onCongestion(listener: (congested: boolean) => void): void {
    let told = this.congested;
    const changed = (): void => {
      if (this.congested === told) return;
      told = this.congested;
      listener(told);
    };
    this.local.onCongestion(changed);
    this.remote.onCongestion(changed);
  }

  onPeerUp(listener: (peer: number) => void): void {
    this.local.onPeerUp(listener);
    this.remote.onPeerUp(listener);
  }

  onPeerDown(listener: (peer: number) => void): void {
    this.local.onPeerDown(listener);
    this.remote.onPeerDown(listener);
  }

  onUndelivered(channel: Channel, listener: UndeliveredListener): void {
    this.local.onUndelivered(channel, listener);
    this.remote.onUndelivered(channel, listener);
  }

  onGap(listener: GapListener): void {
    this.local.onGap(listener);
    this.remote.onGap(listener);
  }

  onUnsent(channel: Channel, listener: (peer: number, body: Buffer) => void): void {
    this.local.onUnsent(channel, listener);
    this.remote.onUnsent(channel, listener);
  }

  async close(): Promise<void> {
    await Promise.all([this.local.close(), this.remote.close()]);
  }

  private to(peer: number): Bus {
    return this.local.peers.has(peer) ? this.local : this.remote;
  }
}

/** Whether any of those peers is reached by this bus. */
function concerns(bus: Bus, peers: readonly number[] | undefined): boolean {
  if (bus.peers.size === 0) return false;
  return peers === undefined || peers.some((peer) => bus.peers.has(peer));
}
