import { type Bus, type BusListener, type Channel, PeerGone } from '../../../src/cluster/bus.js';

type Frame =
  | { kind: 'frame'; channel: Channel; body: Buffer }
  | { kind: 'request'; channel: Channel; body: Buffer; answer: (body: Uint8Array) => void }
  | { kind: 'call'; action: () => void };

/** Joins buses in one process. Frames of one pair keep their order; pairs take turns as `pick` says. */
export class Hub {
  readonly buses: TestBus[] = [];
  private readonly links = new Map<string, { to: TestBus; from: TestBus; queue: Frame[] }>();
  private readonly dead = new Set<number>();
  private scheduled = false;
  /** Sent with `send` or `broadcast`. */
  frames = 0;

  constructor(private readonly pick: (choices: number) => number = () => 0) {}

  join(): TestBus {
    const bus = new TestBus(this.buses.length + 1, this);
    for (const other of this.buses) {
      bus.peers.add(other.self);
      other.peers.add(bus.self);
      this.links.set(`${bus.self}>${other.self}`, { from: bus, to: other, queue: [] });
      this.links.set(`${other.self}>${bus.self}`, { from: other, to: bus, queue: [] });
      for (const listener of other.ups) listener(bus.self);
    }
    this.buses.push(bus);
    return bus;
  }

  /** The worker dies: what it had sent still arrives, what was sent to it does not. */
  kill(bus: TestBus): void {
    this.buses.splice(this.buses.indexOf(bus), 1);
    for (const [key, link] of this.links) if (link.to === bus) this.links.delete(key);
    for (const other of this.buses) {
      other.peers.delete(bus.self);
      this.post(bus.self, other.self, {
        kind: 'call',
        action: () => other.downs.forEach((listener) => listener(bus.self)),
      });
    }
    this.dead.add(bus.self);
  }

  post(from: number, to: number, frame: Frame): void {
    const link = this.links.get(`${from}>${to}`);
    if (link === undefined || this.dead.has(from)) return;
    if (frame.kind === 'frame') this.frames++;
    link.queue.push(frame);
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => this.step());
  }

  private step(): void {
    this.scheduled = false;
    const waiting = [...this.links.values()].filter((link) => link.queue.length > 0);
    if (waiting.length === 0) return;
    const link = waiting[this.pick(waiting.length)]!;
    const frame = link.queue.shift()!;
    this.schedule();
    if (frame.kind === 'call') return frame.action();
    const answered = link.to.listeners.get(frame.channel)?.(link.from.self, frame.body);
    // The body is valid only during the call.
    frame.body.fill(0x21);
    if (frame.kind !== 'request') return;
    const reply = (body: Uint8Array): void =>
      this.post(link.to.self, link.from.self, { kind: 'call', action: () => frame.answer(body) });
    if (answered instanceof Promise) void answered.then(reply);
    else reply(answered ?? Buffer.alloc(0));
  }
}

export class TestBus implements Bus {
  readonly peers = new Set<number>();
  readonly listeners = new Map<Channel, BusListener>();
  readonly ups: ((peer: number) => void)[] = [];
  readonly downs: ((peer: number) => void)[] = [];
  private readonly congestion: ((congested: boolean) => void)[] = [];
  readonly backlog = 0;
  congested = false;

  constructor(
    readonly self: number,
    private readonly hub: Hub,
  ) {}

  send(peer: number, channel: Channel, ...parts: Uint8Array[]): void {
    this.hub.post(this.self, peer, { kind: 'frame', channel, body: Buffer.concat(parts) });
  }

  broadcast(channel: Channel, ...parts: Uint8Array[]): void {
    for (const peer of this.peers) this.send(peer, channel, ...parts);
  }

  request(peer: number, channel: Channel, body: Uint8Array): Promise<Buffer> {
    if (!this.peers.has(peer)) return Promise.reject(new PeerGone(peer));
    return new Promise((resolve, reject) => {
      this.downs.push((gone) => gone === peer && reject(new PeerGone(peer)));
      const answer = (given: Uint8Array): void => resolve(Buffer.from(given));
      this.hub.post(this.self, peer, { kind: 'request', channel, body: Buffer.from(body), answer });
    });
  }

  listen(channel: Channel, listener: BusListener): void {
    this.listeners.set(channel, listener);
  }

  async barrier(peers?: readonly number[]): Promise<void> {
    await Promise.all(
      [...this.peers]
        .filter((peer) => peers?.includes(peer) ?? true)
        .map(
          (peer) =>
            new Promise<void>((resolve) => {
              this.downs.push((gone) => gone === peer && resolve());
              const back = (): void => this.hub.post(peer, this.self, { kind: 'call', action: resolve });
              this.hub.post(this.self, peer, { kind: 'call', action: back });
            }),
        ),
    );
  }

  delivered(peers: readonly number[]): Promise<void> {
    return this.barrier(peers);
  }

  onCongestion(listener: (congested: boolean) => void): void {
    this.congestion.push(listener);
  }

  setCongested(congested: boolean): void {
    this.congested = congested;
    for (const listener of this.congestion) listener(congested);
  }

  onPeerUp(listener: (peer: number) => void): void {
    this.ups.push(listener);
    for (const peer of this.peers) listener(peer);
  }

  /** Nothing gets lost on the way. */
  onUndelivered(): void {}

  onPeerDown(listener: (peer: number) => void): void {
    this.downs.push(listener);
  }

  async close(): Promise<void> {
    return Promise.resolve();
  }
}
