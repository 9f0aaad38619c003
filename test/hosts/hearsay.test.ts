import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clientAt, liveWorkers } from '../protocol/support/places.js';
import { SERVICE, create, publish, pubsub, subscribe } from '../protocol/support/pubsub.js';
import { NS, type RawClient } from '../support/client.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { nextItem, numbers, ready, startHost } from './hosts.js';

/** Whatever a client publishes at the first worker, that one has never heard of the node when Redis goes away. */
describe.skipIf(!redisInstalled)('nodes that one worker of a host knows, without Redis', () => {
  let redis: RedisServer;
  let host: TestServer;
  let owner: RawClient;
  let reader: RawClient;
  let sensor: RawClient;
  let banned: RawClient;
  beforeAll(async () => {
    redis = await RedisServer.start({ args: ['--appendonly', 'yes'] });
    host = await startHost(redis, { workers: 2 });
    const [first, second] = liveWorkers(host) as [number, number];
    owner = await clientAt(host, second, { user: 'owner' });
    reader = await clientAt(host, second, { user: 'reader', available: true });
    sensor = await clientAt(host, first, { user: 'sensor' });
    banned = await clientAt(host, first, { user: 'banned' });
    await create(owner, 'loose', { persist_items: '0', publish_model: 'open' });
    await create(owner, 'kept', { publish_model: 'open' });
    await ban('banned');
    for (const node of ['loose', 'kept']) {
      await subscribe(reader, node);
      await owner.request('set', publishing(node, 'known'), SERVICE);
      expect(await nextItem(reader, node)).toBe('known');
    }
    await redis.kill();
    await until('a host without Redis', async () => !(await ready(host)));
  });
  afterAll(async () => {
    await host?.stop();
    await redis?.stop();
  });

  async function ban(user: string): Promise<void> {
    const affiliation = `<affiliation jid='${user}@localhost' affiliation='outcast'/>`;
    const wish = pubsub(`<affiliations node='loose'>${affiliation}</affiliations>`, NS.pubsubOwner);
    await owner.request('set', wish, SERVICE);
  }

  /** Type and condition of the error that a publish is answered with. */
  async function refusal(client: RawClient, node: string): Promise<string> {
    const error = (await client.iq('set', publishing(node, 'refused'), SERVICE)).child('error');
    return `${error?.attr('type')} ${error?.elements()[0]?.name}`;
  }

  test('are published to at another one, by those who may', async () => {
    expect(await refusal(banned, 'loose')).toBe('auth forbidden');
    for (const item of ['first', ...numbers(20)]) {
      sensor.send(publish('loose', item));
      expect(await nextItem(reader, 'loose')).toBe(item);
      expect((await sensor.expect({ name: 'iq', id: `p${item}` })).attr('type')).toBe('result');
    }
    expect(await refusal(banned, 'loose')).toBe('auth forbidden');
  });

  test('are not where Redis has to keep the item, nor is what nobody knows', async () => {
    for (const node of ['kept', 'nobodys']) {
      expect([node, await refusal(sensor, node)]).toEqual([node, 'wait internal-server-error']);
    }
  });

  test('are what Redis says when it is back', async () => {
    await redis.restart();
    await until('a host with Redis', () => ready(host));
    await sensor.request('set', publishing('loose', 'after'), SERVICE);
    expect(await nextItem(reader, 'loose')).toBe('after');
    await ban('sensor');
    expect(await refusal(sensor, 'loose')).toBe('auth forbidden');
  });
});

function publishing(node: string, item: string): string {
  return pubsub(`<publish node='${node}'><item id='${item}'><v xmlns='urn:x'/></item></publish>`);
}
