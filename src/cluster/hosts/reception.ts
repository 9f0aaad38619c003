import { count, counters } from '../../metrics/counters.js';
import { eachFrame } from '../frames.js';
import type { Talk } from '../talk.js';
import { FLAG, readEnvelope, type Envelope } from './envelope.js';
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
  /** The peer may have something to be sent now. */
  touch(peer: RemotePeer): void;
  /** The peer has begun anew. */
  anew(peer: RemotePeer): void;
}

/** What comes out of this worker's inbox: in order, each frame once, and acknowledged. */
export class Reception {
  /** From whom something came that is perhaps not acknowledged. */
  private readonly owed = new Set<RemotePeer>();
  private acks: NodeJS.Timeout | undefined;
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
    if (this.closed || members.isDead(sender, epoch)) return count(counters.drops, 'bus_dead_sender');
    return members.look(sender).then(() => {
      const found = find(sender);
      if (found?.epoch === epoch) this.take(found, envelope, fields);
      else count(counters.drops, 'bus_unknown_sender');
    });
  }

  private take(peer: RemotePeer, envelope: Envelope, fields: readonly Buffer[]): void {
    const { members, touch, anew, talk } = this.options;
    if ((envelope.flags & FLAG.bye) !== 0) return members.forget(peer.number, peer.epoch);
    peer.heard(envelope);
    this.owed.add(peer);
    touch(peer);
    if (envelope.seq === 0) return;
    let verdict = peer.sequence.judge(envelope);
    if (verdict === 'anew') {
      anew(peer);
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
        if (!this.closed && !talk.frame(peer.number, kind, body)) count(counters.drops, 'bus_garbled');
      });
      if (!sound) count(counters.drops, 'bus_garbled');
    }
  }

  /** All that lay in the inbox is handled: those who sent much are told now, the others soon. */
  rested(): void {
    for (const peer of this.owed) peer.acknowledge(false);
    this.acks ??= setTimeout(() => this.acknowledge(), ACK_MS);
  }

  private acknowledge(): void {
    this.acks = undefined;
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
