import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { migrating, migrationKey } from '../redis/keyspace.js';
import { type Redis, RedisRefused, RedisUnavailable, type Script } from '../redis/redis.js';
import { MigrationRefused } from './checkpoint.js';

/** Whoever reads or fills a Redis renews its lock several times within that, in milliseconds; the lock of one that died ends then. */
const LOCK_MS = 12_000;
const RENEW_MS = LOCK_MS / 4;
/** How long to try to give it back, in milliseconds. */
const RELEASE_MS = 1_000;
/** How long to try to leave it in a Redis that is only read, in milliseconds. */
const READER_MS = 3_000;
/** How often a lock is looked at that somebody else has, or had when it died. */
const LOOK_MS = 250;

/** `ARGV`: who, milliseconds. Answers nothing where it is theirs now, else who has it and for how long. */
const TAKE: Script = {
  name: 'migration-lock',
  source: `
    local holder = redis.call('GET', KEYS[1])
    if holder and holder ~= ARGV[1] then return {holder, redis.call('PTTL', KEYS[1])} end
    if holder then redis.call('PEXPIRE', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
    return false`,
};

const LOOK: Script = {
  name: 'migration-look',
  source: `
    local holder = redis.call('GET', KEYS[1])
    return holder and {holder, redis.call('PTTL', KEYS[1])}`,
};

const RELEASE: Script = {
  name: 'migration-release',
  source: `if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end`,
};

/** Of somebody who wants it free. */
export interface Patience {
  signal: AbortSignal;
  /** Hears what is waited for, and what could not be done. */
  tell: (what: string) => void;
}

/** Who has the lock, and for how many milliseconds if it is not renewed. */
type Holder = [who: Buffer, left: number] | null;

/**
 * The right to read or fill a Redis, where nobody else is meanwhile: no host starts. One that is killed over it leaves the lock, which ends by itself: whoever wants it waits until then, or until the
 * other shows by a renewal that it lives.
 */
export class MigrationLock {
  private readonly loss = new AbortController();
  /** Fires when somebody else has it, after Redis, or this process, was away for too long; the reason is an error for people. */
  readonly lost = this.loss.signal;
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly redis: Redis,
    private readonly who: string,
  ) {
    this.timer = setInterval(() => void this.renew(), RENEW_MS);
  }

  /** @throws MigrationRefused while another has it */
  static async take(redis: Redis, patience: Patience, patienceMs = redis.patienceMs): Promise<MigrationLock> {
    const who = JSON.stringify({ host: hostname(), pid: process.pid, id: randomUUID() });
    await unlessHeld(() => redis.run(TAKE, [migrationKey(redis)], [who, LOCK_MS], { patienceMs }), patience);
    return new MigrationLock(redis, who);
  }

  /**
   * For whoever only reads. A Redis that is full, or a user who may not write, is no reason not to: then there is no lock, and that is told.
   *
   * @throws MigrationRefused while another has it
   */
  static async takeToRead(redis: Redis, patience: Patience): Promise<MigrationLock | undefined> {
    try {
      return await MigrationLock.take(redis, patience, READER_MS);
    } catch (error) {
      if (!(error instanceof RedisUnavailable || error instanceof RedisRefused)) throw error;
      await unlessHeld(() => redis.run(LOOK, [migrationKey(redis)], []), patience);
      patience.tell(`hosts are not kept from starting on this Redis, see to it yourself. ${error.message}`);
      return undefined;
    }
  }

  private async renew(): Promise<void> {
    try {
      const holder = (await this.redis.run(TAKE, [migrationKey(this.redis)], [this.who, LOCK_MS])) as Holder;
      if (holder !== null) this.loss.abort(refusal(holder));
    } catch {
      // Redis is away, which others say; the lock may still be ours when it is back.
    }
  }

  async release(): Promise<void> {
    clearInterval(this.timer);
    // Where this cannot be done it ends by itself.
    await this.redis
      .run(RELEASE, [migrationKey(this.redis)], [this.who], { patienceMs: RELEASE_MS })
      .catch(() => undefined);
  }
}

async function unlessHeld(look: () => Promise<unknown>, { signal, tell }: Patience): Promise<void> {
  let before: Holder = null;
  for (;;) {
    const holder = (await look()) as Holder;
    if (holder === null) return;
    if (before !== null && (!holder[0].equals(before[0]) || holder[1] > before[1])) throw refusal(holder);
    if (before === null) tell(`${refusal(holder).message}, or died over it: looking whether it lives`);
    before = holder;
    await pause(LOOK_MS, undefined, { signal });
  }
}

function refusal([who]: NonNullable<Holder>): MigrationRefused {
  return new MigrationRefused(
    `another ${migrating(who)}`,
    'wait for its end, or end it there (Ctrl-C), then run this again',
  );
}
