import {
  type Bus,
  type BusListener,
  CHANNEL,
  type Channel,
  type GapListener,
  PeerGone,
} from '../../../src/cluster/bus.js';

type Frame =
  | { kind: 'frame'; channel: Channel; body: Buffer }
  | { kind: 'request'; channel: Channel; body: Buffer; answer: (body: Uint8Array) => void }
  | { kind: 'call'; action: () => void };

/** Joins buses in one process. Frames of one pair keep their order; pairs take turns as `pick` says. */
export class Hub {
  readonly buses: TestBus[] = [];
  private readonly links = new Map<string, { to: TestBus; from: TestBus; queue: Frame[] }>();
  private readonly dead = new Set<number>();
  /** Those who are cut off, since when, and what they have sent since. */
  private readonly away = new Map<
    number,
    { since: number; unsent: { to: number; channel: Channel; body: Buffer }[] }
  >();
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

  /**
   * The worker is taken for dead by all others, and does not know. What is sent to it is lost, what it sends waits, and of what it had sent
   * some has arrived though it was never told so.
   */
  cutOff(bus: TestBus): void {
    const unsent: { to: number; channel: Channel; body: Buffer }[] = [];
    this.away.set(bus.self, { since: Date.now(), unsent });
    for (const giveUp of bus.giveUps.splice(0)) giveUp();
    for (const { from, to, queue } of this.links.values()) {
      if (to === bus) queue.length = 0;
      if (from !== bus) continue;
      for (const frame of queue.splice(0)) {
        if (frame.kind !== 'frame') continue;
        unsent.push({ to: to.self, channel: frame.channel, body: Buffer.from(frame.body) });
        if (frame.channel === CHANNEL.notify && unsent.length % 2 === 1 && queue.length === unsent.length - 1)
          queue.push(frame);
      }
    }
    for (const other of this.buses) {
      if (!other.peers.delete(bus.self)) continue;
      for (const listener of other.downs) listener(bus.self);
    }
  }

  /** It finds out, and is one of them again. */
  async rejoin(bus: TestBus): Promise<void> {
    const { since, unsent } = this.away.get(bus.self)!;
    let over!: () => void;
    const rejoined = new Promise<void>((resolve) => (over = resolve));
    for (const listener of bus.gaps) listener(since, rejoined);
    const peers = [...bus.peers];
    bus.peers.clear();
    for (const peer of peers) for (const listener of bus.downs) listener(peer);
    for (const { to, channel, body } of unsent) bus.unsent.get(channel)?.(to, body);
    await new Promise((resolve) => setImmediate(resolve));
    this.away.delete(bus.self);
    for (const other of this.buses) {
      if (other === bus || this.away.has(other.self)) continue;
      for (const [one, two] of [
        [bus, other],
        [other, bus],
      ] as const) {
        one.peers.add(two.self);
        for (const listener of one.ups) listener(two.self);
      }
    }
    over();
  }

  isAway(bus: TestBus): boolean {
    return this.away.has(bus.self);
  }

  post(from: number, to: number, frame: Frame): void {
    if (this.away.has(to)) return;
    const away = this.away.get(from);
    if (away !== undefined) {
      if (frame.kind === 'frame') away.unsent.push({ to, channel: frame.channel, body: frame.body });
      return;
    }
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
  readonly siblings = this.peers;
  readonly listeners = new Map<Channel, BusListener>();
  readonly ups: ((peer: number) => void)[] = [];
  readonly downs: ((peer: number) => void)[] = [];
  /** Whoever waits for others waits no longer. */
  readonly giveUps: (() => void)[] = [];
  readonly gaps: GapListener[] = [];
  readonly unsent = new Map<Channel, (peer: number, body: Buffer) => void>();
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
    // Nobody waits for those who cannot be reached.
    if (this.hub.isAway(this)) return;
    await Promise.all(
      [...this.peers]
        .filter((peer) => peers?.includes(peer) ?? true)
        .map(
          (peer) =>
            new Promise<void>((resolve) => {
              this.downs.push((gone) => gone === peer && resolve());
              this.giveUps.push(resolve);
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

  onGap(listener: GapListener): void {
    this.gaps.push(listener);
  }

  onUnsent(channel: Channel, listener: (peer: number, body: Buffer) => void): void {
    this.unsent.set(channel, listener);
  }

  async close(): Promise<void> {
    return Promise.resolve();
  }
}
