import { count, counters } from '../../metrics/counters.js';
import { CONFIRM_MS } from '../bus.js';
import { eachFrame } from '../frames.js';
import type { Talk } from '../talk.js';
import { FLAG, readEnvelope, type Envelope } from './envelope.js';
import type { Grave } from './acquaintances.js';
import type { RemotePeer } from './remote-peer.js';

/** How late an acknowledgement may be that has nothing to ride on. */
const ACK_MS = 100;

export interface ReceptionOptions {
  talk: Talk;
  members: {
    /** Looks for a worker that is not known. */
    look(worker: number): Promise<void>;
    /** That incarnation has left. */
    forget(worker: number, epoch: number): void;
    isDead(worker: number, epoch: number): boolean;
  };
  find(worker: number): RemotePeer | undefined;
  /** One that was taken for dead. */
  grave(worker: number, epoch: number): Grave | undefined;
  /** Kinds of frames that are heard also when their sender was taken for dead meanwhile. */
  late: ReadonlySet<number>;
  /** The peer may have something to be sent now. */
  touch(peer: RemotePeer): void;
  /** The peer has begun that generation. */
  anew(peer: RemotePeer, generation: number): void;
  /** Frames of that kind come back to the peer if it is not told soon that they were handled. */
  urgent(kind: number): boolean;
}

/** What comes out of this worker's inbox: in order, each frame once, and acknowledged. */
export class Reception {
  /** From whom something came that is perhaps not acknowledged. */
  private readonly owed = new Set<RemotePeer>();
  private acks: NodeJS.Timeout | undefined;
  /** Among what came since the last acknowledgement there was something urgent; and the acknowledgement is to come accordingly. */
  private urgent = false;
  private soon = false;
  private closed = false;

  constructor(private readonly options: ReceptionOptions) {}

  /** Handles a batch from the inbox. */
  receive(fields: readonly Buffer[]): void | Promise<void> {
    const envelope = readEnvelope(fields[0]!);
    if (envelope === undefined) return count(counters.drops, 'bus_garbled');
    const { sender, epoch } = envelope;
    const { members, find } = this.options;
    const peer = find(sender);
    if (peer?.epoch === epoch) return this.take(peer, envelope, fields);
    if (this.closed || members.isDead(sender, epoch)) return this.takeLate(envelope, fields);
    return members.look(sender).then(() => {
      const found = find(sender);
      if (found?.epoch === epoch) this.take(found, envelope, fields);
      else count(counters.drops, 'bus_unknown_sender');
    });
  }

  private take(peer: RemotePeer, envelope: Envelope, fields: readonly Buffer[]): void {
    const { members, touch, anew, talk, urgent } = this.options;
    // The last that is heard of one that leaves is how far it has got.
    peer.heard(envelope);
    if ((envelope.flags & FLAG.bye) !== 0) return members.forget(peer.number, peer.epoch);
    this.owed.add(peer);
    touch(peer);
    if (envelope.seq === 0) return;
    let verdict = peer.judge(envelope);
    if (verdict === 'anew') {
      anew(peer, envelope.generation);
      verdict = peer.judge(envelope);
    }
    if (verdict === 'gap') void peer.control(FLAG.again);
    if (verdict !== 'take') return;
    this.hear(peer, envelope, fields, (kind, body) => {
      if (!talk.frame(peer.number, kind, body)) count(counters.drops, 'bus_garbled');
      this.urgent ||= urgent(kind);
    });
  }

  private hear(
    { sequence }: Pick<Grave, 'sequence'>,
    { flags }: Envelope,
    fields: readonly Buffer[],
    each: (kind: number, body: Buffer) => void,
  ): void {
    const pieces: Buffer[] = [];
    for (let i = 1; i < fields.length; i += 2) pieces.push(fields[i]!);
    for (const piece of sequence.whole(flags, pieces)) {
      sequence.bytes += piece.length;
      // A listener may have closed the bus.
      const sound = eachFrame(piece, (kind, body) => this.closed || each(kind, body));
      if (!sound) count(counters.drops, 'bus_garbled');
    }
  }

  /** What lay here when its sender was taken for dead, or what one sends that does not know that it was: it counts as delivered there. */
  private takeLate(envelope: Envelope, fields: readonly Buffer[]): void {
    const { grave, late, talk } = this.options;
    const dead = this.closed ? undefined : grave(envelope.sender, envelope.epoch);
    if (dead === undefined || envelope.seq === 0 || dead.sequence.judge(envelope, dead.generation) !== 'take') {
      if (envelope.seq > 0) count(counters.drops, 'bus_dead_sender');
      return;
    }
    this.hear(dead, envelope, fields, (kind, body) => void (late.has(kind) && talk.frame(dead.number, kind, body)));
  }

  /** All that lay in the inbox is handled: those who sent much are told now, the others soon. */
  rested(): void {
    for (const peer of this.owed) peer.acknowledge(false);
    if (this.acks !== undefined && (this.soon || !this.urgent)) return;
    clearTimeout(this.acks);
    this.soon = this.urgent;
    this.acks = setTimeout(() => this.acknowledge(), this.soon ? CONFIRM_MS : ACK_MS);
  }

  /** Whoever sent anything is told how far this worker is. */
  acknowledge(): void {
    clearTimeout(this.acks);
    this.acks = undefined;
    this.urgent = this.soon = false;
    for (const peer of this.owed) peer.acknowledge(true);
    this.owed.clear();
  }

  forget(peer: RemotePeer): void {
    this.owed.delete(peer);
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.acks);
  }
}
