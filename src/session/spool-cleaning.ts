import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Bus } from '../cluster/bus.js';
import type { JidCache } from '../jid/jid.js';
import type { Redis } from '../redis/redis.js';
import type { Router } from './router.js';
import { named, spoolKey, unpacked } from './spool.js';

/** Names that one command brings. */
const PAGE = 500;
/** So many messages are routed anew at a time: all may be too many for the bus, or for those who get them. */
const PORTION = 100;
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
    const { redis, router, jids, bus, log } = this.options;
    const bares = new Set<string>();
    for (const value of (await redis.call('HMGET', [key, ...names])) as (Buffer | null)[]) {
      if (value === null) continue;
      try {
        const { full, stanza } = unpacked(value);
        const jid = jids.get(full);
        if (jid === undefined) continue;
        router.reroute(jid, [stanza]);
        bares.add(jid.bare);
      } catch (error) {
        log.error({ err: error, key }, 'a copy of a message cannot be read');
      }
    }
    for (const bare of bares) await router.settled(bare);
    await bus.barrier();
    await redis.call('HDEL', [key, ...names]);
  }
}
