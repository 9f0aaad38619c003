import { setTimeout as pause } from 'node:timers/promises';
import { clusterCounters } from '../../metrics/cluster.js';
import type { BlockingRedis, Redis, Script } from '../../redis/redis.js';

/** How long a read waits for something to come, in milliseconds. */
const BLOCK_MS = 2_000;
const READ_BATCHES = 128;
/** What was read is removed after so many milliseconds or bytes. */
const TRIM_MS = 250;
const TRIM_BYTES = 8 * 1024 * 1024;
/** Before a broken connection is tried again. */
const PAUSE_MS = 50;

/** lifetime (milliseconds) → the last id ever given. Makes the stream when it is not there. */
const KEEP: Script = {
  name: 'inbox-keep',
  source: `
    if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], 'MAXLEN', 0, '*', '', '') end
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do if info[i] == 'last-generated-id' then return info[i + 1] end end`,
};

type Entry = [id: Buffer, fields: Buffer[] | null];

export interface InboxOptions {
  redis: Redis;
  key: string;
  /** So long it outlives its owner, if nobody removes it before. */
  lifetimeMs: number;
  /** Whether this worker's lease holds for sure; else what is in the inbox may be somebody else's to see to by now. */
  current(): boolean;
  /** Looks whether it does. */
  renew(): Promise<void>;
  /** Handles a batch: envelope, piece, nothing, piece... */
  handle: (fields: Buffer[]) => void | Promise<void>;
  /** All that was there was handled. */
  rested: () => void;
  failed: (error: unknown) => void;
}

/** The stream in Redis where others put what is for this worker. Only its owner makes it. */
export class Inbox {
  private readonly blocking: BlockingRedis;
  private last = '0-0';
  private closed = false;
  private readBytes = 0;
  private trimmed = performance.now();
  private reading: Promise<void> = Promise.resolve();

  constructor(private readonly options: InboxOptions) {
    this.blocking = options.redis.blocking(options.key);
  }

  /**
   * Makes it where it is not, and prolongs its life. After a failover its ids may begin below what was read: then it is read from
   * its beginning.
   *
   * @throws RedisUnavailable
   */
  async keep(): Promise<void> {
    const before = this.last;
    const { redis, key, lifetimeMs } = this.options;
    const given = String(await redis.run(KEEP, [key], [lifetimeMs]));
    if (older(given, before)) this.last = '0-0';
  }

  /** Reads from now on. */
  start(): void {
    this.reading = this.read();
  }

  private async read(): Promise<void> {
    while (!this.closed) {
      try {
        const streams = ['COUNT', READ_BATCHES, 'BLOCK', BLOCK_MS, 'STREAMS', this.options.key, this.last];
        const reply = (await this.blocking.call('XREAD', streams)) as [[Buffer, Entry[]]] | null;
        if (reply !== null) await this.take(reply[0][1]);
        this.trim();
      } catch {
        if (this.closed) return;
        await pause(PAUSE_MS);
        // Whether it is still the same stream is seen before anything is read.
        if (!this.closed) await this.keep().catch(() => undefined);
      }
    }
  }

  private async take(entries: Entry[]): Promise<void> {
    const { current, renew } = this.options;
    for (let first = true; !this.closed && !current(); first = false) {
      if (!first) await pause(PAUSE_MS);
      await renew();
    }
    if (this.closed) return;
    this.last = entries[entries.length - 1]![0].toString('latin1');
    for (let i = 0; i < entries.length && !this.closed; i++) {
      const fields = entries[i]![1];
      if (fields === null) continue;
      clusterCounters.batchesIn++;
      // The envelope counts, too: a batch may carry nothing but it.
      for (const field of fields) this.readBytes += field.length;
      try {
        const handled = this.options.handle(fields);
        if (handled !== undefined) await handled;
      } catch (error) {
        this.options.failed(error);
      }
    }
    if (!this.closed) this.options.rested();
  }

  private trim(): void {
    if (this.readBytes === 0) return;
    const now = performance.now();
    if (now - this.trimmed < TRIM_MS && this.readBytes < TRIM_BYTES) return;
    this.trimmed = now;
    this.readBytes = 0;
    const [time, count] = numbers(this.last);
    this.options.redis.call('XTRIM', [this.options.key, 'MINID', `${time}-${count + 1}`]).catch(() => undefined);
  }

  /** Nothing is handled any more. */
  close(): void {
    this.closed = true;
    this.blocking.close();
  }

  async remove(): Promise<void> {
    this.close();
    await this.reading;
    await this.options.redis.call('UNLINK', [this.options.key]);
  }
}

/** Whether the id was given before the other one. */
function older(id: string, than: string): boolean {
  const [time, count] = numbers(id);
  const [otherTime, otherCount] = numbers(than);
  return time < otherTime || (time === otherTime && count < otherCount);
}

/** Time and count of an id. */
function numbers(id: string): [number, number] {
  return id.split('-').map(Number) as [number, number];
}
