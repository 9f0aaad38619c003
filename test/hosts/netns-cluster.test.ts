import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { storedItems } from '../protocol/support/pubsub.js';
import { RawClient } from '../support/client.js';
import { Network, namespacesAllowed } from '../support/netns.js';
import { RedisCluster, redisInstalled, until } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { numbers, ready, startHost } from './hosts.js';
import { Load } from './load.js';

const MASTERS = ['m0', 'm1', 'm2'];
const HOSTS = ['north', 'south', 'west'];
const ITEMS = 80;

/** A network that is cut in places, so that no two hosts reach the same part of Redis; and a Redis that is cut apart itself. */
describe.skipIf(!redisInstalled || !namespacesAllowed)('a Redis Cluster on machines of its own', () => {
  let network: Network;
  let cluster: RedisCluster;
  const hosts: TestServer[] = [];

  const pairs = (some: readonly string[], others: readonly string[]): [string, string][] =>
    some.flatMap((one) => others.map((other): [string, string] => [one, other]));
  const cables = [...pairs(['m0'], ['m1', 'm2']), ...pairs(['m1'], ['m2']), ...pairs(MASTERS, HOSTS)];

  beforeAll(async () => {
    network = Network.of([...MASTERS, ...HOSTS], cables);
    cluster = await RedisCluster.start({ on: MASTERS.map((name) => network.on(name)) });
    const starts = HOSTS.map((name) =>
      startHost(cluster, {
        on: network.on(name),
        // The cuts end long before.
        set: { 'cluster.host': name, 'cluster.lease_seconds': 30, 'redis.patience_seconds': 8 },
      }),
    );
    for (const start of await Promise.allSettled(starts)) if (start.status === 'fulfilled') hosts.push(start.value);
    await Promise.all(starts);
  });
  afterEach(() => {
    for (const [one, other] of cables) network?.mend(one, other);
  });
  afterAll(async () => {
    try {
      const ends = await Promise.allSettled(hosts.map((host) => host.stop()));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    } finally {
      await cluster?.stop();
      network?.close();
    }
  });

  const away = (host: number) => until(`${HOSTS[host]} without all of Redis`, async () => !(await ready(hosts[host]!)));
  const whole = () => until('hosts that are ready', async () => (await Promise.all(hosts.map(ready))).every(Boolean));

  test.each<[string, [string, string][], number[]]>([
    // prettier-ignore
    ['each of two hosts misses another master', [['m0', 'north'], ['m1', 'south']], [0, 1]],
    // prettier-ignore
    ['a master is cut off from the other masters', [['m0', 'm1'], ['m0', 'm2']], [0, 1, 2]],
  ])('%s: nobody misses anything', async (_what, cut, without) => {
    const load = await Load.begin(hosts, ITEMS);
    await load.acknowledged(20, 0, 1, 2);
    for (const [one, other] of cut) network.cut(one, other);
    await Promise.all(without.map(away));
    for (const host of [0, 1, 2].filter((one) => !without.includes(one))) expect(await ready(hosts[host]!)).toBe(true);
    for (const [one, other] of cut) network.mend(one, other);
    await cluster.agreed();
    await whole();
    expect(await load.end()).toEqual({ faults: [], lost: 0 });
    for (const [host, node] of load.nodes.entries()) {
      const reader = await RawClient.login(hosts[host]!, { user: load.publishers[host]!.user });
      expect(await storedItems(reader, node)).toEqual(numbers(ITEMS + 1).slice(1));
      await reader.close();
    }
  });
});
