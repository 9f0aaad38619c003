import { FLAG, type Envelope } from './envelope.js';

/** What to do with a batch: take it, leave it (a repeat), have what is missing sent again, or meet anew first and then look again. */
export type Verdict = 'take' | 'repeat' | 'gap' | 'anew';

/** The order of what comes from one peer. */
export class Sequence {
  generation = 0;
  /** The last batch that was taken. */
  seq = 0;
  /** Taken since the peer was last told. */
  batches = 0;
  bytes = 0;
  private parts: Buffer[] = [];
  /** The batch for which the peer was asked, and the last one that came in spite of it. */
  private missing = 0;
  private ahead = 0;

  /**
   * `own`: the generation of what we send. Both sides are to be in the same: whoever is behind begins anew in the other's, and what
   * comes from one that has not done so yet is of no use.
   */
  judge(envelope: Envelope, own: number): Verdict {
    const { generation } = envelope;
    if (generation < own) return 'repeat';
    if (generation > this.generation) {
      if (envelope.seq !== 1) return this.gap(0, envelope.seq);
      if (generation > own) return 'anew';
      this.generation = generation;
      this.seq = this.missing = 0;
      this.parts = [];
    }
    if (envelope.seq <= this.seq) {
      // Its acknowledgement was lost, perhaps.
      this.batches++;
      return 'repeat';
    }
    if (envelope.seq > this.seq + 1) return this.gap(this.seq + 1, envelope.seq);
    this.seq = envelope.seq;
    this.batches++;
    return 'take';
  }

  /** Each gap is told once, and again when it is still there in what was sent again. */
  private gap(missing: number, seq: number): Verdict {
    const told = this.missing === missing + 1 && seq > this.ahead;
    this.missing = missing + 1;
    this.ahead = seq;
    return told ? 'repeat' : 'gap';
  }

  /** The pieces of whole frames that a batch brings. */
  whole(flags: number, pieces: readonly Buffer[]): readonly Buffer[] {
    if ((flags & FLAG.part) === 0) return pieces;
    for (const piece of pieces) this.parts.push(Buffer.from(piece));
    if ((flags & FLAG.last) === 0) return [];
    const whole = Buffer.concat(this.parts);
    this.parts = [];
    return [whole];
  }

  /** The peer is told now how far we are. */
  told(): void {
    this.batches = this.bytes = 0;
  }
}
