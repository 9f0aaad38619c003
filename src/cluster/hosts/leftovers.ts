import { setTimeout as pause } from 'node:timers/promises';
import type { Redis } from '../../redis/redis.js';
import { eachFrame } from '../frames.js';
import { type Envelope, FLAG, readEnvelope } from './envelope.js';
import { inboxKey } from './keys.js';
import { Sequence } from './sequence.js';

/** Batches that are read at a time. */
const PAGE = 32;
/** How often is looked for what is waited for, in milliseconds. */
const LOOK_MS = 500;

export interface LeftoverOptions {
  redis: Redis;
  /** This worker. */
  self: number;
  /** How long the living may take to say that they have seen to what was theirs. */
  patienceMs: number;
  /** Whether that incarnation lives, as far as is known. */
  lives(worker: number, epoch: number): boolean;
  /** A frame for the dead worker that nobody else sees to. */
  returned(dead: number, kind: number, body: Buffer): void;
}

type Entry = [id: Buffer, fields: Buffer[]];

/**
 * What lies in the inbox of a dead worker. Senders that live know how far it had got, see to what it had not confirmed themselves,
 * in their order, and say so there. What comes from senders that are dead, too, is seen to here: all that the owner had not removed, which
 * it does for what it has handled a few times a second. So nothing of it is lost, and what it handled last may be seen to twice.
 */
export class Leftovers {
  constructor(private readonly options: LeftoverOptions) {}

  async seeTo(dead: number, epoch: number): Promise<void> {
    const key = inboxKey(this.options.redis, dead, epoch);
    const orphans = await this.orphans(key);
    if (orphans.size === 0) return;
    const senders = new Map<string, Sender>();
    for await (const { envelope, fields } of this.read(key, '-')) {
      const name = nameOf(envelope);
      if (!orphans.has(name) || envelope.seq === 0) continue;
      let sender = senders.get(name);
      if (!sender) senders.set(name, (sender = new Sender()));
      for (const piece of sender.next(envelope, fields)) {
        eachFrame(piece, (kind, body) => this.options.returned(dead, kind, body));
      }
    }
  }

  /** Senders of what lies there who are dead, and had not seen to it. */
  private async orphans(key: string): Promise<Set<string>> {
    const { self, lives, patienceMs } = this.options;
    const there = new Map<string, Envelope>();
    const seen = new Set<string>();
    const deadline = performance.now() + patienceMs;
    let from = '-';
    for (;;) {
      for await (const { id, envelope } of this.read(key, from)) {
        from = `(${id}`;
        if ((envelope.flags & FLAG.seen) !== 0) seen.add(nameOf(envelope));
        else if (envelope.seq > 0 && envelope.sender !== self) there.set(nameOf(envelope), envelope);
      }
      for (const name of seen) there.delete(name);
      const living = [...there.values()].filter(({ sender, epoch }) => lives(sender, epoch));
      // Perhaps they live no longer, and nobody knows yet.
      if (living.length > 0 && performance.now() < deadline) {
        await pause(LOOK_MS);
        continue;
      }
      for (const one of living) there.delete(nameOf(one));
      return new Set(there.keys());
    }
  }

  private async *read(key: string, from: string): AsyncGenerator<{ id: string; envelope: Envelope; fields: Buffer[] }> {
    for (;;) {
      const page = (await this.options.redis.call('XRANGE', [key, from, '+', 'COUNT', PAGE])) as Entry[];
      for (const [bytes, fields] of page) {
        const id = bytes.toString('latin1');
        const envelope = readEnvelope(fields[0]!);
        from = `(${id}`;
        if (envelope !== undefined) yield { id, envelope, fields };
      }
      if (page.length < PAGE) return;
    }
  }
}

/** What one sender had put there: in order, each batch once. The first that is left may be any. */
class Sender {
  private readonly sequence = new Sequence();

  next(envelope: Envelope, fields: readonly Buffer[]): readonly Buffer[] {
    const { sequence } = this;
    const { generation, seq, flags } = envelope;
    if (generation < sequence.generation || (generation === sequence.generation && seq <= sequence.seq)) return [];
    sequence.generation = generation;
    sequence.seq = seq;
    return sequence.whole(
      flags,
      fields.filter((_, i) => i % 2 === 1),
    );
  }
}

function nameOf({ sender, epoch }: Envelope): string {
  return `${sender}:${epoch}`;
}
