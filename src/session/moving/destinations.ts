import { CHANNEL, type Bus } from '../../cluster/bus.js';

/** Which workers the sessions of one that closes may go to, in turns. */
export class Destinations {
  /** Workers that close, too. */
  private readonly closing = new Set<number>();
  private left: 'not' | 'alone' | 'whole' = 'not';
  private turn = 0;

  constructor(
    private readonly bus: Bus,
    private readonly sameHost: (worker: number) => boolean,
  ) {
    bus.listen(CHANNEL.leaving, (from) => void this.closing.add(from));
    bus.onPeerUp((peer) => {
      if (this.left !== 'not') bus.send(peer, CHANNEL.leaving);
    });
    bus.onPeerDown((peer) => this.closing.delete(peer));
  }

  /** This worker closes, with all of its host or alone; the others learn that nothing shall come here. */
  leave(whole: boolean): void {
    this.left = whole ? 'whole' : 'alone';
    this.bus.broadcast(CHANNEL.leaving);
  }

  /** Workers that stay, of this host where it does: nothing has to go by Redis then. */
  private candidates(): number[] {
    const staying = [...this.bus.peers].filter((peer) => this.stays(peer)).sort((a, b) => a - b);
    const near = staying.filter((peer) => this.sameHost(peer));
    return near.length > 0 ? near : staying;
  }

  /** That worker does not close. */
  stays(worker: number): boolean {
    return !this.closing.has(worker) && !(this.left === 'whole' && this.sameHost(worker));
  }

  get any(): boolean {
    return this.candidates().length > 0;
  }

  /** The one that the next session shall go to; undefined when there is none. */
  next(): number | undefined {
    const candidates = this.candidates();
    return candidates[this.turn++ % candidates.length];
  }
}
