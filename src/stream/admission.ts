import type { Config } from '../config/config.js';
import { count, counters } from '../metrics/counters.js';
import { admissionWait } from '../metrics/histogram.js';
import { Chain, Link } from './chain.js';
import { source } from './source.js';

/** So many at most are let in before others of the worker have had their turn: a handshake with TLS costs up to a millisecond. */
const SLICE = 16;
/** How often those who wait are looked after while there are no tokens for them, in milliseconds. */
const PACE_MS = 5;

/** One who may have to wait: exactly one of these is called, once, unless it leaves before. */
export interface Guest {
  admitted(): void;
  /** The listener closes. */
  refused(): void;
}

/** A place in the queue. */
export class Place extends Link<Place> {
  constructor(
    readonly guest: Guest,
    /** Undefined once it is over. */
    public line: Line | undefined,
    readonly since: number,
  ) {
    super();
  }

  get waits(): boolean {
    return this.line !== undefined;
  }
}

/** Those of one address, in the order in which they came. */
class Line extends Link<Line> {
  readonly places = new Chain<Place>();

  constructor(readonly address: string) {
    super();
  }
}

/**
 * How fast one listener lets clients in (`admission`): a token bucket, and a queue for those who come faster, in which addresses
 * take turns. Costs a comparison and two decrements for each as long as nobody has to wait, and nothing while nobody comes.
 */
export class Admission {
  private tokens: number;
  private filled: number;
  private slice = SLICE;
  private scheduled = false;
  private waiting = 0;
  private readonly lines = new Map<string, Line>();
  /** Whose turn it is stands first. */
  private readonly turns = new Chain<Line>();

  constructor(
    private readonly config: Config['admission'],
    /** Milliseconds. */
    private readonly now: () => number = () => performance.now(),
  ) {
    this.tokens = config.burst;
    this.filled = now();
  }

  /** Takes a token, and says whether there was one: whoever gets none has to wait. */
  take(): boolean {
    if (this.waiting > 0 || this.slice === 0) return false;
    if (this.tokens < 1) {
      this.tokens = Math.min(this.config.burst, this.tokens + this.earned());
      if (this.tokens < 1) return false;
    }
    this.use();
    if (this.slice === 0) this.schedule();
    return true;
  }

  /** A place in the queue; undefined where it is full. */
  wait(address: string, guest: Guest): Place | undefined {
    if (this.waiting >= this.config.queue) {
      count(counters.drops, 'admission_queue');
      return undefined;
    }
    const from = source(address);
    let line = this.lines.get(from);
    if (line === undefined) {
      line = new Line(from);
      this.lines.set(from, line);
      this.turns.push(line);
    }
    const place = new Place(guest, line, this.now());
    line.places.push(place);
    this.waiting++;
    counters.admissionWaiting++;
    this.schedule();
    return place;
  }

  /** Gives the place up. */
  leave(place: Place): void {
    if (place.line === undefined) return;
    this.remove(place, place.line);
    count(counters.drops, 'admission_left');
  }

  /** Seconds until whoever comes now would be let in, about. */
  get delay(): number {
    return Math.ceil((this.waiting + 1) / this.config.connections_per_second);
  }

  /** Refuses all who wait. */
  close(): void {
    for (let line = this.turns.first; line !== undefined; line = this.turns.first) {
      const place = line.places.first!;
      this.remove(place, line);
      place.guest.refused();
    }
  }

  private use(): void {
    this.tokens--;
    this.slice--;
    counters.admitted++;
  }

  private earned(): number {
    const now = this.now();
    const earned = ((now - this.filled) * this.config.connections_per_second) / 1000;
    this.filled = now;
    return earned;
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    const turn = () => this.turn();
    if (this.tokens >= 1) setImmediate(turn);
    else {
      const due = ((1 - this.tokens) * 1000) / this.config.connections_per_second;
      setTimeout(turn, Math.max(PACE_MS, Math.ceil(due)));
    }
  }

  private turn(): void {
    this.scheduled = false;
    this.slice = SLICE;
    if (this.waiting === 0) return;
    // Not bounded by the burst: what came together since the last turn is for those who waited for it.
    this.tokens += this.earned();
    while (this.tokens >= 1 && this.slice > 0 && this.turns.first !== undefined) this.next(this.turns.first);
    if (this.waiting > 0 || this.slice === 0) this.schedule();
  }

  private next(line: Line): void {
    const place = line.places.first!;
    this.remove(place, line);
    // Its address is the last again to have a turn, if there are more of it.
    if (line.places.first !== undefined) {
      this.turns.remove(line);
      this.turns.push(line);
    }
    this.use();
    admissionWait.observe((this.now() - place.since) / 1000);
    place.guest.admitted();
  }

  private remove(place: Place, line: Line): void {
    place.line = undefined;
    line.places.remove(place);
    this.waiting--;
    counters.admissionWaiting--;
    if (line.places.first !== undefined) return;
    this.turns.remove(line);
    this.lines.delete(line.address);
  }
}
