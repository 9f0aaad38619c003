import type { Logger } from 'pino';
import { count, counters } from '../../metrics/counters.js';
import type { Redis } from '../../redis/redis.js';
import { PeerGone, type Bus, type Channel } from '../bus.js';
import { BATCH_MAX, Batch, CONTROL, eachFrame, FRAME_HEADER, FRAME_MAX } from '../frames.js';
import { Talk } from '../talk.js';
import { WatchedBus } from '../watched-bus.js';
import { FLAG, readEnvelope, type Envelope } from './envelope.js';
import type { Member, PeerStatus } from './hosts.js';
import { inboxKey } from './keys.js';
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
  members: {
    /** Looks for a worker that is not known. */
    look(worker: number): Promise<void>;
    /** That incarnation has left. */
    forget(worker: number, epoch: number): void;
    isDead(worker: number, epoch: number): boolean;
  };
  log: Logger;
  onError?: (error: unknown, channel: number) => void;
}

/** What all peers together may not have acknowledged, in high waters of one. */
const MOST = 4;
const CHECK_MS = 250;
/** How late an acknowledgement may be that has nothing to ride on. */
const ACK_MS = 100;
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
  /** Of this worker's registration. */
  epoch = 0;

  private readonly known = new Map<number, RemotePeer>();
  protected readonly talk: Talk;
  /** The frames of this tick, each once, whoever they are for. */
  private readonly batch = new Batch();
  private readonly dirty = new Set<RemotePeer>();
  /** From whom something came that is perhaps not acknowledged. */
  private readonly owed = new Set<RemotePeer>();
  private scheduled = false;
  private watch: NodeJS.Timeout | undefined;
  private acks: NodeJS.Timeout | undefined;
  /** Of this tick: who waits for its frames to be in inboxes. */
  private arrival: { promise: Promise<void>; done: () => void; peers: Set<number> } | undefined;
  /** Redis has been away for longer than barriers wait. */
  private cut = false;
  private outage: NodeJS.Timeout | undefined;
  private closed = false;
  private settled: (() => void) | undefined;

  constructor(private readonly options: RedisBusOptions) {
    super();
    this.self = options.self;
    this.talk = new Talk(options.self, (peer, kind, parts) => this.post(peer, kind, parts), options.onError);
    options.redis.onState((up) => this.redisState(up));
  }

  // --- who is there ------------------------------------------------------------------------------------------------------

  /** The workers of the other hosts that live, as far as is known. */
  update(members: readonly Member[]): void {
    if (this.closed) return;
    const there = new Map(members.map((member) => [member.number, member]));
    for (const peer of [...this.known.values()]) {
      if (there.get(peer.number)?.epoch !== peer.epoch) this.drop(peer);
    }
    for (const member of members) {
      if (this.known.has(member.number)) continue;
      const peer = new RemotePeer(member, inboxKey(this.options.redis, member.number, member.epoch), this);
      this.known.set(member.number, peer);
      this.rise(peer);
    }
    this.watch ??= setInterval(() => this.check(), CHECK_MS);
  }

  /** Meets everybody anew: this worker was taken for dead. */
  leaveAll(): void {
    for (const peer of [...this.known.values()]) this.drop(peer);
  }

  private drop(peer: RemotePeer): void {
    peer.close();
    this.known.delete(peer.number);
    this.dirty.delete(peer);
    this.owed.delete(peer);
    this.fall(peer);
    this.assess();
  }

  private rise(peer: RemotePeer): void {
    this.peers.add(peer.number);
    this.touch(peer);
    this.tellUp(peer.number);
  }

  private fall(peer: RemotePeer): void {
    if (!this.peers.delete(peer.number)) return;
    this.tellDown(peer.number);
    this.talk.gone(peer.number);
    peer.givenUp();
  }

  /** What was on the way is lost: both sides begin with each other as if they had not met. */
  private anew(peer: RemotePeer, why: string): void {
    const lost = peer.anew();
    this.options.log.warn({ peer: peer.number, frames: lost }, `frames to a worker were lost: ${why}`);
    this.fall(peer);
    this.rise(peer);
  }

  // --- sending -----------------------------------------------------------------------------------------------------------

  send(peer: number, channel: Channel, ...parts: Uint8Array[]): void {
    this.post(peer, channel, parts);
  }

  broadcast(channel: Channel, ...parts: Uint8Array[]): void {
    if (this.peers.size > 0) this.add([...this.known.values()], channel, parts);
  }

  request(peer: number, channel: Channel, body: Uint8Array, timeoutMs?: number): Promise<Buffer> {
    if (!this.peers.has(peer)) return Promise.reject(new PeerGone(peer));
    return this.talk.request(peer, channel, body, timeoutMs);
  }

  barrier(peers?: readonly number[]): Promise<void> {
    if (this.peers.size === 0 || this.cut || this.closed) return SETTLED;
    this.schedule();
    return this.talk.barriers.join(peers);
  }

  delivered(peers: readonly number[]): Promise<void> {
    if (this.peers.size === 0 || this.cut || this.closed) return SETTLED;
    this.schedule();
    if (!this.arrival) {
      let done = (): void => undefined;
      const promise = new Promise<void>((resolve) => (done = resolve));
      this.arrival = { promise, done, peers: new Set() };
    }
    for (let i = 0; i < peers.length; i++) this.arrival.peers.add(peers[i]!);
    return this.arrival.promise;
  }

  /** Whoever waits for this tick's frames to be in the inboxes waits for these peers. */
  private arrive(): void {
    const { arrival } = this;
    if (!arrival) return;
    this.arrival = undefined;
    let left = 1;
    const one = (): void => void (--left === 0 && arrival.done());
    for (const number of arrival.peers) {
      const peer = this.peers.has(number) ? this.known.get(number) : undefined;
      if (peer?.inInbox(one) === false) left++;
    }
    one();
  }

  private post(number: number, kind: number, parts: readonly Uint8Array[]): void {
    const peer = this.peers.has(number) ? this.known.get(number) : undefined;
    if (peer) this.add([peer], kind, parts);
  }

  private add(peers: readonly RemotePeer[], kind: number, parts: readonly Uint8Array[]): void {
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

  private touch(peer: RemotePeer): void {
    this.dirty.add(peer);
    if (!this.scheduled) this.schedule();
  }

  private schedule(): void {
    if (this.scheduled || this.closed) return;
    this.scheduled = true;
    setImmediate(this.flush);
  }

  private readonly flush = (): void => {
    if (this.closed) return;
    const barrier = this.talk.barriers.leave(this.cut ? new Set() : this.peers);
    if (barrier !== undefined) {
      const body = this.talk.barrier(barrier.id);
      this.add(
        [...barrier.peers].map((number) => this.known.get(number)!),
        CONTROL.barrier,
        body,
      );
    }
    this.seal();
    this.scheduled = false;
    this.arrive();
    const now = performance.now();
    const dirty = [...this.dirty];
    this.dirty.clear();
    for (let i = 0; i < dirty.length; i++) dirty[i]!.pump(now);
    this.bound(dirty);
    this.assess();
  };

  /** Gives each peer its frames. Those for all are shared by all. */
  private seal(): void {
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

  async put(key: string, envelope: Buffer, pieces: readonly Buffer[]): Promise<boolean> {
    const { redis, inboxEntries } = this.options;
    const args = [key, 'NOMKSTREAM', 'MAXLEN', '~', inboxEntries, '*', envelope, pieces[0] ?? NOTHING];
    for (let i = 1; i < pieces.length; i++) args.push(NOTHING, pieces[i]!);
    return (await redis.call('XADD', args, PROMPT)) !== null;
  }

  // --- receiving ---------------------------------------------------------------------------------------------------------

  /** Handles a batch from the inbox. */
  receive(fields: readonly Buffer[]): void | Promise<void> {
    const envelope = readEnvelope(fields[0]!);
    if (envelope === undefined) return count(counters.drops, 'bus_garbled');
    const { sender, epoch } = envelope;
    const peer = this.known.get(sender);
    if (peer?.epoch === epoch) return this.take(peer, envelope, fields);
    const { members } = this.options;
    if (this.closed || members.isDead(sender, epoch)) return count(counters.drops, 'bus_dead_sender');
    return members.look(sender).then(() => {
      const found = this.known.get(sender);
      if (found?.epoch === epoch) this.take(found, envelope, fields);
      else count(counters.drops, 'bus_unknown_sender');
    });
  }

  private take(peer: RemotePeer, envelope: Envelope, fields: readonly Buffer[]): void {
    if ((envelope.flags & FLAG.bye) !== 0) return this.options.members.forget(peer.number, peer.epoch);
    peer.heard(envelope);
    this.owed.add(peer);
    this.touch(peer);
    if (envelope.seq === 0) return;
    let verdict = peer.sequence.judge(envelope);
    if (verdict === 'anew') {
      this.anew(peer, 'it begins anew');
      verdict = peer.sequence.judge(envelope);
    }
    if (verdict === 'gap') void peer.control(FLAG.again);
    if (verdict !== 'take') return;
    const pieces: Buffer[] = [];
    for (let i = 1; i < fields.length; i += 2) pieces.push(fields[i]!);
    for (const piece of peer.sequence.whole(envelope.flags, pieces)) {
      peer.sequence.bytes += piece.length;
      const sound = eachFrame(piece, (kind, body) => {
        // A listener may have closed the bus.
        if (!this.closed && !this.talk.frame(peer.number, kind, body)) count(counters.drops, 'bus_garbled');
      });
      if (!sound) count(counters.drops, 'bus_garbled');
    }
  }

  /** All that lay in the inbox is handled: those who sent much are told now, the others soon. */
  readonly rested = (): void => {
    for (const peer of this.owed) peer.acknowledge(false);
    this.acks ??= setTimeout(() => {
      this.acks = undefined;
      for (const peer of this.owed) peer.acknowledge(true);
      this.owed.clear();
    }, ACK_MS);
  };

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

  /** Whoever is too far behind begins anew. */
  private bound(peers: readonly RemotePeer[]): void {
    const { backlogBytes } = this.options;
    for (const peer of peers) {
      if (peer.window.bytes > 2 * backlogBytes) this.anew(peer, 'it is too far behind');
    }
    if (this.known.size <= MOST / 2) return;
    let total = 0;
    let largest: RemotePeer | undefined;
    for (const peer of this.known.values()) {
      total += peer.window.bytes;
      if (peer.window.bytes > (largest?.window.bytes ?? 0)) largest = peer;
    }
    if (largest && total > MOST * backlogBytes) this.anew(largest, 'all together are too far behind');
  }

  private check(): void {
    if (!this.options.redis.up) return;
    const now = performance.now();
    for (const peer of this.known.values()) peer.ask(now, false);
    this.assess();
  }

  private redisState(up: boolean): void {
    clearTimeout(this.outage);
    this.cut = false;
    if (up) {
      const now = performance.now();
      // What Redis had not kept is sent again.
      for (const peer of this.known.values()) peer.ask(now, true);
    } else {
      this.outage = setTimeout(() => {
        this.cut = true;
        for (const number of this.peers) this.talk.barriers.gone(number);
        for (const peer of this.known.values()) peer.givenUp();
      }, this.options.patienceMs);
    }
    this.assess();
  }

  private get idle(): boolean {
    if (this.batch.used > 0) return false;
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
    if (!this.idle && this.options.redis.up) {
      await new Promise<void>((resolve) => {
        this.settled = resolve;
        setTimeout(resolve, LINGER_MS).unref();
      });
    }
    this.closed = true;
    clearInterval(this.watch);
    clearTimeout(this.acks);
    clearTimeout(this.outage);
    const peers = [...this.known.values()];
    this.known.clear();
    this.peers.clear();
    for (const peer of peers) {
      this.talk.gone(peer.number);
      peer.givenUp();
    }
    this.arrival?.done();
    this.talk.end();
    if (this.options.redis.up) await Promise.all(peers.map((peer) => peer.control(FLAG.bye)));
    for (const peer of peers) peer.close();
  }
}
