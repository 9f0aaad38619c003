import type { Intake } from './intake.js';
import type { Link } from './link.js';
import { Unconfirmed } from './unconfirmed.js';

/** Why a peer was given up: it took nothing for too long, its connection broke, or it sent what is no frame. */
export type Fault = 'stuck' | 'lost' | 'garbled';

/** One other worker, as the bus knows it. It is up once both ways stand. */
export class Peer {
  link: Link | undefined;
  intake: Intake | undefined;
  up = false;
  readonly unconfirmed = new Unconfirmed();
  /** Settled when the peer is up (true) or given up (false). */
  readonly met: Promise<boolean>;
  settle: (up: boolean) => void = () => undefined;
  /** Barriers that the peer has not answered. */
  owed = 0;
  answered = 0;
  /** Checks in a row in which the peer owed something and nothing moved. */
  private still = 0;
  private seen = 0;
  /** Ends the wait for the peer to rise, or for the last of what it sent. */
  timer: NodeJS.Timeout | undefined;

  constructor(readonly number: number) {
    this.met = new Promise((resolve) => (this.settle = resolve));
  }

  get expecting(): boolean {
    return this.owed > 0 || this.link?.blocked === true;
  }

  /** Checks in a row without progress while something was expected; counted, so that a sleep of the host is one. */
  check(): number {
    const progress = this.answered + (this.link?.progress ?? 0);
    this.still = this.expecting && progress === this.seen ? this.still + 1 : 0;
    this.seen = progress;
    return this.still;
  }

  close(): void {
    clearTimeout(this.timer);
    this.link?.close();
    this.intake?.close();
    this.settle(false);
  }
}
