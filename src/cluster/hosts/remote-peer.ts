import { count, counters } from '../../metrics/counters.js';
import { clusterCounters } from '../../metrics/cluster.js';
import { type Envelope, FLAG, writeEnvelope } from './envelope.js';
import type { Member, PeerStatus } from './hosts.js';
import { Sequence, type Verdict } from './sequence.js';
import { Window, type Left, type Sealed } from './window.js';

/** After that time without an acknowledgement, in milliseconds, the peer is asked how far it is; then after twice the time, and so on. */
const ASK_MS = 1_000;
const ASK_MOST_MS = 8_000;
/** What is taken is acknowledged at the latest after so many batches or bytes. */
const ACK_BATCHES = 64;
const ACK_BYTES = 256 * 1024;

/** How a peer reaches its bus. */
export interface Carrier {
  readonly self: number;
  readonly epoch: number;
  /** Puts a batch into the inbox; false when there is no such inbox. Rejects when it is not known whether it got there. */
  put(key: string, envelope: Buffer, pieces: readonly Buffer[]): Promise<boolean>;
}

/** One incarnation of a worker of another host: what is on the way to it, and how much came from it. */
export class RemotePeer {
  readonly window = new Window();
  readonly sequence = new Sequence();
  readonly number: number;
  readonly epoch: number;
  /** Parts of this tick's frames that are for it: pairs of start and end. */
  readonly ranges: number[] = [];
  rangeBytes = 0;
  rangeFrames = 0;
  /** A batch was sent, and Redis has not confirmed it; at most one is, which keeps the order. */
  private flying = false;
  /** It had no inbox when we looked last. */
  private absent = false;
  /** How often it was asked in vain how far it is, and the last batch that had been sent by then. */
  private asked = 0;
  private askedAt = 0;
  private quietSince = 0;
  /** When something came from it last. */
  heardAt = performance.now();
  private closed = false;
  /** Who waits for frames to be in the inbox, up to which. */
  private readonly inTransit: { last: number; done: () => void }[] = [];

  constructor(
    member: Member,
    private readonly key: string,
    private readonly carrier: Carrier,
  ) {
    this.number = member.number;
    this.epoch = member.epoch;
    this.window.begin(1);
  }

  /** A part of this tick's frames is for this peer. */
  range(start: number, end: number): void {
    const { ranges } = this;
    const { length } = ranges;
    if (length > 0 && ranges[length - 1] === start) ranges[length - 1] = end;
    else ranges.push(start, end);
    this.rangeBytes += end - start;
    this.rangeFrames++;
  }

  clearRanges(): void {
    this.ranges.length = 0;
    this.rangeBytes = this.rangeFrames = 0;
  }

  /** True when all that is queued is in the peer's inbox; else `done` is called once it is, or given up. */
  inInbox(done: () => void): boolean {
    if (!this.flying && !this.window.unsent) return true;
    this.inTransit.push({ last: this.window.queued, done });
    return false;
  }

  /** Nobody waits for the peer any more. */
  givenUp(): void {
    for (const { done } of this.inTransit.splice(0)) done();
  }

  private arrived({ seq, end }: Sealed, generation: number): void {
    const { inTransit, window } = this;
    if (generation === window.generation) window.landed = Math.max(window.landed, seq);
    while (inTransit.length > 0 && inTransit[0]!.last <= end) inTransit.shift()!.done();
  }

  /** Sends what may be sent. */
  pump(now: number): void {
    if (this.flying || this.absent || this.closed) return;
    const batch = this.window.next(now);
    if (batch === undefined) return;
    if (this.quietSince === 0) this.quietSince = now;
    this.flying = true;
    const { generation } = this.window;
    clusterCounters.batchesOut++;
    this.put(batch.flags, generation, batch.seq, batch.pieces).then(
      (there) => {
        this.flying = false;
        if (there) this.arrived(batch, generation);
        else this.missed(generation);
        this.pump(performance.now());
      },
      () => {
        // It may be there or not: the peer leaves what it has.
        this.flying = false;
        if (generation === this.window.generation) this.window.back();
        this.hold();
        // It was tried for as long as anybody waits.
        this.givenUp();
      },
    );
  }

  /** What waits is not sent by itself: the peer is asked in a moment. */
  private hold(): void {
    if (this.quietSince === 0 && this.window.unsent) this.quietSince = performance.now();
  }

  private missed(generation: number): void {
    this.absent = true;
    if (generation === this.window.generation) this.window.again();
    this.hold();
  }

  /** Outside the order, and lost if it is lost. */
  control(flags: number): Promise<boolean> {
    return this.put(flags, this.window.generation, 0, []).catch(() => false);
  }

  private put(flags: number, generation: number, seq: number, pieces: readonly Buffer[]): Promise<boolean> {
    const { self: sender, epoch } = this.carrier;
    const { generation: takenGeneration, seq: takenSeq } = this.sequence;
    this.sequence.told();
    const envelope = writeEnvelope({ flags, sender, epoch, generation, seq, takenGeneration, takenSeq });
    return this.carrier.put(this.key, envelope, pieces);
  }

  /** Something came from the peer: it is there, and says how far it is. */
  heard({ flags, takenGeneration, takenSeq }: Envelope): void {
    const { window } = this;
    this.absent = false;
    this.heardAt = performance.now();
    if (window.taken(takenGeneration, takenSeq)) {
      this.asked = 0;
      this.quietSince = window.batches === 0 ? 0 : performance.now();
    }
    if ((flags & FLAG.ask) !== 0) void this.control(FLAG.here);
    // What was sent after the question is still on its way.
    const lost = (flags & FLAG.here) !== 0 && (takenGeneration !== window.generation || takenSeq < this.askedAt);
    if (lost || (flags & FLAG.again) !== 0) clusterCounters.resent += window.again();
  }

  judge(envelope: Envelope): Verdict {
    return this.sequence.judge(envelope, this.window.generation);
  }

  /** Nothing follows; where the peer has taken everything, nobody has to see to what may still lie in its inbox. */
  farewell(): Promise<boolean> {
    return this.control(this.window.settled ? FLAG.bye | FLAG.seen : FLAG.bye);
  }

  /** Acknowledges what was taken, when it is much or it has to be at once. */
  acknowledge(atOnce: boolean): void {
    const { batches, bytes } = this.sequence;
    if (atOnce ? batches > 0 : batches >= ACK_BATCHES || bytes >= ACK_BYTES) void this.control(0);
  }

  /** Asks a peer that has been quiet for long, or at once, how far it is. */
  ask(now: number, atOnce: boolean): void {
    if (this.quietSince === 0) return;
    const patience = Math.min(ASK_MOST_MS, ASK_MS * 2 ** this.asked);
    if (!atOnce && now - this.quietSince < patience) return;
    this.asked++;
    this.askedAt = this.window.sent;
    this.quietSince = now;
    this.absent = false;
    void this.control(FLAG.ask);
    this.pump(now);
  }

  /** Begins that generation. Answers with what was not acknowledged, and how many frames that are. */
  anew(generation: number): { left: Left[]; frames: number } {
    // It will be there in a moment.
    if (this.flying) this.window.landed = this.window.sent;
    const left = this.window.left();
    const frames = this.window.begin(generation);
    this.quietSince = 0;
    return { left, frames };
  }

  /** So many frames to it are lost. */
  lost(frames: number): void {
    clusterCounters.gaps++;
    clusterCounters.framesLost += frames;
    count(counters.drops, 'bus_gap', frames);
  }

  /** It is dead: whoever sees to what lies in its inbox need not see to what this worker had put there. */
  seen(): void {
    void this.control(FLAG.seen);
  }

  close(): void {
    this.closed = true;
  }

  status(up: boolean, now: number): PeerStatus {
    const { bytes, batches, oldest } = this.window;
    return { number: this.number, up, bytes, batches, age: oldest === undefined ? 0 : now - oldest };
  }
}
