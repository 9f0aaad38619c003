import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NS, RawClient } from '../support/client.js';
import { RedisCluster, RedisServer, redisInstalled } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import {
  SERVICE,
  configure,
  create,
  publish,
  pubsub,
  remove,
  storedItems,
  subscribe,
} from '../protocol/support/pubsub.js';
import { nextItem, nextItems, numbers, startHost } from './hosts.js';

const ITEMS = 300;

describe.skipIf(!redisInstalled).each(['single', 'cluster'] as const)('hosts on a Redis (%s)', (kind) => {
  let redis: RedisServer | RedisCluster;
  let a: TestServer;
  let b: TestServer;
  beforeAll(async () => {
    redis = kind === 'single' ? await RedisServer.start() : await RedisCluster.start({ masters: 3 });
    a = await startHost(redis, { workers: 2 });
    b = await startHost(redis);
    await a.addUsers('sensor', 'dashboard', 'owner');
  });
  afterAll(async () => {
    await a?.stop();
    await b?.stop();
    await redis?.stop();
  });

  /** Sends publishes one after the other without waiting, and does `midway` before the one in the middle. */
  async function burst(sensor: RawClient, node: string, midway: () => Promise<void> = async () => undefined) {
    for (let i = 0; i < ITEMS; i++) {
      if (i === ITEMS / 2) await midway();
      sensor.send(publish(node, String(i)));
    }
  }

  async function acknowledged(sensor: RawClient): Promise<void> {
    for (let i = 0; i < ITEMS; i++) {
      const answer = await sensor.expect({ name: 'iq', id: `p${i}` });
      expect(answer.attr('type')).toBe('result');
    }
  }

  test.each(['0', '1'])('a publish at one reaches subscribers at all, in order (kept: %s)', async (persist) => {
    const node = `order${persist}`;
    const sensor = await RawClient.login(b, { user: 'sensor' });
    await create(sensor, node, { persist_items: persist, max_items: String(ITEMS) });
    const dashboards: RawClient[] = [];
    for (const host of [a, a, b]) dashboards.push(await RawClient.login(host, { user: 'dashboard', available: true }));
    await subscribe(dashboards[0]!, node);
    await burst(sensor, node);
    for (const dashboard of dashboards) expect(await nextItems(dashboard, node, ITEMS)).toEqual(numbers(ITEMS));
    await acknowledged(sensor);
    if (persist === '1') expect(await storedItems(dashboards[0]!, node)).toEqual(numbers(ITEMS));
    for (const client of [sensor, ...dashboards]) await client.close();
  });

  test('what is configured, deleted or subscribed at one goes for the other once the result has come', async () => {
    const owner = await RawClient.login(a, { user: 'owner' });
    const sensor = await RawClient.login(b, { user: 'sensor' });
    const dashboard = await RawClient.login(b, { user: 'dashboard', available: true });
    const reading = pubsub(`<publish node='rules'><item id='2'><v xmlns='urn:x'/></item></publish>`);
    await create(owner, 'rules', { persist_items: '0', publish_model: 'open' });
    await subscribe(dashboard, 'rules');
    sensor.send(publish('rules', '1'));
    expect(await nextItem(dashboard, 'rules')).toBe('1');
    await configure(owner, 'rules', { publish_model: 'publishers' });
    expect((await sensor.refused('set', reading, SERVICE)).condition).toBe('forbidden');
    await remove(owner, 'rules');
    await dashboard.expect(
      (stanza) => stanza.child('event', NS.pubsubEvent)?.child('delete')?.attr('node') === 'rules',
    );
    expect((await sensor.refused('get', pubsub(`<items node='rules'/>`), SERVICE)).condition).toBe('item-not-found');
    for (const client of [owner, sensor, dashboard]) await client.close();
  });

  test('a third host that is killed costs nobody else anything', async () => {
    const c = await startHost(redis);
    const sensor = await RawClient.login(b, { user: 'sensor' });
    const dashboard = await RawClient.login(a, { user: 'dashboard', available: true });
    const doomed = await RawClient.login(c, { user: 'dashboard', available: true });
    await create(sensor, 'killed', { persist_items: '1', max_items: String(ITEMS) });
    await subscribe(dashboard, 'killed');
    await burst(sensor, 'killed', async () => {
      await nextItem(doomed, 'killed');
      await c.kill();
    });
    expect(await nextItems(dashboard, 'killed', ITEMS)).toEqual(numbers(ITEMS));
    await acknowledged(sensor);
    expect(await storedItems(sensor, 'killed')).toEqual(numbers(ITEMS));
    for (const client of [sensor, dashboard]) await client.close();
    await c.removeFolder();
  });
});
