import type { Socket } from 'node:net';
import { count, counters } from '../metrics/counters.js';
import { CONFIRM_MS, PeerGone, type Bus, type Channel } from './bus.js';
import { Door } from './door.js';
import { CONTROL, FRAME_MAX } from './frames.js';
import { Intake } from './intake.js';
import { Link } from './link.js';
import { Peer, type Fault } from './peer.js';
import { Talk } from './talk.js';
import { WatchedBus } from './watched-bus.js';

export interface LocalBusOptions {
  /** This worker's number: 1 to 2^32-1, unique per incarnation. */
  self: number;
  /** High water of what may wait for one peer; low water is half of it, the hard bound twice. */
  backlogBytes: number;
  /** Seconds that a peer may take nothing while something waits for it, before it is given up. */
  stallSeconds?: number;
  /** A peer was given up although nobody said that it is dead: somebody must end it, for the pair cannot go on. */
  onFault?: (peer: number, fault: Fault) => void;
  /** A listener threw or rejected. */
  onError?: (error: unknown, channel: number) => void;
}

export const STALL_SECONDS = 10;
/** How long the news of a peer's death may take after its connection broke, and how long `close()` may flush. */
const LINGER_MS = 2_000;
const CHECK_MS = 1_000;
const SETTLED = Promise.resolve();

/**
 * The bus between the processes of one machine, over Unix sockets: one connection each way per pair, so that what a
 * dying worker had written still arrives. Every queue is its own: a peer that reads slowly makes this worker
 * `congested`; one that reads nothing for `stallSeconds`, or lets twice `backlogBytes` pile up, is cut and reported, never
 * waited for, and no frame is dropped from the middle of a stream. Without peers it is a few empty loops.
 */
export class LocalBus extends WatchedBus implements Bus {
  readonly self: number;
  readonly siblings = this.peers;

  private readonly known = new Map<number, Peer>();
  /** Those that are up. */
  private reached: Peer[] = [];
  private readonly ended = new Set<number>();
  protected readonly talk: Talk;
  private readonly door = new Door((number, socket) => this.dialled(number, socket));
  private scheduled = false;
  private watch: NodeJS.Timeout | undefined;
  private confirmation: NodeJS.Timeout | undefined;
  private closed = false;
  private drained: (() => void) | undefined;

  constructor(private readonly options: LocalBusOptions) {
    super();
    this.self = options.self;
    const post = (number: number, kind: number, parts: readonly Uint8Array[]): void => {
      const peer = this.known.get(number);
      if (peer?.up) this.post(peer, kind, parts);
    };
    this.talk = new Talk(options.self, post, options.onError);
  }

  /** Listens for peers at the path of a Unix socket, in a directory that only this user may enter. */
  open(path: string): Promise<void> {
    return this.door.open(path);
  }

  /** Makes the acquaintance of the peer that listens at `path`; false when it was given up before it was up. */
  meet(number: number, path: string): Promise<boolean> {
    const peer = this.peer(number);
    if (!peer) return Promise.resolve(false);
    if (peer.intake) return peer.met;
    peer.intake = new Intake(path, this.self, number, {
      greeted: () => this.rise(peer),
      frame: (kind, body) => this.frame(peer, kind, body),
      ended: (garbled) => this.drop(peer, garbled ? 'garbled' : 'lost'),
    });
    peer.timer = setTimeout(() => this.drop(peer, 'stuck'), this.patience * 1000);
    return peer.met;
  }

  /** The peer's process has ended. What it had sent is still handled. */
  gone(number: number): void {
    const peer = this.known.get(number);
    this.ended.add(number);
    if (peer && !peer.up) this.drop(peer, undefined);
  }

  send(peer: number, channel: Channel, ...parts: Uint8Array[]): void {
    const known = this.known.get(peer);
    if (known?.up) this.post(known, channel, parts);
  }

  broadcast(channel: Channel, ...parts: Uint8Array[]): void {
    // A peer may be dropped on the way, which makes a new list.
    const { reached } = this;
    for (let i = 0; i < reached.length; i++) this.post(reached[i]!, channel, parts);
  }

  request(peer: number, channel: Channel, body: Uint8Array, timeoutMs?: number): Promise<Buffer> {
    if (!this.peers.has(peer)) return Promise.reject(new PeerGone(peer));
    return this.talk.request(peer, channel, body, timeoutMs);
  }

  barrier(peers?: readonly number[]): Promise<void> {
    if (this.reached.length === 0 || this.closed) return SETTLED;
    this.schedule();
    return this.talk.barriers.join(peers);
  }

  delivered(peers: readonly number[]): Promise<void> {
    return this.barrier(peers);
  }

  get backlog(): number {
    let most = 0;
    for (let i = 0; i < this.reached.length; i++) most = Math.max(most, this.reached[i]!.link!.pending);
    return most;
  }

  /** Writes what waits, for at most LINGER_MS, and lets go of everything. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.flush();
    if (this.backlog > 0) {
      await new Promise<void>((resolve) => {
        this.drained = resolve;
        setTimeout(resolve, LINGER_MS).unref();
      });
    }
    this.closed = true;
    clearInterval(this.watch);
    clearTimeout(this.confirmation);
    for (const peer of this.known.values()) {
      // Nothing is handled any more: what was is not to come back.
      peer.intake?.close();
      this.confirm(peer);
      peer.link?.flush();
      peer.close();
      this.talk.barriers.gone(peer.number);
    }
    this.known.clear();
    this.peers.clear();
    this.reached = [];
    this.talk.end();
    await this.door.close();
  }

  private peer(number: number): Peer | undefined {
    if (this.closed || number === this.self || this.ended.has(number)) return undefined;
    let peer = this.known.get(number);
    if (!peer) this.known.set(number, (peer = new Peer(number)));
    return peer;
  }

  /** A peer dialled in: its socket is the way out to it. */
  private dialled(number: number, socket: Socket): (() => void) | undefined {
    const peer = this.peer(number);
    if (!peer || peer.link) return undefined;
    const link = new Link(socket, this.self, () => {
      if (link.pending > 2 * this.options.backlogBytes) this.drop(peer, 'stuck');
      else this.assess();
    });
    peer.link = link;
    this.rise(peer);
    return () => this.severed(peer);
  }

  /** Up when both ways stand: from here on frames go and come. */
  private rise(peer: Peer): void {
    if (peer.up || !peer.link || !peer.intake?.ready) return;
    peer.up = true;
    clearTimeout(peer.timer);
    this.peers.add(peer.number);
    this.reached.push(peer);
    this.tellUp(peer.number);
    peer.settle(true);
    peer.intake.release();
  }

  /** The way out is cut. A dead peer's last words may still be on the way in; a living peer is lost. */
  private severed(peer: Peer): void {
    if (this.known.get(peer.number) !== peer) return;
    peer.link!.close();
    clearTimeout(peer.timer);
    if (!peer.intake) this.drop(peer, undefined);
    else peer.timer = setTimeout(() => this.drop(peer, 'lost'), LINGER_MS);
  }

  private drop(peer: Peer, fault: Fault | undefined): void {
    if (this.known.get(peer.number) !== peer) return;
    const { number } = peer;
    const told = this.ended.has(number);
    this.ended.add(number);
    this.known.delete(number);
    this.peers.delete(number);
    this.reached = this.reached.filter((other) => other !== peer);
    peer.close();
    if (peer.up) this.tellDown(number);
    this.talk.gone(number);
    for (const { kind, body } of peer.unconfirmed.take()) this.returned(number, kind, body, false);
    this.assess();
    if (fault && !told) this.options.onFault?.(number, fault);
  }

  private post(peer: Peer, kind: number, parts: readonly Uint8Array[]): void {
    let length = 0;
    for (let i = 0; i < parts.length; i++) length += parts[i]!.length;
    if (length > FRAME_MAX) return count(counters.drops, 'bus_frame_too_large');
    if (this.returns(kind)) peer.unconfirmed.keep(kind, parts);
    peer.link!.add(kind, length, parts);
    if (!this.scheduled) this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(this.flush);
  }

  private readonly flush = (): void => {
    this.scheduled = false;
    const barrier = this.talk.barriers.leave(this.peers);
    if (barrier !== undefined) {
      const body = this.talk.barrier(barrier.id);
      for (const number of barrier.peers) {
        const peer = this.known.get(number)!;
        peer.owed++;
        peer.link!.add(CONTROL.barrier, 4, body);
      }
    }
    const { reached } = this;
    for (let i = 0; i < reached.length; i++) {
      // A confirmation that rides along costs nothing.
      if (reached[i]!.link!.filled) this.confirm(reached[i]!);
      reached[i]!.link!.flush();
    }
    if (!this.watch && (barrier !== undefined || reached.some(({ link }) => link!.blocked))) {
      this.watch = setInterval(() => this.check(), CHECK_MS).unref();
    }
  };

  private frame(peer: Peer, kind: number, body: Buffer): void {
    if (kind === CONTROL.confirmed) {
      if (body.length !== 4 || !peer.unconfirmed.confirm(body.readUInt32LE(0))) this.drop(peer, 'garbled');
      return;
    }
    if (kind === CONTROL.barrierDone) {
      peer.owed--;
      peer.answered++;
    }
    if (!this.talk.frame(peer.number, kind, body)) this.drop(peer, 'garbled');
    if (!this.returns(kind)) return;
    peer.unconfirmed.handle();
    this.confirmation ??= setTimeout(() => {
      this.confirmation = undefined;
      for (const one of this.reached) this.confirm(one);
      this.schedule();
    }, CONFIRM_MS);
  }

  private confirm(peer: Peer): void {
    const news = peer.up ? peer.unconfirmed.news() : undefined;
    if (news === undefined) return;
    peer.link!.add(CONTROL.confirmed, news.length, [news]);
  }

  private get patience(): number {
    return this.options.stallSeconds ?? STALL_SECONDS;
  }

  private assess(): void {
    if (this.drained && this.backlog === 0) this.drained();
    this.weigh(this.options.backlogBytes);
  }

  private check(): void {
    let busy = false;
    for (const peer of [...this.known.values()]) {
      if (peer.check() >= this.patience) this.drop(peer, 'stuck');
      else busy ||= peer.expecting;
    }
    if (busy) return;
    clearInterval(this.watch);
    this.watch = undefined;
  }
}
