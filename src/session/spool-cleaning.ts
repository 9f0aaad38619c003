import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Bus } from '../cluster/bus.js';
import type { Jid, JidCache } from '../jid/jid.js';
import type { Redis } from '../redis/redis.js';
import type { Shared } from '../stream/outbox.js';
import type { Router } from './router.js';
import { copyKey, named, spoolKey, unpacked } from './spool.js';

/** Names that one command brings. */
const PAGE = 500;
/** So many messages are routed anew at a time: all may be too many for the bus, or for those who get them. */
const PORTION = 100;
/** As long as another copy of a message that was routed anew may turn up, in seconds. */
const COPY_SECONDS = 3600;
/** How often is looked whether a worker that is there again has removed what it had written before. */
const LOOK_MS = 250;

export interface SpoolCleaningOptions {
  redis: Redis;
  /** Whether that worker is there again under a later epoch, as far as is known. */
  isBack(worker: number, epoch: number): boolean;
  bus: Bus;
  jids: JidCache;
  router: Router;
  log: Logger;
}

interface Found {
  jid: Jid;
  stanza: Shared;
}

/** Messages that waited in a dead worker for resumable sessions find another way, as they would have at the sessions' end (XEP-0198 §4). */
export class SpoolCleaning {
  constructor(private readonly options: SpoolCleaningOptions) {}

  /** A dead worker's messages find another way. Done again elsewhere when this worker dies over it. */
  async cleanUp(worker: number, epoch: number): Promise<void> {
    const { redis, log, isBack } = this.options;
    const key = spoolKey(redis, worker, epoch);
    const names = await this.names(key);
    let messages = 0;
    for (; messages < names.length && !isBack(worker, epoch); messages += PORTION)
      await this.reroute(key, names.slice(messages, messages + PORTION));
    messages = Math.min(messages, names.length);
    if (messages > 0)
      log.info({ number: worker, messages }, 'messages that a dead worker had not got rid of were routed anew');
    // Where it was only away it has them still, and removes this when it has written them anew; unless it dies over that.
    while ((await redis.call('EXISTS', [key])) !== 0) {
      if (!isBack(worker, epoch)) return this.cleanUp(worker, epoch);
      await pause(LOOK_MS);
    }
  }

  /** Fields of what there is copies of: session by session, in order. */
  private async names(key: string): Promise<Buffer[]> {
    const found = new Map<string, { name: Buffer; session: string; position: number }>();
    let cursor = '0';
    do {
      const page = await this.options.redis.call('HSCAN', [key, cursor, 'COUNT', PAGE]);
      const [next, fields] = page as [Buffer, Buffer[]];
      for (let i = 0; i < fields.length; i += 2) {
        const name = fields[i]!;
        const text = name.toString('latin1');
        found.set(text, { name, ...named(text) });
      }
      cursor = String(next);
    } while (cursor !== '0');
    const order = [...found.values()].sort((a, b) =>
      a.session === b.session ? a.position - b.position : a.session < b.session ? -1 : 1,
    );
    return order.map(({ name }) => name);
  }

  /** Resolves when they are where they belong, and removed. */
  private async reroute(key: string, names: readonly Buffer[]): Promise<void> {
    const { redis, router, bus } = this.options;
    const bares = new Set<string>();
    const values = (await redis.call('HMGET', [key, ...names])) as (Buffer | null)[];
    for (const [index, value] of values.entries()) {
      const found = value && this.guarded(key, () => this.read(value));
      if (!found || !(await this.isToFindAWay(found, names[index]!))) continue;
      this.guarded(key, () => router.reroute(found.jid, [found.stanza]));
      bares.add(found.jid.bare);
    }
    for (const bare of bares) await router.settled(bare);
    await bus.barrier();
    await redis.call('HDEL', [key, ...names]);
  }

  private read(value: Buffer): Found | undefined {
    const { full, stanza } = unpacked(value);
    const jid = this.options.jids.get(full);
    return jid && { jid, stanza };
  }

  private guarded<T>(key: string, fn: () => T): T | undefined {
    try {
      return fn();
    } catch (error) {
      this.options.log.error({ err: error, key }, 'a copy of a message cannot be read');
      return undefined;
    }
  }

  /** Others who got it may have died with it, each cleaned up after by somebody else: only one copy is routed anew. */
  private async isToFindAWay({ jid, stanza: { copies } }: Found, name: Buffer): Promise<boolean> {
    const { redis, router } = this.options;
    if (copies === undefined || (await router.has(jid.bare, copies))) return true;
    const key = copyKey(redis, copies);
    if ((await redis.call('SET', [key, name, 'NX', 'EX', COPY_SECONDS])) !== null) return true;
    // Perhaps by who died over it.
    const first = (await redis.call('GET', [key])) as Buffer | null;
    return first === null || name.equals(first);
  }
}
