import type { Directory, Entries } from '../cluster/directory.js';

/** So many stanzas of nobody's stream may wait for look-ups: those of a stream wait in it. */
const WAITING_MAX = 10_000;

/**
 * Sessions of bare JIDs at other workers, in the order in which they were asked for: while a look-up is under way, whoever asks for the same
 * JID waits behind it. Where nothing has to be waited for it costs nothing.
 */
export class Lookups {
  /** By bare JID: the last that waits. */
  private readonly tails = new Map<string, Promise<Entries>>();
  private waiting = 0;

  constructor(private readonly directory: Directory) {}

  /** Who gets a promise has to attach what it will do at once, to be in turn. */
  of(bare: string): Entries | Promise<Entries> {
    const tail = this.tails.size === 0 ? undefined : this.tails.get(bare);
    if (tail !== undefined)
      return this.queue(
        bare,
        tail.then(() => this.directory.remote(bare)),
      );
    const entries = this.directory.remote(bare);
    return entries instanceof Promise ? this.queue(bare, entries) : entries;
  }

  /** Is nobody waiting for that JID? */
  idle(bare: string): boolean {
    return this.tails.size === 0 || !this.tails.has(bare);
  }

  /** Nothing waits for any JID. */
  get none(): boolean {
    return this.tails.size === 0;
  }

  /** There is no room for what need not wait for its own stream. */
  full(bare: string): boolean {
    return this.waiting >= WAITING_MAX && !this.idle(bare);
  }

  private queue(bare: string, entries: Promise<Entries>): Promise<Entries> {
    this.waiting++;
    this.tails.set(bare, entries);
    // This runs directly before what the asker attaches: nobody comes between.
    void entries.then(() => {
      this.waiting--;
      if (this.tails.get(bare) === entries) this.tails.delete(bare);
    });
    return entries;
  }
}
