import type { Fault } from './peer.js';

/**
 * The pool's own questions (ask) and news (tell) between supervisor and worker. Names without the prefix belong to those who
 * use the pool.
 */
export const POOL = {
  /** Worker asks: who am I? Answer: {@link Welcome}. */
  join: 'pool.join',
  /** Worker asks: my socket listens, whom shall I meet? Answer: {@link PeerPlace}[]. */
  connect: 'pool.connect',
  /** Worker tells: I serve; body: what it wants known. */
  ready: 'pool.ready',
  /** Worker tells: I cannot start, or I am about to die; body: {@link Failure}. */
  failed: 'pool.failed',
  /** Worker tells: something failed that I survive; body: {@link Failure}. */
  trouble: 'pool.trouble',
  /** Worker tells: I was told to end by itself (SIGTERM): drain me, start another. */
  recycle: 'pool.recycle',
  /** Worker tells: a peer had to be given up; body: {@link Accusation}. */
  fault: 'pool.fault',
  /** Supervisor tells: a new worker listens; body: {@link PeerPlace}. */
  peer: 'pool.peer',
  /** Supervisor tells: the process of a worker has ended; body: its number. */
  gone: 'pool.gone',
  /** Supervisor asks one worker: clean up after a dead one; body: its number. */
  departed: 'pool.departed',
  /** Supervisor asks: are you there? */
  ping: 'pool.ping',
  /** Supervisor asks: close; body: whether the whole pool does. */
  drain: 'pool.drain',
  reload: 'pool.reload',
  /** Supervisor tells: all have drained; end. */
  exit: 'pool.exit',
} as const;

export interface Welcome {
  /** Which pool this is, among those of all hosts. */
  pool: string;
  number: number;
  slot: number;
  /** Workers in the pool when it is whole. */
  workers: number;
  settings: unknown;
  socket: string;
  backlogBytes: number;
  graceSeconds: number;
}

export interface PeerPlace {
  number: number;
  socket: string;
}

export interface Failure {
  message: string;
  stack?: string;
}

export interface Accusation {
  number: number;
  fault: Fault;
}
