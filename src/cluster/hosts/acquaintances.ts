import type { Logger } from 'pino';
import { eachFrame } from '../frames.js';
import type { Member } from './hosts.js';
import { RemotePeer } from './remote-peer.js';
import type { Left } from './window.js';

/** What becomes of the bus when somebody comes or goes. */
export interface Circle {
  /** The way to one that has come. */
  make(member: Member): RemotePeer;
  /** From here on frames go to the peer. */
  up(peer: RemotePeer): void;
  /** Nothing goes to the peer any more, and nothing is waited for from it. */
  down(peer: RemotePeer): void;
  /** The peer is not to be found here any more. */
  forgotten(peer: RemotePeer): void;
  /** All frames that were sent are in the windows of their peers. */
  seal(): void;
  returns(kind: number): boolean;
  returned(peer: number, kind: number, body: Buffer, lives: boolean): void;
  /** A frame that had not got to a peer that lives when this worker was taken for dead. */
  unsent(peer: number, kind: number, body: Buffer): void;
  /** What a peer sent to this worker may be lost. */
  gap(peer: RemotePeer): void;
}

/** How far was heard what one sent who is dead now. */
export type Grave = Pick<RemotePeer, 'number' | 'epoch' | 'sequence'> & { generation: number };

/** So many of the dead are remembered. */
const GRAVES = 1_000;

/** The workers of other hosts, as one of them knows them: who comes and goes, and what becomes of what was on the way to them. */
export class Acquaintances extends Map<number, RemotePeer> {
  private readonly graves = new Map<number, Grave>();

  constructor(
    private readonly circle: Circle,
    private readonly log: Logger,
  ) {
    super();
  }

  /** Those that live, as far as is known. */
  update(members: readonly Member[]): void {
    const there = new Map(members.map((member) => [member.number, member]));
    for (const peer of [...this.values()]) if (there.get(peer.number)?.epoch !== peer.epoch) this.bury(peer);
    for (const member of members) {
      if (this.has(member.number)) continue;
      const peer = this.circle.make(member);
      this.set(member.number, peer);
      this.circle.up(peer);
    }
  }

  /** This worker was taken for dead. The others live, and have handled what was in their inboxes; the rest comes back. */
  leaveAll(): void {
    for (const peer of [...this.values()]) {
      const left = this.drop(peer);
      this.giveBack(peer, left, false, true);
      for (const { frames, landed } of left) {
        if (!landed) eachFrame(frames, (kind, body) => this.circle.unsent(peer.number, kind, body));
      }
    }
  }

  /** One of the dead, whose last may still have to be heard. */
  grave(number: number, epoch: number): Grave | undefined {
    const grave = this.graves.get(number);
    return grave?.epoch === epoch ? grave : undefined;
  }

  /** Whatever the dead had not acknowledged comes back. */
  private bury(peer: RemotePeer): void {
    const { number, epoch, sequence, window } = peer;
    this.graves.delete(number);
    this.graves.set(number, { number, epoch, sequence, generation: window.generation });
    if (this.graves.size > GRAVES) this.graves.delete(this.graves.keys().next().value!);
    this.giveBack(peer, this.drop(peer), true, false);
    peer.seen();
  }

  /** Answers with what the peer had not acknowledged. */
  private drop(peer: RemotePeer): Left[] {
    const { circle } = this;
    circle.seal();
    peer.close();
    this.delete(peer.number);
    circle.forgotten(peer);
    circle.down(peer);
    return peer.window.left();
  }

  /**
   * What was on the way is lost: both sides begin with each other as if they had not met. Of what would come back that does which
   * the peer will not handle: all, where the peer has begun `its` generation, for it said how far it was; else what is not in its inbox.
   */
  anew(peer: RemotePeer, why: string, its?: number): void {
    const { circle } = this;
    circle.seal();
    circle.gap(peer);
    const { left, frames } = peer.anew(its ?? peer.window.generation + 1);
    circle.down(peer);
    const lost = frames - this.giveBack(peer, left, its !== undefined, true);
    peer.lost(lost);
    this.log.warn({ peer: peer.number, frames: lost }, `frames to a worker were lost: ${why}`);
    circle.up(peer);
  }

  /** Answers with how many frames came back; `landed`: also what was in the peer's inbox. */
  private giveBack({ number }: RemotePeer, left: readonly Left[], landed: boolean, lives: boolean): number {
    const { circle } = this;
    let count = 0;
    for (const one of left) {
      if (one.landed && !landed) continue;
      eachFrame(one.frames, (kind, body) => {
        if (!circle.returns(kind)) return;
        count++;
        circle.returned(number, kind, body, lives);
      });
    }
    return count;
  }
}
