import type { Outbox } from './outbox.js';

/**
 * Writes every outbox that got something in this tick, once, after all input of the tick was handled. The kernel's
 * price is per write, so fewer writes are the whole point.
 */
class Flusher {
  private outboxes: Outbox[] = [];
  private spare: Outbox[] = [];
  private scheduled = false;
  private readonly run = () => this.flush();
  /** Times (performance.now) of the publishes of this tick, for the publish-to-write histogram. */
  private stamps: number[] = [];
  /** When the bytes being handled were read (performance.now). */
  receivedAt = 0;
  /** Told the seconds from publish to write, per publish. */
  observe: (seconds: number) => void = () => undefined;

  add(outbox: Outbox): void {
    this.outboxes.push(outbox);
    if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(this.run);
    }
  }

  /** Notes a publish whose bytes were read at `at` and whose notifications are in this tick's outboxes. */
  published(at: number): void {
    this.stamps.push(at);
  }

  /** Writes now. */
  flush(): void {
    this.scheduled = false;
    const batch = this.outboxes;
    this.outboxes = this.spare;
    this.spare = batch;
    for (let i = 0; i < batch.length; i++) batch[i]!.flush();
    batch.length = 0;
    if (this.stamps.length > 0) {
      const now = performance.now();
      for (let i = 0; i < this.stamps.length; i++) this.observe((now - this.stamps[i]!) / 1000);
      this.stamps.length = 0;
    }
  }
}

/** The worker's one flusher. */
export const flusher = new Flusher();
