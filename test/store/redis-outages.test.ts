import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { redisCounters } from '../../src/metrics/redis.js';
import { openRedis } from '../../src/redis/open.js';
import type { Redis } from '../../src/redis/redis.js';
import { slotOf } from '../../src/redis/slot.js';
import { openStore } from '../../src/store/open.js';
import { type Store, StoreError } from '../../src/store/store.js';
import { RedisCluster, RedisServer, redisInstalled, until } from '../support/redis.js';
import { ids, item, node, subscription } from './records.js';

const ON_DISK = ['--appendonly', 'yes', '--appendfsync', 'always'];
const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A store on a link of its own, as another process has it. */
async function opened(
  server: RedisServer | RedisCluster,
  patience = 30,
  replicas = 0,
): Promise<{ store: Store; redis: Redis }> {
  const redis = await openRedis(server.config({ patience_seconds: patience, replicas }));
  const store = await openStore({ kind: 'redis', path: '', redis, durability: 'commit' });
  closing.push(async () => {
    await store.close();
    await redis.close();
  });
  return { store, redis };
}

const range = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, n) => `i${from + n}`);
const publish = (store: Store, id: string, name = 'node') => store.items.publish(name, item(id), 10_000);

describe.skipIf(!redisInstalled)('a store on one Redis', () => {
  let server: RedisServer;
  beforeEach(async () => {
    server = await RedisServer.start({ args: ON_DISK });
    closing.push(() => server.stop());
  });

  test('publishes of a tick cost one call, and those that come meanwhile one more', async () => {
    const { store } = await opened(server);
    await store.nodes.create(node('node'));
    const calls = () => redisCounters.calls['publish'] ?? 0;
    const before = calls();
    await Promise.all(range(0, 200).map((id) => publish(store, id)));
    expect(calls() - before).toBe(1);
    const first = publish(store, 'first');
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all([first, ...range(0, 100).map((id) => publish(store, id))]);
    expect(calls() - before).toBe(3);
  });

  test('two that publish to one node at once keep the order of each', async () => {
    const [one, two] = [await opened(server), await opened(server)];
    await one.store.nodes.create(node('node'));
    const write = async (store: Store, name: string) => {
      for (let n = 0; n < 300; n += 10)
        await Promise.all(Array.from({ length: 10 }, (_, i) => publish(store, `${name}${n + i}`)));
    };
    await Promise.all([write(one.store, 'a'), write(two.store, 'b')]);
    const all = ids((await one.store.items.page('node', { limit: 1000 }))!.items)!;
    for (const name of ['a', 'b'])
      expect(all.filter((id) => id.startsWith(name))).toEqual(Array.from({ length: 300 }, (_, n) => `${name}${n}`));
    expect(await two.store.items.count('node')).toBe(600);
  });

  test('updates of one node by two processes are all kept', async () => {
    const [one, two] = [await opened(server), await opened(server)];
    await one.store.nodes.create(node('node', { config: { n: '0' } }));
    const add = ({ store }: { store: Store }, bare: string) =>
      store.nodes.update('node', (record) => ({
        ...record,
        config: { n: String(Number(record.config['n']) + 1) },
        affiliations: { ...record.affiliations, [bare]: 'member' },
      }));
    await Promise.all(range(0, 20).flatMap((id) => [add(one, `${id}@one`), add(two, `${id}@two`)]));
    expect(await one.store.nodes.get('node')).toMatchObject({ version: 40, config: { n: '40' } });
    for (const id of range(0, 20)) {
      expect(await two.store.nodes.affiliationsOf(`${id}@one`)).toEqual([{ node: 'node', affiliation: 'member' }]);
      expect(await one.store.nodes.affiliationsOf(`${id}@two`)).toEqual([{ node: 'node', affiliation: 'member' }]);
    }
  });

  test('scripts that Redis forgot are given to it again', async () => {
    const { store } = await opened(server);
    await store.nodes.create(node('node'));
    await publish(store, 'a');
    await server.command('SCRIPT', 'FLUSH');
    await Promise.all([publish(store, 'b'), store.items.latest('node', 5), store.items.retract('node', ['a'])]);
    expect(ids(await store.items.latest('node', 5))).toEqual(['b']);
  });

  test('publishes wait over a restart, are kept once, and in order', async () => {
    const { store, redis } = await opened(server);
    await store.nodes.create(node('node'));
    const answers: Promise<boolean>[] = [];
    let killed: Promise<void> | undefined;
    for (const id of range(0, 500)) {
      answers.push(publish(store, id));
      if (answers.length === 250) killed = server.kill();
      if (answers.length % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await killed;
    await until('the link to notice', () => !redis.up);
    answers.push(publish(store, 'i500'));
    await server.restart();
    expect(await Promise.all(answers)).toEqual(answers.map(() => true));
    expect(ids((await store.items.page('node', { limit: 1000 }))!.items)).toEqual(range(0, 501));
  });

  test('what the patience was too short for is refused once, not done later, and the next goes through', async () => {
    const { store, redis } = await opened(server, 1);
    await store.nodes.create(node('node'));
    await server.kill();
    const refused = await Promise.allSettled([
      ...['a', 'b'].map((id) => publish(store, id)),
      store.items.latest('node', 1),
      store.nodes.create(node('other')),
      store.nodes.subscriptionsOf('a@b'),
      store.accounts.get('ann'),
    ]);
    for (const answer of refused) {
      expect(answer.status).toBe('rejected');
      const { reason } = answer as PromiseRejectedResult;
      expect(reason).toBeInstanceOf(StoreError);
      expect((reason as StoreError).reason).toBe('unavailable');
    }
    await server.restart();
    await until('the link', () => redis.up);
    expect(await publish(store, 'c')).toBe(true);
    await store.flush();
    expect(ids(await store.items.latest('node', 9))).toEqual(['c']);
    expect(await store.nodes.list(undefined, 9)).toEqual(['node']);
  });

  test('a server that stands still makes no disorder', async () => {
    const { store, redis } = await opened(server);
    await store.nodes.create(node('node'));
    await publish(store, 'i0');
    server.pause();
    const answers = [publish(store, 'i1')];
    await new Promise((resolve) => setImmediate(resolve));
    answers.push(...range(2, 50).map((id) => publish(store, id)));
    await until('the link to notice', () => !redis.up);
    answers.push(publish(store, 'i50'));
    server.resume();
    await Promise.all(answers);
    expect(ids((await store.items.page('node', { limit: 1000 }))!.items)).toEqual(range(0, 51));
  });

  test('what waits for a Redis that is away is bounded', async () => {
    const { store, redis } = await opened(server);
    await store.nodes.create(node('node'));
    (store as unknown as { lanes: { queueBytes: number } }).lanes.queueBytes = 2 ** 20;
    server.pause();
    const few = store.items.publish('node', item('x', { payload: Buffer.of() }), 10);
    await until('the link to notice', () => !redis.up);
    // Each takes memory beside its payload.
    const many = Array.from({ length: 4000 }, (_, n) =>
      n >= 600
        ? store.items.publish('node', item(`${n}`, { payload: Buffer.of() }), 10)
        : store.nodes.addSubscription(subscription('node', `${n}@x`)),
    );
    const outcomes = Promise.allSettled(many);
    await expect(store.items.retract('node', ['x'])).rejects.toThrow('More is written than Redis takes');
    server.resume();
    expect(await few).toBe(true);
    const refused = (await outcomes).filter(({ status }) => status === 'rejected').length;
    expect(refused).toBeGreaterThan(1500);
    expect(refused).toBeLessThan(3000);
    await publish(store, 'again');
    expect(await store.items.retract('node', ['again'])).toEqual(['again']);
  });

  test('values that are none are told as damaged', async () => {
    const { store } = await opened(server);
    await store.nodes.create(node('node'));
    await publish(store, 'a');
    await store.accounts.create('ann', (await import('./records.js')).account(1));
    await server.command('HSET', 'thrum:items:{n:node}', 'a', 'x');
    await server.command('SET', 'thrum:node:{n:node}', 'x');
    for (const key of await server.keys())
      if (key.startsWith('thrum:accounts')) await server.command('HSET', key, 'ann', 'x');
    for (const read of [
      store.items.latest('node', 1),
      store.items.get('node', ['a']),
      store.nodes.get('node'),
      store.accounts.get('ann'),
    ])
      await expect(read).rejects.toMatchObject({ name: 'StoreError', reason: 'corrupt' });
  });

  test('what is to be on disk asks for a Redis that writes to disk', async () => {
    const redis = await openRedis(server.config());
    closing.push(() => redis.close());
    const open = () => openStore({ kind: 'redis', path: '', redis, durability: 'flush' });
    await (await open()).close();
    await server.command('CONFIG', 'SET', 'appendfsync', 'everysec');
    await expect(open()).rejects.toThrow(
      /has appendfsync everysec: set appendfsync always there, or durability: commit/,
    );
    await server.command('CONFIG', 'SET', 'appendonly', 'no');
    await expect(open()).rejects.toThrow(/set appendonly yes and appendfsync always there, or durability: commit/);
    const warned: unknown[] = [];
    const log = { warn: (...args: unknown[]) => warned.push(args), info: () => undefined } as never;
    await (await openStore({ kind: 'redis', path: '', redis, durability: 'commit', log })).close();
    expect(JSON.stringify(warned)).toContain('Redis keeps nothing on disk');
    expect(JSON.stringify(warned)).not.toContain('redis.replicas');
    const careful = await openRedis(server.config({ replicas: 1 }));
    closing.push(() => careful.close());
    await (await openStore({ kind: 'redis', path: '', redis: careful, durability: 'commit', log })).close();
    expect(JSON.stringify(warned)).toContain('"replicas":0},"redis.replicas asks for 1: until they are there');
  });
});

describe.skipIf(!redisInstalled)('a store on a Redis Cluster', () => {
  let cluster: RedisCluster;
  beforeEach(async () => {
    cluster = await RedisCluster.start({ masters: 3, replicas: 1 });
    closing.push(() => cluster.stop());
  });

  test('goes on with a replica that takes the place of its master', async () => {
    const { store, redis } = await opened(cluster);
    const names = Array.from({ length: 12 }, (_, n) => `node${n}`);
    // What the replica has not got dies with the master: here it has it.
    const { store: careful } = await opened(cluster, 30, 1);
    await Promise.all(names.map((name) => careful.nodes.create(node(name))));
    await Promise.all(names.map((name) => publish(careful, 'before', name)));
    const victim = await cluster.ownerOf('{n:node0}');
    await victim.kill();
    expect(await Promise.all(names.map((name) => publish(store, 'meanwhile', name)))).toEqual(names.map(() => true));
    await until('the link', () => redis.up);
    for (const name of names) expect(ids(await store.items.latest(name, 1))).toEqual(['meanwhile']);
    expect(await cluster.ownerOf('{n:node0}')).not.toBe(victim);
  });

  test('follows slots that move while their nodes are written, and loses nothing', async () => {
    const { store } = await opened(cluster);
    await store.nodes.create(node('node'));
    const slot = slotOf('{n:node}');
    const answers: Promise<boolean>[] = [];
    const write = async () => {
      for (let n = 0; n < 50; n++) {
        answers.push(publish(store, `i${answers.length}`));
        if (n % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await write();
    for (let moves = 0; moves < 2; moves++) {
      const from = await cluster.ownerOf('{n:node}');
      const to = (await cluster.owners()).map(({ server }) => server).find((server) => server !== from)!;
      await cluster.moveSlot(slot, to, write);
      await write();
    }
    expect(await Promise.all(answers)).toEqual(answers.map(() => true));
    expect(ids((await store.items.page('node', { limit: 1000 }))!.items)).toEqual(range(0, answers.length));
  });

  test('what is to lie on replicas counts only when it does', async () => {
    const redis = await openRedis(cluster.config({ replicas: 1, patience_seconds: 2 }));
    const store = await openStore({ kind: 'redis', path: '', redis, durability: 'commit' });
    closing.push(async () => {
      await store.close();
      await redis.close();
    });
    await store.nodes.create(node('node'));
    const master = await cluster.ownerOf('{n:node}');
    const replica = cluster.servers[cluster.servers.indexOf(master) + 3]!;
    expect(await publish(store, 'a')).toBe(true);
    await replica.kill();
    await expect(publish(store, 'b')).rejects.toMatchObject({ reason: 'unavailable' });
    expect(redisCounters.retries['unreplicated']).toBeGreaterThan(0);
    await replica.restart();
    await until('the replica', async () =>
      String(await replica.command('INFO', 'replication')).includes('master_link_status:up'),
    );
    expect(await publish(store, 'c')).toBe(true);
  });
});
