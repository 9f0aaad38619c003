import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { redisCounters } from '../../src/metrics/redis.js';
import { openRedis } from '../../src/redis/open.js';
import type { Redis } from '../../src/redis/redis.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { RedisServer, redisInstalled } from '../support/redis.js';
import { ids, item, node, subscription } from './records.js';

/** Redis does one thing at a time: what is large must be done in pieces, so that nobody waits long. */
describe.skipIf(!redisInstalled)('large nodes in Redis', () => {
  let server: RedisServer;
  let redis: Redis;
  let store: Store;
  beforeAll(async () => {
    server = await RedisServer.start();
    redis = await openRedis(server.config());
    store = await openStore({ kind: 'redis', path: '', redis, durability: 'commit' });
  });
  afterAll(async () => {
    await store.close();
    await redis.close();
    await server.stop();
  });

  /** How often each command and script is called meanwhile. */
  async function calls(work: () => Promise<unknown>): Promise<Record<string, number>> {
    const before = { ...redisCounters.calls };
    await work();
    await store.flush();
    return Object.fromEntries(Object.entries(redisCounters.calls).map(([name, n]) => [name, n - (before[name] ?? 0)]));
  }

  test('items beyond the limit, and expired ones, go in pieces', async () => {
    const size = 20_000;
    const publish = (id: string, published: number, maxItems: number) =>
      store.items.publish('large', item(id, { published, payload: Buffer.of() }), maxItems);
    await store.nodes.create(node('large'));
    const fill = () => Promise.all(Array.from({ length: size }, (_, n) => publish(`i${n}`, 1000 + n, size)));
    await fill();
    expect(await calls(async () => expect(await store.items.expire('large', 1000 + size - 5)).toBe(size - 5))).toEqual(
      expect.objectContaining({ expire: 3 }),
    );
    expect(await store.items.count('large')).toBe(5);
    await fill();
    const last = publish('last', 99_999, 3);
    // What comes in the same moment, under another limit, finds the first one done.
    const next = publish('next', 99_999, 10);
    expect((await calls(() => Promise.all([last, next])))['trim']).toBeGreaterThan(1);
    expect(ids(await store.items.latest('large', 10))).toEqual(['next', 'last', `i${size - 1}`, `i${size - 2}`]);
    expect(await redis.call('HLEN', ['thrum:items:{n:large}'])).toBe(4);
  });

  test('subscriptions are read in pieces, also those of a node that is removed, of which nothing is left', async () => {
    const size = 3000;
    await store.nodes.remove('large');
    await store.nodes.create(node('many'));
    const jids = Array.from({ length: size }, (_, n) => `user-${n}@montague.lit/r`);
    await Promise.all(jids.map((jid) => store.nodes.addSubscription(subscription('many', jid))));
    let found: string[] = [];
    const read = async () => (found = (await store.nodes.subscriptionsOfNode('many')).map(({ jid }) => jid));
    expect((await calls(read))['HSCAN']).toBeGreaterThan(1);
    expect(found.sort()).toEqual(jids.sort());
    expect((await calls(() => store.nodes.remove('many')))['HSCAN']).toBeGreaterThan(1);
    expect(await server.keys()).toEqual([]);
  });
});
