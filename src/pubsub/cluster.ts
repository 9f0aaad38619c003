import type { Logger } from 'pino';
import { type Bus, CHANNEL, PeerGone, SIBLING_MS } from '../cluster/bus.js';
import { CHANGE, FrameReader, INTEREST, listFrames, nameBytes } from './frames.js';

/** What this worker does when another one tells it something. */
export interface Hearer {
  interest(worker: number, gained: boolean, name: string): void;
  workerGone(worker: number): void;
  /** Names of the nodes that have recipients here, for a new peer. */
  interesting(): string[];
  notification(frame: Buffer): void;
  nodeChanged(name: string, gone: boolean): void | Promise<void>;
  /** Resolves when this worker's sessions go by what the store says, and all other workers know. */
  subscriptionChanged(name: string, jid: string): void | Promise<void>;
  direct(reader: FrameReader): void;
  lastItems(names: string[]): Buffer;
  /** Resolves when what was accepted here for these nodes has left. */
  departed(names: string[]): Promise<void>;
  /** The node's record as it is known here; empty where it is not. */
  facts(name: string): Buffer;
}

const DONE = Buffer.alloc(0);

/** The pub-sub service's talk between the workers. With one worker there is nobody to talk to, and all is free. */
export class Cluster {
  private waiting: (() => void)[] = [];

  constructor(
    private readonly bus: Bus,
    private readonly log: Logger,
  ) {
    bus.onCongestion((congested) => {
      if (congested) return;
      const { waiting } = this;
      this.waiting = [];
      for (const go of waiting) go();
    });
  }

  listen(hearer: Hearer): void {
    const { bus } = this;
    bus.listen(CHANNEL.notify, (_from, body) => hearer.notification(body), true);
    bus.listen(CHANNEL.interest, (from, body) => {
      const reader = new FrameReader(body);
      const gained = reader.byte() === INTEREST.gained;
      while (reader.more) hearer.interest(from, gained, reader.name());
    });
    bus.listen(CHANNEL.node, (_from, body) => this.heard(hearer, new FrameReader(body)));
    bus.onPeerDown((peer) => hearer.workerGone(peer));
    bus.onPeerUp((peer) => {
      for (const frame of listFrames(INTEREST.gained, hearer.interesting())) bus.send(peer, CHANNEL.interest, frame);
    });
  }

  private heard(hearer: Hearer, reader: FrameReader): void | Buffer | Promise<Buffer> {
    switch (reader.byte()) {
      case CHANGE.node:
        return after(hearer.nodeChanged(reader.name(), false));
      case CHANGE.gone:
        return after(hearer.nodeChanged(reader.name(), true));
      case CHANGE.subscription:
        return after(hearer.subscriptionChanged(reader.name(), reader.name()));
      case CHANGE.direct:
        return hearer.direct(reader);
      case CHANGE.last:
        return hearer.lastItems(reader.names());
      case CHANGE.departed:
        return after(hearer.departed(reader.names()));
      case CHANGE.facts:
        return hearer.facts(reader.name());
      default:
        return undefined;
    }
  }

  announceInterest(gained: readonly string[], lost: readonly string[]): void {
    if (this.bus.peers.size === 0) return;
    for (const frame of listFrames(INTEREST.lost, lost)) this.bus.broadcast(CHANNEL.interest, frame);
    for (const frame of listFrames(INTEREST.gained, gained)) this.bus.broadcast(CHANNEL.interest, frame);
  }

  /** Resolves when every other worker has dropped what it knew of the node, and heard all that was sent to it before. */
  nodeChanged(name: string, gone: boolean): Promise<void> {
    return this.tell([gone ? CHANGE.gone : CHANGE.node], name);
  }

  /** Resolves when every worker's sessions go by the changed subscription. */
  subscriptionChanged(name: string, jid: string): Promise<void> {
    return this.tell([CHANGE.subscription], name, jid);
  }

  private async tell(first: number[], ...names: string[]): Promise<void> {
    await this.ask(Buffer.concat([Buffer.from(first), nameBytes(...names)]));
  }

  /** Every other worker's last items of these nodes. */
  lastItems(names: readonly string[]): Promise<Buffer[]> {
    return Promise.all([...listFrames(CHANGE.last, names)].map((frame) => this.ask(frame))).then((lists) =>
      lists.flat(),
    );
  }

  /** Resolves when what other workers had accepted for these nodes is kept or refused, and its notifications are here. */
  async departed(names: readonly string[]): Promise<void> {
    await Promise.all([...listFrames(CHANGE.departed, names)].map((frame) => this.ask(frame)));
  }

  /** What the other workers of this host know of the node: see {@link Hearer.facts}. */
  facts(name: string): Promise<Buffer[]> {
    return this.ask(Buffer.concat([Buffer.from([CHANGE.facts]), nameBytes(name)]), this.bus.siblings, SIBLING_MS);
  }

  /** The answers of all those workers that live to give one. */
  private async ask(frame: Buffer, peers = this.bus.peers, timeoutMs?: number): Promise<Buffer[]> {
    const asked = [...peers].map(async (peer) => {
      try {
        return await this.bus.request(peer, CHANNEL.node, frame, timeoutMs);
      } catch (error) {
        if (!(error instanceof PeerGone)) throw error;
        this.log.warn({ peer }, 'a worker did not answer for the pub-sub service');
        return undefined;
      }
    });
    return (await Promise.all(asked)).filter((answer) => answer !== undefined);
  }

  /** Resolves when every other worker has handled what was sent to it before. */
  barrier(): Promise<void> | undefined {
    return this.bus.peers.size === 0 ? undefined : this.bus.barrier();
  }

  /** A worker cannot keep up with what is sent to it: publishers have to wait. */
  get congested(): boolean {
    return this.bus.congested;
  }

  /** Resolves when the slowest worker has caught up. */
  uncongested(): Promise<void> | undefined {
    if (!this.bus.congested) return undefined;
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

function after(done: void | Promise<void>): Buffer | Promise<Buffer> {
  return done === undefined ? DONE : done.then(() => DONE);
}
