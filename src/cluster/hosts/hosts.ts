import type { Logger } from 'pino';
import type { Config } from '../../config/config.js';
import type { Redis } from '../../redis/redis.js';
import type { Bus } from '../bus.js';
import type { Membership } from '../member.js';

/** The workers of all hosts on one Redis, as one of them sees it. */
export interface Hosts {
  /** To all workers of all hosts: the pool's own bus for those of this host, inboxes in Redis for the others. */
  readonly bus: Bus;
  /** Of this worker: taken anew, and higher, each time that it registers. */
  readonly epoch: number;
  /**
   * Registers and meets everybody; resolves when all that were there before know this worker and are known to it. Call
   * it instead of the pool's `connect()`, when all listeners are set.
   *
   * @throws RedisUnavailable
   */
  connect(): Promise<void>;
  /** Every live worker of the cluster as last read, this one included. */
  members(): readonly Member[];
  /** Whether that incarnation lives, as far as is known here. */
  lives(worker: number, epoch: number): boolean;
  /**
   * This worker had lost its lease, others may have removed what it had in Redis, and it is registered again under a new epoch: what
   * is its own has to be written again. Its bus does not go on before all have done so.
   */
  onRenewed(fn: () => Promise<void>): void;
  /** Removes what a dead worker left; done at exactly one worker of the cluster for each death, and again elsewhere if that one dies over it. */
  onDeparted(fn: (worker: number, epoch: number) => Promise<void>): void;
  /** Asked when the lease is given back: whether nothing of this worker is left in Redis, for others to remove as if it had died. */
  onLeave(fn: () => boolean): void;
  /** Changes what the others see of this worker. */
  announce(change: Partial<Pick<Member, 'advertise' | 'draining'>>): Promise<void>;
  /** Gives the lease back, after the drain: others learn at once. */
  leave(): Promise<void>;
  status(): HostsStatus;
}

/** One worker of the cluster. */
export interface Member {
  /** On the bus; unique over all hosts, and never used again. */
  number: number;
  epoch: number;
  /** Name of its host. */
  host: string;
  /** Where clients reach that host, as host:port; empty when it does not say. */
  advertise: string;
  /** The pool that it belongs to; a host may have several. */
  pool: string;
  /** Place in its pool, from 0. */
  slot: number;
  pid: number;
  version: string;
  /** Milliseconds since 1970. */
  started: number;
  draining: boolean;
}

/** How this worker stands in the cluster. */
export interface HostsStatus {
  epoch: number;
  /** Milliseconds since its lease was last renewed. */
  leaseAge: number;
  /** How long it holds. */
  leaseSeconds: number;
  /** How the way to each worker of another host stands. */
  peers: PeerStatus[];
}

export interface PeerStatus {
  number: number;
  up: boolean;
  /** Bytes sent that it has not acknowledged. */
  bytes: number;
  /** Batches among them, and how many milliseconds ago the oldest was made. */
  batches: number;
  age: number;
}

export interface HostsOptions {
  pool: Membership;
  redis: Redis;
  cluster: Config['cluster'];
  /** Name of this host. */
  host: string;
  info: { version: string };
  /** High water of what may wait for one worker. */
  backlogBytes: number;
  /** How long barriers wait for other hosts from when Redis went away: `redis.patience_seconds`. */
  patienceMs: number;
  log: Logger;
}

/** Listens, and registers nothing yet: that is {@link Hosts.connect}. */
export type JoinHosts = (options: HostsOptions) => Promise<Hosts>;
