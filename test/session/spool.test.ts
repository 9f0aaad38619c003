import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { JidCache, type Jid } from '../../src/jid/jid.js';
import { openRedis } from '../../src/redis/open.js';
import type { Redis, RedisArgument } from '../../src/redis/redis.js';
import { SpoolCleaning } from '../../src/session/spool-cleaning.js';
import { Spool, spoolKey } from '../../src/session/spool.js';
import type { Session } from '../../src/session/session.js';
import { Outbox, Shared, type Copies } from '../../src/stream/outbox.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';

const SELF = 7;
const jids = new JidCache(100);
const message = (text: string): Buffer => Buffer.from(`<message><body>${text}</body></message>`);

describe.skipIf(!redisInstalled)('the spool', () => {
  let server: RedisServer;
  let redis: Redis;
  /** What was sent to Redis, with all its arguments in one text. */
  let sent: string[];
  beforeEach(async () => {
    server = await RedisServer.start();
    redis = await openRedis(server.config());
    sent = [];
    const call = redis.call.bind(redis);
    redis.call = (command, args, options) => {
      sent.push(`${command} ${args.join(' ')}`);
      return call(command, args, options);
    };
  });
  afterEach(async () => {
    await redis?.close();
    await server?.stop();
  });

  /** A session that waits to be resumed, as far as the spool sees one. */
  function waiting(
    spool: Spool,
    sessions: Session[],
    id = 'a',
    copies?: Copies,
  ): { queue(text: string): void; acknowledge(): void } {
    const outbox = new Outbox(1 << 30, 'drop_oldest', () => undefined);
    outbox.keepUntilAcknowledged(5);
    const session = { id, jid: jids.get(`user@example.org/${id}`), outbox, spooled: undefined } as unknown as Session;
    sessions.push(session);
    spool.adopt(session);
    return {
      queue: (text) => {
        const shared = new Shared(message(text), undefined, false, copies);
        spool.queued(session, shared);
        outbox.push(undefined, shared);
      },
      acknowledge: () => {
        while (outbox.takeOne() !== undefined);
        outbox.acknowledge(outbox.sentCount);
        spool.acknowledged(session);
      },
    };
  }

  function spoolOf(sessions: Session[], epoch = (): number => 1): Spool {
    return new Spool({ redis, self: SELF, epoch, registry: { all: () => sessions } as never });
  }

  const kept = async (epoch = 1): Promise<string[]> => {
    const values = (await server.command('HVALS', spoolKey(redis, SELF, epoch))) as Buffer[];
    return values.map((value) => />([^<]*)</.exec(String(value).replace('<message>', ''))![1]!).sort();
  };

  test('remembers nothing of what came and went while Redis was away', async () => {
    const sessions: Session[] = [];
    const spool = spoolOf(sessions);
    const one = waiting(spool, sessions);
    one.queue('first');
    await until('a copy', async () => (await kept()).join() === 'first');
    await server.kill();
    await until('nobody', () => !redis.up);
    sent = [];
    for (let i = 0; i < 200; i++) {
      one.acknowledge();
      one.queue(`gone ${i}`);
      await new Promise(setImmediate);
    }
    one.acknowledge();
    one.queue('last');
    await server.restart();
    await until('what waits', async () => (await kept()).join() === 'last');
    await spool.close();
    expect(await server.keys()).toEqual([]);
    // What was on its way when Redis was found to be away, and all that is there when it is back.
    expect(sent.filter((text) => text.startsWith('HSET')).length).toBeLessThan(5);
    expect(sent.filter((text) => text.includes('gone 100'))).toEqual([]);
  });

  test('writes all for a new epoch before it removes what it had written for others', async () => {
    const sessions: Session[] = [];
    let epoch = 1;
    const spool = spoolOf(sessions, () => epoch);
    const one = waiting(spool, sessions);
    one.queue('before');
    await until('a copy', async () => (await kept()).join() === 'before');
    // It takes an epoch, but could not register by it, and takes another.
    epoch = 2;
    one.queue('meanwhile');
    await until('another copy', async () => (await kept()).join() === 'before,meanwhile');
    epoch = 3;
    sent = [];
    await spool.renewed();
    expect(await kept(3)).toEqual(['before', 'meanwhile']);
    expect(await server.keys()).toEqual([spoolKey(redis, SELF, 3)]);
    const written = sent.findIndex((text) => text.startsWith('HSET'));
    expect(sent.findIndex((text) => text === `UNLINK ${spoolKey(redis, SELF, 1)}`)).toBeGreaterThan(written);
    await spool.close();
    expect(await server.keys()).toEqual([]);
  });

  interface Options {
    back?: () => boolean;
    barrier?: () => Promise<void>;
    /** Sessions that are there. */
    there?: string[];
  }

  function cleaning(routed: [Jid, string][], options: Options = {}) {
    const router = {
      reroute: (jid: Jid, stanzas: Shared[]) => {
        for (const { bytes } of stanzas) {
          if (bytes.length === 0) throw new Error('not one whole element');
          routed.push([jid, String(bytes)]);
        }
      },
      has: async (_bare: string, { sessions }: Copies) => sessions.some((id) => options.there?.includes(id)),
      settled: () => Promise.resolve(),
    };
    const { back = () => false, barrier = () => Promise.resolve() } = options;
    const log = { info: () => undefined, error: () => undefined };
    return new SpoolCleaning({
      redis,
      isBack: back,
      bus: { barrier } as never,
      jids,
      router: router as never,
      log: log as never,
    });
  }

  async function left(count: number): Promise<string[]> {
    const sessions: Session[] = [];
    const spool = spoolOf(sessions);
    const all = ['a', 'b'].map((id) => waiting(spool, sessions, id));
    for (let i = 0; i < count; i++) for (const one of all) one.queue(`text ${i}`);
    await until('copies', async () => (await kept()).length === 2 * count);
    return ['a', 'b'].flatMap((id) =>
      Array.from({ length: count }, (_, i) => `${id}: ${String(message(`text ${i}`))}`),
    );
  }

  test('of a dead worker is routed in portions, each removed when it is where it belongs', async () => {
    const all = await left(500);
    const routed: [Jid, string][] = [];
    const waits: number[] = [];
    const barrier = async (): Promise<void> => void waits.push(routed.length);
    await cleaning(routed, { barrier }).cleanUp(SELF, 1);
    expect(routed.map(([jid, text]) => `${jid.resource}: ${text}`)).toEqual(all);
    expect(waits).toEqual(Array.from({ length: 10 }, (_, i) => 100 * (i + 1)));
    expect(await server.keys()).toEqual([]);
  });

  test('of a dead worker is cleaned up after although some of it cannot be read', async () => {
    const all = await left(3);
    const key = spoolKey(redis, SELF, 1);
    const args: RedisArgument[] = [key, 'c:1', '', 'c:2', 'x', 'nonsense', Buffer.from([0xff, 0xff]), 'c:3', '\0\0'];
    await redis.call('HSET', [...args, Buffer.from([0xff]), 'y']);
    const routed: [Jid, string][] = [];
    await cleaning(routed).cleanUp(SELF, 1);
    expect(routed.map(([jid, text]) => `${jid.resource}: ${text}`)).toEqual(all);
    expect(await server.keys()).toEqual([]);
  });

  test.each([
    [[], 1],
    [['c'], 2],
  ])('of a message that several got is routed once, or left to those who have it: %j', async (there, times) => {
    const sessions: Session[] = [];
    const spool = spoolOf(sessions);
    const copies: Copies = { key: 'one', sessions: ['a', 'b', 'c'] };
    for (const id of ['a', 'b']) waiting(spool, sessions, id, copies).queue('text');
    await until('copies', async () => (await kept()).length === 2);
    const names = ['a', 'b'].slice(0, times);
    const routed: [Jid, string][] = [];
    // Whoever begins to clean up dies over it, and another does it again.
    const dying = cleaning(routed, { there, barrier: () => Promise.reject(new Error('dead')) });
    await expect(dying.cleanUp(SELF, 1)).rejects.toThrow('dead');
    expect(routed).toHaveLength(times);
    await cleaning(routed, { there }).cleanUp(SELF, 1);
    expect(routed.map(([jid]) => jid.resource)).toEqual([...names, ...names]);
    const keys = (await server.keys()).filter((key) => !key.includes(':spool:copy:'));
    expect(keys).toEqual([]);
    for (const key of await server.keys()) expect(await server.command('TTL', key)).toBeGreaterThan(0);
  });

  test('of a worker that is back is left to it, unless it dies over that', async () => {
    await left(3);
    const routed: [Jid, string][] = [];
    let back = true;
    let ended = false;
    const cleaned = cleaning(routed, { back: () => back })
      .cleanUp(SELF, 1)
      .then(() => (ended = true));
    await until('a second look', () => sent.filter((text) => text.startsWith('EXISTS')).length >= 2);
    expect([routed.length, ended]).toEqual([0, false]);
    back = false;
    await cleaned;
    expect(routed).toHaveLength(6);
    expect(await server.keys()).toEqual([]);
  });
});
