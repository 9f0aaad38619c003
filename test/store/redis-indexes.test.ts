import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openRedis } from '../../src/redis/open.js';
import type { Redis } from '../../src/redis/redis.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { shardOf } from '../../src/store/redis/keys.js';
import { RedisCluster, RedisServer, redisInstalled, until } from '../support/redis.js';
import { losing } from './losing.js';
import { account, item, node, subscription } from './records.js';

const LONG_AGO = Date.now() - 3_600_000;

describe.skipIf(!redisInstalled).each([
  ['one Redis', () => RedisServer.start()],
  ['a Redis Cluster', () => RedisCluster.start()],
] as [string, () => Promise<RedisServer | RedisCluster>][])('the indexes on %s', (_, start) => {
  let server: RedisServer | RedisCluster;
  let redis: Redis;
  let store: Store;
  beforeAll(async () => {
    server = await start();
    redis = await openRedis(server.config());
    store = await openStore({ kind: 'redis', path: '', redis, durability: 'commit' });
  });
  afterAll(async () => {
    await store.close();
    await redis.close();
    await server.stop();
  });
  beforeEach(() => server.flushKeys());

  const bare = 'romeo@montague.lit';
  const index = (kind: string, tag: string) => `thrum:${kind}:{${tag}}`;

  test('nothing is left of nodes and accounts that are removed', async () => {
    const names = Array.from({ length: 20 }, (_, n) => `node${n}`);
    await Promise.all(
      names.map(async (name) => {
        await store.nodes.create(node(name, { affiliations: { [bare]: 'owner', 'a@b': 'member' } }));
        await Promise.all([
          ...['x', 'y'].map((id) => store.items.publish(name, item(id), 5)),
          ...['a@b', 'a@b/c', bare].map((jid) => store.nodes.addSubscription(subscription(name, jid))),
        ]);
        await store.nodes.update(name, (record) => ({ ...record, affiliations: { [bare]: 'owner', 'c@d': 'member' } }));
      }),
    );
    for (let n = 0; n < 20; n++) await store.accounts.create(`user${n}`, account(n));
    expect((await server.keys()).length).toBeGreaterThan(100);
    for (let n = 0; n < 20; n++) await store.accounts.remove(`user${n}`);
    await Promise.all(names.slice(0, 10).map((name) => store.nodes.removeSubscription(name, 'a@b')));
    expect(await Promise.all(names.map((name) => store.nodes.remove(name)))).toEqual(names.map(() => true));
    await store.flush();
    // What goes by itself.
    expect((await server.keys()).filter((key) => !key.startsWith('thrum:done-'))).toEqual([]);
  });

  test('names in pieces make no two nodes one', async () => {
    const names = ['a}b', 'a', '}', '{', '{}', 'a}{n:a', 'x:{n:a}', 'é}'];
    for (const name of names) {
      expect(await store.nodes.create(node(name))).toBe(true);
      await store.items.publish(name, item(name), 5);
      await store.nodes.addSubscription(subscription(name, 'a@b'));
    }
    for (const name of names) expect((await store.items.latest(name, 5)).map(({ id }) => id)).toEqual([name]);
    expect((await store.nodes.subscriptionsOf('a@b')).map((found) => found.node).sort()).toEqual([...names].sort());
    for (const name of names) await store.nodes.remove(name);
    await store.flush();
    expect(await server.keys()).toEqual([]);
  });

  test('a creation that was broken off before the node was there leaves nothing for long', async () => {
    const shard = `s${shardOf('half')}`;
    for (const key of [index('nodes-pending', shard), index('created-pending', `b:${bare}`)])
      await redis.call('ZADD', [key, LONG_AGO, 'half']);
    await redis.call('ZADD', [index('affs-pending', `b:${bare}`), LONG_AGO, 'half']);
    expect(await store.nodes.list(undefined, 10)).toEqual([]);
    expect(await store.nodes.count()).toBe(0);
    expect(await store.nodes.countByCreator(bare)).toBe(0);
    expect(await store.nodes.affiliationsOf(bare)).toEqual([]);
    await store.flush();
    expect(await server.keys()).toEqual([]);
  });

  test('a creation that was broken off after the node was there counts, and is brought to its end', async () => {
    await store.nodes.create(node('half'));
    const shard = `s${shardOf('half')}`;
    const kinds = [
      ['nodes', shard],
      ['created', `b:${bare}`],
      ['affs', `b:${bare}`],
    ] as const;
    for (const [kind, tag] of kinds) {
      await redis.call('DEL', [index(kind, tag)]);
      await redis.call('ZADD', [index(`${kind}-pending`, tag), LONG_AGO, 'half']);
    }
    expect(await store.nodes.list(undefined, 10)).toEqual(['half']);
    expect(await store.nodes.count()).toBe(1);
    expect(await store.nodes.countByCreator(bare)).toBe(1);
    expect(await store.nodes.affiliationsOf(bare)).toEqual([{ node: 'half', affiliation: 'owner' }]);
    await store.flush();
    for (const [kind, tag] of kinds) {
      expect(await redis.call('EXISTS', [index(kind, tag)])).toBe(1);
      expect(await redis.call('EXISTS', [index(`${kind}-pending`, tag)])).toBe(0);
    }
  });

  test('what nobody reads is found by a sweep', async () => {
    await store.nodes.create(node('kept', { creator: 'a@b', affiliations: {} }));
    for (const [kind, tag, entry] of [
      ['nodes', `s${shardOf('half')}`, 'half'],
      ['created', 'b:a@b', 'half'],
      ['created', 'b:a@b', 'kept'],
      ['affs', 'b:}:{n:x', 'half'],
      ['subsof', `b:${bare}`, '/r\0half'],
    ] as const)
      await redis.call('ZADD', [index(`${kind}-pending`, tag), LONG_AGO, entry]);
    await redis.call('ZADD', [index('nodes-pending', `s${shardOf('fresh')}`), Date.now(), 'fresh']);
    const sweeping = store as unknown as { sweep(age: number): Promise<number> };
    expect(await sweeping.sweep(60_000)).toBe(5);
    expect((await server.keys()).filter((key) => key.includes('pending'))).toEqual([
      index('nodes-pending', `s${shardOf('fresh')}`),
    ]);
    expect(await store.nodes.countByCreator('a@b')).toBe(1);
    expect(await sweeping.sweep(-1)).toBe(1);
    await store.nodes.remove('kept');
    await store.flush();
    expect(await server.keys()).toEqual([]);
  });

  test('a damaged node does not keep a sweep from the others, nor do names that look like keys of it', async () => {
    const names = Array.from({ length: 20 }, (_, n) => `damaged ${n}`);
    for (const name of names) await redis.call('SET', [`thrum:node:{n:${name}}`, 'nonsense']);
    for (const name of [...names, 'half']) await redis.call('ZADD', [index('affs-pending', 'b:a@b'), LONG_AGO, name]);
    await store.nodes.create(node('x:nodes-pending:{s0', { creator: 'c@d', affiliations: {} }));
    await store.items.publish('x:nodes-pending:{s0', item('i', { published: 1 }), 5);
    const sweeping = store as unknown as { sweep(age: number): Promise<number> };
    expect(await sweeping.sweep(60_000)).toBe(1);
    expect(await redis.call('ZSCORE', [index('affs-pending', 'b:a@b'), 'half'])).toBeNull();
    expect(await redis.call('EXISTS', [index('nodes-pending', 's0')])).toBe(0);
  });

  test('one that is under way is left to whoever does it', async () => {
    const key = index('nodes-pending', `s${shardOf('fresh')}`);
    await redis.call('ZADD', [key, Date.now(), 'fresh']);
    expect(await store.nodes.list(undefined, 10)).toEqual([]);
    await store.flush();
    expect(await server.keys()).toEqual([key]);
  });

  test('a removal that was broken off leaves no subscription behind', async () => {
    await store.nodes.create(node('gone'));
    for (const jid of ['a@b', 'a@b/c']) await store.nodes.addSubscription(subscription('gone', jid));
    for (const kind of ['node', 'subs']) await redis.call('DEL', [`thrum:${kind}:{n:gone}`]);
    expect(await store.nodes.subscriptionsOf('a@b')).toEqual([]);
    expect(await store.nodes.affiliationsOf(bare)).toEqual([]);
    await store.flush();
    expect((await server.keys()).filter((key) => /subsof|affs/.test(key))).toEqual([]);
  });

  test('a removal that is done again, since its answer was lost, spares the node that was made in its place', async () => {
    let meanwhile = (): Promise<unknown> => Promise.resolve();
    const lossy = losing(redis, 'node-remove', () => meanwhile());
    const second = await openStore({ kind: 'redis', path: '', redis: lossy, durability: 'commit' });
    for (const again of [false, true]) {
      await store.nodes.create(node('n', { created: 1 }));
      await store.nodes.addSubscription(subscription('n', 'a@b'));
      meanwhile = () => (again ? store.nodes.create(node('n', { created: 2 })) : Promise.resolve());
      expect(await second.nodes.remove('n')).toBe(true);
      expect((await store.nodes.get('n'))?.created).toBe(again ? 2 : undefined);
      await second.flush();
      expect(await store.nodes.subscriptionsOf('a@b')).toEqual([]);
    }
    expect(await store.nodes.list(undefined, 10)).toEqual(['n']);
    expect(await store.nodes.countByCreator(bare)).toBe(1);
    meanwhile = () => Promise.resolve();
    await second.nodes.remove('n');
    await second.close();
    expect(await server.keys()).toEqual([]);
  });

  test('creations and removals of one name by two processes end with indexes that are right', async () => {
    const other = await openRedis(server.config());
    const second = await openStore({ kind: 'redis', path: '', redis: other, durability: 'commit' });
    const churn = async (at: Store, jid: string) => {
      for (let n = 0; n < 25; n++) {
        await at.nodes.create(node('churn'));
        await at.nodes.addSubscription(subscription('churn', jid));
        if (n % 3 > 0) await at.nodes.remove('churn');
        else await at.nodes.removeSubscription('churn', jid);
      }
    };
    await Promise.all([churn(store, 'a@b/1'), churn(second, 'a@b/2')]);
    await Promise.all([store.flush(), second.flush()]);
    const there = (await store.nodes.get('churn')) !== undefined;
    expect(await store.nodes.list(undefined, 5)).toEqual(there ? ['churn'] : []);
    expect(await store.nodes.countByCreator(bare)).toBe(there ? 1 : 0);
    expect(await store.nodes.affiliationsOf(bare)).toHaveLength(there ? 1 : 0);
    const held = there ? await store.nodes.subscriptionsOfNode('churn') : [];
    expect(await store.nodes.subscriptionsOf('a@b')).toHaveLength(held.length);
    await store.nodes.remove('churn');
    await until('an empty keyspace', async () => {
      await Promise.all([store.flush(), second.flush()]);
      return (await server.keys()).length === 0;
    });
    await second.close();
    await other.close();
  });
});
