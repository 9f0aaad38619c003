import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { UNKNOWN } from '../../src/cluster/directory.js';
import { DirectoryKeys, shardOf } from '../../src/cluster/directory-rows.js';
import { counters } from '../../src/metrics/counters.js';
import { Lookups } from '../../src/session/lookups.js';
import { redisInstalled, RedisServer } from '../support/redis.js';
import { company, type Worker } from './company.js';
import { entry, seen } from './directory-conformance.js';

describe.skipIf(!redisInstalled)('the directory on Redis', () => {
  let server: RedisServer;
  let prefixes = 0;
  let prefix: string;
  beforeAll(async () => {
    server = await RedisServer.start();
  });
  afterAll(() => server.stop());

  const workers = async (size: number, options = {}): Promise<Worker[]> => {
    prefix = `p${++prefixes}`;
    return company(server.config({ prefix }), size, options);
  };
  /** What this test's directory has in Redis. */
  const keys = async (): Promise<string[]> => (await server.keys()).filter((key) => key.startsWith(`${prefix}:`));
  const many = (count: number): string[] => Array.from({ length: count }, (_, i) => `device${i}@x`);
  const bindAll = (worker: Worker, bares: readonly string[]) =>
    Promise.all(bares.map((bare, i) => worker.directory.bind(entry(worker.number, `${worker.number}.${i}`, { bare }))));
  test('leaves nothing in Redis when all sessions have ended', async () => {
    const [one, two] = (await workers(2)) as [Worker, Worker];
    const bares = many(300);
    await Promise.all([bindAll(one, bares), bindAll(two, bares)]);
    for (const bare of bares) await Promise.all([one.directory.remote(bare), two.directory.remote(bare)]);
    for (const { directory, number } of [one, two]) {
      bares.forEach((bare, i) => directory.unbind(entry(number, `${number}.${i}`, { bare })));
      await directory.close();
    }
    expect(await keys()).toEqual([]);
  });

  test('tells those who asked, once, and those who have a session of the JID, and nobody else', async () => {
    const [one, two, three, four] = (await workers(4)) as [Worker, Worker, Worker, Worker];
    await four.directory.bind(entry(4, '4.own', { resource: 'own' }));
    await two.directory.remote('a@x');
    const told = [one, two, three, four].map((worker) => worker.told);
    for (const list of told) list.length = 0;
    await one.directory.bind(entry(1, '1.a'));
    expect(told).toEqual([[], ['a@x'], [], ['a@x']]);
    await one.directory.update(entry(1, '1.a', { priority: 1 }));
    expect(told).toEqual([[], ['a@x'], [], ['a@x', 'a@x']]);
    expect(await seen(two.directory, 'a@x')).toHaveLength(2);
    await one.directory.update(entry(1, '1.a', { priority: 2 }));
    expect(told).toEqual([[], ['a@x', 'a@x'], [], ['a@x', 'a@x', 'a@x']]);
  });

  test('asks Redis once for what it is told of, and again after a time', async () => {
    const [one, two] = (await workers(2, { cacheMs: 1000 })) as [Worker, Worker];
    await one.directory.bind(entry(1, '1.a'));
    expect(await seen(two.directory, 'a@x')).toHaveLength(1);
    expect(two.directory.remote('a@x')).toEqual([entry(1, '1.a')]);
    const watch = new DirectoryKeys(prefix).watch(shardOf('a@x'), 'a@x');
    const life = Number(await server.command('TTL', watch));
    expect(life).toBeGreaterThan(1);
    await expect.poll(() => two.directory.remote('a@x') instanceof Promise, { timeout: 10_000 }).toBe(true);
    expect(await seen(two.directory, 'a@x')).toHaveLength(1);
  });

  test('does not remember an answer that was overtaken by news', async () => {
    const [one, two] = (await workers(2)) as [Worker, Worker];
    for (let i = 0; i < 200; i++) {
      const bare = `b${i}@x`;
      // The look-up is under way while the session is bound: whichever comes first in Redis.
      const early = two.directory.remote(bare);
      const bound = one.directory.bind(entry(1, `1.${i}`, { bare }));
      await Promise.all([early, bound]);
      expect(await two.directory.remote(bare)).toEqual([entry(1, `1.${i}`, { bare })]);
    }
  });

  test('has no ghosts of a killed worker: several sweep at once, each entry goes once, and who remembered it is told', async () => {
    const [one, two, three] = (await workers(3)) as [Worker, Worker, Worker];
    const bares = many(1000);
    await bindAll(two, bares);
    await one.directory.bind(entry(1, '1.mine', { bare: bares[3]!, resource: 'mine' }));
    await two.die();
    expect(await seen(three.directory, bares[0]!)).toEqual([]);
    const { told } = three;
    told.length = 0;
    await Promise.all([one.sweep(2, 2), three.sweep(2, 2), one.sweep(2, 2)]);
    expect((await keys()).filter((key) => !key.includes(':watch:'))).toEqual(
      [
        new DirectoryKeys(prefix).held(shardOf(bares[3]!), 1),
        new DirectoryKeys(prefix).sessions(shardOf(bares[3]!), bares[3]!),
      ].sort(),
    );
    await one.bus.barrier();
    expect(new Set(told).size).toBe(told.length);
    expect(await seen(three.directory, bares[3]!)).toHaveLength(1);
  });

  test('keeps what a worker has bound again under a newer epoch when the older one is swept', async () => {
    const [one, two] = (await workers(2)) as [Worker, Worker];
    const bares = many(300);
    await bindAll(two, bares);
    two.expire();
    expect(await seen(one.directory, bares[0]!)).toEqual([]);
    await Promise.all([two.renew(), one.sweep(2, 2)]);
    await one.sweep(2, 2);
    expect((await two.directory.shards()).reduce((sum, { sessions }) => sum + sessions, 0)).toBe(300);
    one.directory.unbind(entry(1, 'none'));
    for (const [i, bare] of bares.slice(0, 20).entries()) {
      await expect.poll(() => seen(one.directory, bare)).toEqual([entry(2, `2.${i}`, { bare })]);
    }
    expect(two.lost).toEqual([]);
  });

  test('gives a resource that was taken while its worker was thought dead to the later session, once it is back', async () => {
    const [one, two] = (await workers(2)) as [Worker, Worker];
    await two.directory.bind(entry(2, '2.a'));
    await two.directory.bind(entry(2, '2.b', { bare: 'b@x' }));
    two.expire();
    expect(await one.directory.bind(entry(1, '1.a'), { replace: false, room: 1 })).toBe(undefined);
    await two.renew();
    expect(two.lost).toEqual(['2.a']);
    expect(await seen(two.directory, 'a@x')).toEqual([entry(1, '1.a')]);
    two.directory.unbind(entry(2, '2.a'));
    await two.directory.update(entry(2, '2.b', { bare: 'b@x', priority: 4 }));
    expect(await seen(one.directory, 'b@x')).toEqual([entry(2, '2.b', { bare: 'b@x', priority: 4 })]);
    expect((await two.directory.shards()).reduce((sum, { sessions }) => sum + sessions, 0)).toBe(2);
  });

  test('counts the sessions of the living, by shard', async () => {
    const [one, two] = (await workers(2)) as [Worker, Worker];
    const bares = many(500);
    await bindAll(one, bares.slice(0, 200));
    await bindAll(two, bares.slice(200));
    const shards = await one.directory.shards();
    expect(shards).toHaveLength(128);
    for (const { shard, sessions } of shards) {
      expect(sessions).toBe(bares.filter((bare) => shardOf(bare) === shard).length);
    }
    two.expire();
    expect((await one.directory.shards()).reduce((sum, { sessions }) => sum + sessions, 0)).toBe(200);
  });

  test('puts right what Redis has lost, and removes what it should not have', async () => {
    const [one, two] = (await workers(2)) as [Worker, Worker];
    const bares = many(400);
    await bindAll(one, bares);
    const names = new DirectoryKeys(prefix);
    const before = counters.reconciliations;
    // Lost; as it was before; and of nobody.
    await server.command('DEL', names.sessions(shardOf(bares[0]!), bares[0]!), names.held(shardOf(bares[0]!), 1));
    const row = String(await server.command('HGET', names.sessions(shardOf(bares[1]!), bares[1]!), 'r'));
    await server.command('HSET', names.sessions(shardOf(bares[1]!), bares[1]!), 'r', row.replace(/0$/, '7'));
    await server.command('HSET', names.sessions(shardOf('ghost@x'), 'ghost@x'), 'r', '1 1 1.ghost 1 0');
    await server.command('SADD', names.held(shardOf('ghost@x'), 1), 'ghost@x/r');
    await one.directory.verify();
    for (const [i, bare] of bares.entries())
      expect(await seen(two.directory, bare)).toEqual([entry(1, `1.${i}`, { bare })]);
    expect(await seen(two.directory, 'ghost@x')).toEqual([]);
    expect(counters.reconciliations).toBeGreaterThan(before + 2);
    const after = counters.reconciliations;
    await one.directory.verify();
    expect(counters.reconciliations).toBe(after);
    await server.flushKeys();
    await one.directory.verify();
    expect((await one.directory.shards()).reduce((sum, { sessions }) => sum + sessions, 0)).toBe(400);
  });

  test('notices by itself that Redis came back empty', async () => {
    const [one, two] = (await workers(2, { verifyMs: 50 })) as [Worker, Worker];
    await bindAll(one, many(400).slice(0, 200));
    await bindAll(two, many(400).slice(200));
    await server.flushKeys();
    const count = async () => (await one.directory.shards()).reduce((sum, { sessions }) => sum + sessions, 0);
    await expect.poll(count, { timeout: 20_000 }).toBe(400);
  });
});

describe.skipIf(!redisInstalled)('while Redis is away', () => {
  let server: RedisServer;
  let one: Worker;
  let two: Worker;
  const setUp = async (options = {}): Promise<void> => {
    [one, two] = (await company(server.config({ prefix: 'p', patience_seconds: 1 }), 2, options)) as [Worker, Worker];
  };
  const run = (name: string, scenario: () => Promise<void>): void =>
    test(name, async () => {
      server = await RedisServer.start();
      try {
        await setUp();
        await scenario();
      } finally {
        await server.stop();
      }
    });
  const again = (worker: Worker): Promise<void> =>
    expect.poll(() => worker.redis.up, { timeout: 20_000 }).toBe(true) as Promise<void>;

  run('what changed is written when it is there again, the last state only', async () => {
    await one.directory.bind(entry(1, '1.a'));
    await one.directory.bind(entry(1, '1.b', { resource: 'b' }));
    await one.directory.bind(entry(1, '1.c', { resource: 'c' }));
    expect(await seen(two.directory, 'a@x')).toHaveLength(3);
    server.pause();
    for (let priority = 0; priority <= 50; priority++) void one.directory.update(entry(1, '1.a', { priority }));
    one.directory.unbind(entry(1, '1.b', { resource: 'b' }));
    // What was known is known: nothing else can change meanwhile.
    expect(two.directory.remote('a@x')).toHaveLength(3);
    expect(await two.directory.remote('b@x')).toBe(UNKNOWN);
    await expect(one.directory.bind(entry(1, '1.d', { resource: 'd' }))).rejects.toThrow('Redis');
    await one.directory.update(entry(1, '1.c', { resource: 'c', priority: 9 }));
    server.resume();
    await Promise.all([again(one), again(two)]);
    await expect
      .poll(() => seen(two.directory, 'a@x'), { timeout: 20_000 })
      .toEqual([entry(1, '1.c', { resource: 'c', priority: 9 }), entry(1, '1.a', { priority: 50 })]);
    expect(await two.directory.remote('b@x')).toEqual([]);
    await one.directory.verify();
    const count = async () => (await one.directory.shards()).reduce((sum, { sessions }) => sum + sessions, 0);
    await expect.poll(count, { timeout: 20_000 }).toBe(2);
  });

  run('the other workers of the host say themselves whom they have, once to all who ask at the same time', async () => {
    await one.directory.bind(entry(1, '1.a'));
    await server.kill();
    await expect.poll(() => one.redis.up || two.redis.up, { timeout: 20_000 }).toBe(false);
    // Not bound, and never will be: nobody is told of it.
    const never = one.directory.bind(entry(1, '1.b', { resource: 'b' }));
    const asked = vi.spyOn(two.bus, 'request');
    const lookups = new Lookups(two.directory);
    const all = await Promise.all(Array.from({ length: 100 }, () => lookups.of('a@x')));
    for (const entries of all) {
      expect([...entries]).toEqual([entry(1, '1.a')]);
      expect(entries.partial).toBe(true);
    }
    expect(asked).toHaveBeenCalledOnce();
    await expect(never).rejects.toThrow('Redis');
    // Nothing of it is remembered.
    one.directory.unbind(entry(1, '1.a'));
    expect(await two.directory.remote('a@x')).toBe(UNKNOWN);
    await server.restart();
    await Promise.all([again(one), again(two)]);
    asked.mockClear();
    expect((await two.directory.remote('a@x')).partial).toBe(undefined);
    expect(asked).not.toHaveBeenCalled();
  });

  run('and comes back empty, all sessions are there again, and no others', async () => {
    const bares = Array.from({ length: 500 }, (_, i) => `device${i}@x`);
    await Promise.all(
      [one, two].flatMap(({ directory, number }) =>
        bares.map((bare, i) => directory.bind(entry(number, `${number}.${i}`, { bare, resource: `r${number}` }))),
      ),
    );
    await server.kill();
    bares.slice(0, 100).forEach((bare, i) => one.directory.unbind(entry(1, `1.${i}`, { bare, resource: 'r1' })));
    await server.restart();
    await Promise.all([again(one), again(two)]);
    const count = async () => (await one.directory.shards()).reduce((sum, { sessions }) => sum + sessions, 0);
    await expect.poll(count, { timeout: 20_000 }).toBe(900);
    for (const [i, bare] of bares.entries()) {
      const expected = i < 100 ? [] : [entry(1, `1.${i}`, { bare, resource: 'r1' })];
      await expect.poll(() => seen(two.directory, bare)).toEqual(expected);
    }
  });

  run('connections that are cut amid binds lose no conflict and leave no ghost', async () => {
    const bares = Array.from({ length: 40 }, (_, i) => `device${i}@x`);
    const lost = new Set<string>();
    const outcomes: { id: string; bare: string }[] = [];
    let running = true;
    let answered = (): void => undefined;
    const cutter = (async () => {
      while (running) {
        await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        // Whatever it was answered: amid those that are still on their way it is cut again.
        if (running) await new Promise<void>((resolve) => (answered = resolve));
      }
    })();
    for (let round = 0; round < 15; round++) {
      await Promise.all(
        [one, two].flatMap((worker) =>
          bares.map(async (bare, i) => {
            const own = entry(worker.number, `${worker.number}.${round}-${i}`, { bare });
            try {
              const displaced = await worker.directory.bind(own);
              // Displaced before it was answered, it may have been done once more since: whether it stands, Redis knows.
              lost.delete(own.id);
              if (typeof displaced === 'object') lost.add(displaced.id);
              outcomes.push({ id: own.id, bare });
            } catch {
              worker.directory.unbind(own);
            }
            answered();
          }),
        ),
      );
    }
    running = false;
    answered();
    await cutter;
    await Promise.all([again(one), again(two)]);
    // Exactly one of each JID is left when all have settled: the others were displaced, or told that they are lost.
    for (const bare of bares) {
      const left = (): string[] =>
        outcomes
          .filter((outcome) => outcome.bare === bare)
          .map(({ id }) => id)
          .filter((id) => !lost.has(id) && !one.lost.includes(id) && !two.lost.includes(id));
      await expect
        .poll(
          async () => {
            await Promise.all([one.directory.verify(), two.directory.verify()]);
            return left().length;
          },
          { timeout: 20_000 },
        )
        .toBe(1);
      const [id] = left();
      const reader = id!.startsWith('1.') ? two : one;
      expect((await seen(reader.directory, bare)).map((found) => found.id)).toEqual([id]);
    }
    const count = async () => (await one.directory.shards()).reduce((sum, { sessions }) => sum + sessions, 0);
    await expect.poll(count, { timeout: 20_000 }).toBe(bares.length);
  });
});
