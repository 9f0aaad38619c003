import type { Logger } from 'pino';
import type { Redis } from '../../redis/redis.js';
import { PeerGone, type Bus, type Channel } from '../bus.js';
import { CONTROL } from '../frames.js';
import { Talk } from '../talk.js';
import { WatchedBus } from '../watched-bus.js';
import { Acquaintances, type Circle } from './acquaintances.js';
import { tooFarBehind } from './bounds.js';
import { Gathering } from './gathering.js';
import type { Member, PeerStatus } from './hosts.js';
import { inboxKey } from './keys.js';
import { Landings } from './landings.js';
import { Outage } from './outage.js';
import { Reception, type ReceptionOptions } from './reception.js';
import { RemotePeer, type Carrier } from './remote-peer.js';

export interface RedisBusOptions {
  redis: Redis;
  /** This worker's number. */
  self: number;
  /** High water of what a peer may not have acknowledged; at twice that the way to it begins anew. */
  backlogBytes: number;
  /** Batches that may wait in an inbox. */
  inboxEntries: number;
  /** How long barriers wait for peers from when Redis went away. */
  patienceMs: number;
  /** What is known of workers; {@link RedisBus.update} is told when it changes. */
  members: ReceptionOptions['members'];
  log: Logger;
  onError?: (error: unknown, channel: number) => void;
}

const CHECK_MS = 250;
/** How long `close()` waits for acknowledgements. */
const LINGER_MS = 2_000;
/** The frames of a tick are gathered here already. */
const PROMPT = { prompt: true };
const SETTLED = Promise.resolve();
const NOTHING = Buffer.alloc(0);

/**
 * The bus to the workers of other hosts, through a stream in Redis for each worker. Redis may lose, repeat or trim what lies in
 * it: order, and that each frame arrives once, are seen to by sender and receiver. When that cannot be, the pair begins anew:
 * both see the other going down and coming up.
 */
export class RedisBus extends WatchedBus implements Bus, Carrier {
  readonly self: number;
  readonly siblings: ReadonlySet<number> = new Set();
  /** Of this worker's registration. */
  epoch = 0;

  private readonly known: Acquaintances;
  protected readonly talk: Talk;
  private readonly gathering = new Gathering(() => this.schedule());
  private readonly landings = new Landings();
  /** What comes out of the inbox. */
  readonly reception: Reception;
  private scheduled = false;
  private watch: NodeJS.Timeout | undefined;
  private readonly outage: Outage;
  private closed = false;
  private settled: (() => void) | undefined;

  constructor(private readonly options: RedisBusOptions) {
    super();
    this.self = options.self;
    this.known = new Acquaintances(this.circle(), options.log);
    this.talk = new Talk(options.self, (peer, kind, parts) => this.post(peer, kind, parts), options.onError);
    this.reception = new Reception({
      talk: this.talk,
      members: options.members,
      find: (worker) => this.known.get(worker),
      grave: (worker, epoch) => this.known.grave(worker, epoch),
      late: this.late,
      touch: (peer) => this.gathering.touch(peer),
      anew: (peer, generation) => this.known.anew(peer, 'it begins anew', generation),
      urgent: this.returns,
    });
    this.outage = new Outage(options.redis, options.patienceMs, {
      began: () => this.assess(),
      cut: () => this.cut(),
      over: () => this.back(),
    });
  }

  // --- who is there ------------------------------------------------------------------------------------------------------

  /** The workers of the other hosts that live, as far as is known. */
  update(members: readonly Member[]): void {
    if (this.closed) return;
    this.known.update(members);
    this.assess();
    this.watch ??= setInterval(() => this.check(), CHECK_MS);
  }

  /** Meets everybody anew: this worker was taken for dead, and was not yet at `since`. It is one of them again when `over` resolves. */
  leaveAll(since: number, over: Promise<void>): void {
    this.tellGap(since, over);
    this.known.leaveAll();
    this.assess();
  }

  private circle(): Circle {
    const { redis } = this.options;
    return {
      make: (member) => new RemotePeer(member, inboxKey(redis, member.number, member.epoch), this),
      up: (peer) => {
        this.peers.add(peer.number);
        this.gathering.touch(peer);
        this.tellUp(peer.number);
      },
      down: (peer) => {
        if (!this.peers.delete(peer.number)) return;
        this.tellDown(peer.number);
        this.talk.gone(peer.number);
        peer.givenUp();
      },
      forgotten: (peer) => {
        this.gathering.forget(peer);
        this.reception.forget(peer);
      },
      seal: () => this.gathering.seal(),
      returns: this.returns,
      returned: (peer, kind, body, lives) => this.returned(peer, kind, body, lives),
      unsent: (peer, kind, body) => {
        const listener = this.unsent[kind];
        if (listener !== undefined) this.talk.guard(() => listener(peer, body));
      },
      gap: ({ heardAt }) => this.tellGap(Date.now() - (performance.now() - heardAt), undefined),
    };
  }

  // --- sending -----------------------------------------------------------------------------------------------------------

  send(peer: number, channel: Channel, ...parts: Uint8Array[]): void {
    this.post(peer, channel, parts);
  }

  broadcast(channel: Channel, ...parts: Uint8Array[]): void {
    if (this.peers.size > 0) this.gathering.add([...this.known.values()], channel, parts);
  }

  request(peer: number, channel: Channel, body: Uint8Array, timeoutMs?: number): Promise<Buffer> {
    if (!this.peers.has(peer)) return Promise.reject(new PeerGone(peer));
    return this.talk.request(peer, channel, body, timeoutMs);
  }

  barrier(peers?: readonly number[]): Promise<void> {
    if (this.peers.size === 0 || this.outage.cut || this.closed) return SETTLED;
    this.schedule();
    return this.talk.barriers.join(peers);
  }

  delivered(peers: readonly number[]): Promise<void> {
    if (this.peers.size === 0 || this.outage.cut || this.closed) return SETTLED;
    this.schedule();
    return this.landings.join(peers);
  }

  private there(number: number): RemotePeer | undefined {
    return this.peers.has(number) ? this.known.get(number) : undefined;
  }

  private post(number: number, kind: number, parts: readonly Uint8Array[]): void {
    const peer = this.there(number);
    if (peer) this.gathering.add([peer], kind, parts);
  }

  private schedule(): void {
    if (this.scheduled || this.closed) return;
    this.scheduled = true;
    setImmediate(this.flush);
  }

  private readonly flush = (): void => {
    if (this.closed) return;
    const barrier = this.talk.barriers.leave(this.outage.cut ? new Set() : this.peers);
    if (barrier !== undefined) {
      const peers = [...barrier.peers].map((number) => this.known.get(number)!);
      this.gathering.add(peers, CONTROL.barrier, this.talk.barrier(barrier.id));
    }
    const dirty = this.gathering.leave();
    this.scheduled = false;
    this.landings.leave((number) => this.there(number));
    const now = performance.now();
    for (let i = 0; i < dirty.length; i++) dirty[i]!.pump(now);
    for (const { peer, why } of tooFarBehind(dirty, this.known, this.options.backlogBytes)) {
      this.known.anew(peer, why);
    }
    this.assess();
  };

  async put(key: string, envelope: Buffer, pieces: readonly Buffer[]): Promise<boolean> {
    const { redis, inboxEntries } = this.options;
    const args = [key, 'NOMKSTREAM', 'MAXLEN', '~', inboxEntries, '*', envelope, pieces[0] ?? NOTHING];
    for (let i = 1; i < pieces.length; i++) args.push(NOTHING, pieces[i]!);
    return (await redis.call('XADD', args, PROMPT)) !== null;
  }

  // --- how it stands -----------------------------------------------------------------------------------------------------

  get backlog(): number {
    if (!this.options.redis.up) return 0;
    let most = 0;
    for (const peer of this.known.values()) most = Math.max(most, peer.window.bytes);
    return most;
  }

  private assess(): void {
    if (this.settled && this.idle) this.settled();
    this.weigh(this.options.backlogBytes);
  }

  private check(): void {
    if (!this.options.redis.up) return;
    const now = performance.now();
    for (const peer of this.known.values()) peer.ask(now, false);
    this.assess();
  }

  /** Redis is there again: what it had not kept is sent again. */
  private back(): void {
    const now = performance.now();
    for (const peer of this.known.values()) peer.ask(now, true);
    this.assess();
  }

  private cut(): void {
    for (const number of this.peers) this.talk.barriers.gone(number);
    for (const peer of this.known.values()) peer.givenUp();
    this.settled?.();
  }

  private get idle(): boolean {
    if (!this.gathering.empty) return false;
    for (const peer of this.known.values()) if (!peer.window.settled) return false;
    return true;
  }

  status(): PeerStatus[] {
    const now = performance.now();
    return [...this.known.values()].map((peer) => peer.status(this.peers.has(peer.number), now));
  }

  /** Waits until all is acknowledged, at most LINGER_MS, and says goodbye. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.flush();
    this.reception.acknowledge();
    if (!this.idle && !this.options.redis.forsaken) {
      await new Promise<void>((resolve) => {
        this.settled = resolve;
        setTimeout(resolve, LINGER_MS).unref();
      });
    }
    this.closed = true;
    clearInterval(this.watch);
    this.reception.close();
    this.outage.end();
    const peers = [...this.known.values()];
    this.known.clear();
    this.peers.clear();
    for (const peer of peers) {
      this.talk.gone(peer.number);
      peer.givenUp();
    }
    this.landings.end();
    this.talk.end();
    if (this.options.redis.up) await Promise.all(peers.map((peer) => peer.farewell()));
    for (const peer of peers) peer.close();
  }
}
