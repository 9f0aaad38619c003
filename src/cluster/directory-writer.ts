import type { SessionEntry } from './directory.js';

/** A session of this worker. */
export interface Held {
  /** As it should be. */
  entry: SessionEntry;
  readonly shard: Shard;
  /** The row that Redis has as far as known; undefined before the first. */
  written: string | undefined;
  /** The row may be another's, or not be there: it has to be claimed. */
  reclaim: boolean;
  /** The session has ended: the row has to go. */
  gone: boolean;
  writing: boolean;
  /** It changed while it was being written. */
  again: boolean;
  waiting: (() => void)[] | undefined;
}

/** The sessions of this worker in one shard, by session id. */
export class Shard {
  readonly held = new Map<string, Held>();
  /** What could not be written; while there is any, the shard is tried by one of them at a time. */
  readonly failed = new Set<Held>();
  /** Under way. */
  writing = 0;
  /** Writes that ever began. */
  writes = 0;

  constructor(readonly index: number) {}

  /** Redis has what it should have, as far as is known. */
  get quiet(): boolean {
    return this.writing === 0 && this.failed.size === 0;
  }
}

/** More wait for their turn. */
const FLYING_MAX = 1_000;
const RETRY_MS = 1_000;

/**
 * Brings the rows of this worker's sessions up to date. Of each session the latest state is written, one write at a time; what cannot
 * be written while Redis is away is tried again until it is.
 */
export class DirectoryWriter {
  private readonly queue = new Set<Held>();
  private flying = 0;
  private timer: NodeJS.Timeout | undefined;
  private closed = false;
  private idle: (() => void) | undefined;

  constructor(
    private readonly shards: readonly Shard[],
    /** Writes the latest state once; throws when Redis is away. */
    private readonly write: (held: Held) => Promise<void>,
    /** It failed for the first time in this shard. */
    private readonly trouble: (error: unknown) => void,
  ) {}

  /** Resolves when the state is written, or could not be. */
  push(held: Held): Promise<undefined> {
    const done = new Promise<undefined>((resolve) => (held.waiting ??= []).push(() => resolve(undefined)));
    if (held.writing) held.again = true;
    else if (held.shard.failed.size > 0) {
      held.shard.failed.add(held);
      settle(held);
    } else {
      this.queue.add(held);
      this.pump();
    }
    return done;
  }

  /** A write that somebody does beside {@link push}, who waits for it. */
  begin(held: Held): void {
    held.writing = true;
    held.shard.writing++;
    held.shard.writes++;
  }

  end(held: Held): void {
    held.writing = false;
    held.shard.writing--;
    if (!held.again) return settle(held);
    held.again = false;
    void this.push(held);
  }

  /** Redis is there again. */
  resume(): void {
    for (const shard of this.shards) this.release(shard);
  }

  /** What is not written by now will not be: {@link close} waits no longer. */
  giveUp(): void {
    this.idle?.();
  }

  /** Resolves when all is written, or after a time. */
  async close(patienceMs: number): Promise<void> {
    if (!this.settled && !this.closed) {
      const timer = setTimeout(() => this.idle?.(), patienceMs);
      await new Promise<void>((resolve) => (this.idle = resolve));
      clearTimeout(timer);
    }
    this.closed = true;
    clearTimeout(this.timer);
  }

  private get settled(): boolean {
    return this.shards.every(({ quiet }) => quiet) && this.queue.size === 0;
  }

  private pump(): void {
    for (const held of this.queue) {
      if (this.flying >= FLYING_MAX || this.closed) return;
      this.queue.delete(held);
      if (held.writing) held.again = true;
      else void this.fly(held);
    }
  }

  private async fly(held: Held): Promise<void> {
    const { shard } = held;
    this.flying++;
    this.begin(held);
    try {
      await this.write(held);
      if (shard.failed.size > 0) this.release(shard);
    } catch (error) {
      if (shard.failed.size === 0) this.trouble(error);
      shard.failed.add(held);
      held.again = false;
      this.timer ??= setTimeout(() => this.retry(), RETRY_MS).unref();
    }
    this.flying--;
    this.end(held);
    this.pump();
    if (this.idle !== undefined && this.settled) this.idle();
  }

  /** One of each shard that is in trouble. */
  private retry(): void {
    this.timer = undefined;
    for (const { failed } of this.shards) {
      const [held] = failed;
      if (held === undefined) continue;
      failed.delete(held);
      this.queue.add(held);
    }
    this.pump();
  }

  private release({ failed }: Shard): void {
    for (const held of failed) this.queue.add(held);
    failed.clear();
    this.pump();
  }
}

function settle(held: Held): void {
  const { waiting } = held;
  held.waiting = undefined;
  if (waiting !== undefined) for (const resolve of waiting) resolve();
}
