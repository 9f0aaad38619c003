import { CHANNEL, type Bus } from '../../cluster/bus.js';

/** What is known of a worker of the cluster. */
export interface Place {
  number: number;
  /** Which pool it is of: a host's, whatever that is called. */
  pool: string;
  /** Where clients reach that host, as host:port; empty when it does not say. */
  advertise: string;
  draining: boolean;
}

/** Where the sessions of a worker that closes may go, and where their clients: in turns to those that stay. */
export class Destinations {
  /** Workers that close, too. */
  private readonly closing = new Set<number>();
  private left: 'not' | 'alone' | 'whole' = 'not';
  private sessions = 0;
  private clients = 0;
  /** The list that was seen last, and its places by number. */
  private listed: readonly Place[] = [];
  private byNumber = new Map<number, Place>();

  constructor(
    private readonly bus: Bus,
    /** Every worker of the cluster, this one included; none where the pool is alone. */
    private readonly places: () => readonly Place[],
    /** There is no way to other hosts, nor will there be. */
    readonly apart: () => boolean = () => false,
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

  /** That worker is of this host, as far as is known. */
  sameHost = (worker: number): boolean => {
    const pool = this.place(worker)?.pool;
    return pool === undefined || pool === this.place(this.bus.self)?.pool;
  };

  /** That worker does not close. */
  stays(worker: number): boolean {
    if (this.closing.has(worker) || this.place(worker)?.draining === true) return false;
    return this.left !== 'whole' || !this.sameHost(worker);
  }

  get any(): boolean {
    return this.candidates().length > 0;
  }

  /** The worker that the next session shall go to; undefined when there is none. */
  next(): number | undefined {
    const candidates = this.candidates();
    return candidates[this.sessions++ % candidates.length];
  }

  /** Where the next client shall go, as host:port; undefined when this host stays, or no other says where it is. */
  refuge(): string | undefined {
    if (this.left !== 'whole') return undefined;
    const addresses = new Set<string>();
    for (const { number, advertise } of this.places()) {
      if (advertise !== '' && this.bus.peers.has(number) && this.stays(number)) addresses.add(advertise);
    }
    return [...addresses].sort()[this.clients++ % addresses.size];
  }

  /** Workers that stay, of this host where it does: nothing has to go by Redis then. */
  private candidates(): number[] {
    const staying = [...this.bus.peers].filter((peer) => this.stays(peer)).sort((a, b) => a - b);
    const near = staying.filter(this.sameHost);
    return near.length > 0 || this.apart() ? near : staying;
  }

  private place(worker: number): Place | undefined {
    const places = this.places();
    if (places !== this.listed) {
      this.listed = places;
      this.byNumber = new Map(places.map((place) => [place.number, place]));
    }
    return this.byNumber.get(worker);
  }
}
