import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { findFreePort } from '../../src/http/ports.js';
import { numbered } from '../protocol/support/device.js';
import { create, pubsub, SERVICE, storedItems } from '../protocol/support/pubsub.js';
import { NS, RawClient } from '../support/client.js';
import { Balancer, haproxyInstalled } from '../support/haproxy.js';
import { parseMetrics } from '../support/prometheus.js';
import { redisInstalled, RedisServer } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { startHost } from './hosts.js';
import { Roamer } from './roamer.js';

// Many processes and devices, and machines are busy.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const HOSTS = 3;
const port = () => findFreePort('127.0.0.1');
const DEVICES = 150;
/** Items of each device while one host after the other is restarted: for each of them, and after the last. */
const ITEMS = 12;

describe.skipIf(!redisInstalled || !haproxyInstalled)('a fleet behind a load balancer', () => {
  let redis: RedisServer;
  let front: Balancer;
  const ports: { c2s: number; c2s_tls: number; http: number }[] = [];
  const hosts: TestServer[] = [];
  const roamers: Roamer[] = [];

  beforeAll(async () => {
    redis = await RedisServer.start();
    for (let i = 0; i < HOSTS; i++) {
      const [c2s, c2s_tls, http] = [await port(), await port(), await port()];
      ports.push({ c2s, c2s_tls, http });
    }
    const starts = await Promise.allSettled(ports.map((_, index) => host(index)));
    for (const start of starts) if (start.status === 'fulfilled') hosts.push(start.value);
    for (const start of starts) if (start.status === 'rejected') throw start.reason;
    front = await Balancer.start(ports);
    await up();
  });
  afterAll(async () => {
    try {
      await Promise.all(roamers.map((roamer) => roamer.leave()));
      await Promise.all(hosts.map((one) => one.stop()));
    } finally {
      await front?.stop();
      await redis?.stop();
    }
  });

  const up = () => front.states((all) => all.every((state) => state === 'UP'));
  function host(index: number): Promise<TestServer> {
    const { c2s, c2s_tls, http } = ports[index]!;
    return startHost(redis, {
      set: {
        'c2s.port': c2s,
        'c2s_tls.port': c2s_tls,
        'http.port': http,
        'cluster.host': `host-${index}`,
        'cluster.lease_seconds': 30,
        'redis.patience_seconds': 30,
        'proxy_protocol.mode': 'required',
        'shutdown.grace_seconds': 30,
        'shutdown.spread_seconds': 3,
      },
    });
  }
  /** What was dropped, by reason, at that host. */
  async function drops(server: TestServer): Promise<Record<string, number>> {
    const { samples } = parseMetrics(await (await server.fetch('/metrics')).text());
    return Object.fromEntries(
      samples
        .filter(({ name, value }) => name === 'thrum_drops_total' && value > 0)
        .map(({ labels, value }) => [labels['reason'], value]),
    );
  }

  test('is restarted host by host: nobody needs more than to come back, and nothing is lost, doubled or out of order', async () => {
    const users = numbered(DEVICES, 'device');
    await hosts[0]!.addUsers('owner', ...users);
    const owner = await RawClient.login(front, { user: 'owner' });
    const options = { persist_items: '1', max_items: '1000', publish_model: 'open', send_last_published_item: 'never' };
    for (const [index, user] of users.entries()) {
      const node = `readings-${user}`;
      await create(owner, node, options);
      const reader = `${users[(index + 1) % DEVICES]}@localhost`;
      const entry = `<subscription jid='${reader}' subscription='subscribed'/>`;
      await owner.request(
        'set',
        pubsub(`<subscriptions node='${node}'>${entry}</subscriptions>`, NS.pubsubOwner),
        SERVICE,
      );
    }
    await owner.close();
    for (const user of users) roamers.push(await Roamer.login(front, user, `readings-${user}`));
    for (const roamer of roamers) {
      roamer.device.send('<presence/>');
      await roamer.device.ping();
    }
    // Of the preparations: the readers were told of their subscriptions when they were not there.
    const known = await Promise.all(hosts.map(drops));
    const neighbour = (index: number, by: number): Roamer => roamers[(index + by + DEVICES) % DEVICES]!;
    let items = 0;
    const more = (): void => {
      items += ITEMS;
      for (const [index, roamer] of roamers.entries()) roamer.publish(items, neighbour(index, 1));
    };

    for (let index = 0; index < HOSTS; index++) {
      more();
      await roamers[0]!.device.until(() => roamers[0]!.acknowledged.length > items - ITEMS + 2, 'the load has begun');
      expect(await drops(hosts[index]!)).toEqual(known[index]);
      // SIGTERM; it ends by itself when its clients have gone.
      await hosts[index]!.stop();
      hosts[index] = await host(index);
      await up();
      await Promise.all(roamers.map((roamer) => roamer.done()));
    }
    more();
    await Promise.all(roamers.map((roamer) => roamer.done()));

    const expected = numbered(items);
    const resumed = roamers.reduce((all, roamer) => all + roamer.resumed, 0);
    console.log(`rolling: ${DEVICES * items} items, ${resumed} sessions were resumed`);
    // Each host had clients when it was stopped.
    expect(resumed).toBeGreaterThanOrEqual(HOSTS);
    expect(roamers.flatMap(({ lost, refused }) => [...lost, ...refused])).toEqual([]);
    for (const [index, roamer] of roamers.entries()) {
      const { device, acknowledged } = roamer;
      const from = neighbour(index, -1);
      await device.until(() => device.items(from.node).length >= items && device.bodies().length >= items, 'all came');
      await device.ping();
      expect(acknowledged).toEqual(expected);
      expect(device.items(from.node)).toEqual(expected);
      expect(device.bodies()).toEqual(expected);
    }
    const reader = await RawClient.login(front, { user: 'owner' });
    for (const { node } of roamers) expect(await storedItems(reader, node)).toEqual(expected);
    await reader.close();
    for (const server of hosts) expect(await drops(server)).toEqual({});
  });
});
