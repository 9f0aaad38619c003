import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, describe, test } from 'vitest';
import type { ClusterReading } from '../../src/cli/cluster-reading.js';
import { ended, start, thrum } from '../cli/spawn.js';
import { create, publish, storedItems, subscribe } from '../protocol/support/pubsub.js';
import { metric } from '../protocol/support/metrics.js';
import { RawClient } from '../support/client.js';
import { redisInstalled, RedisServer } from '../support/redis.js';
import { startServer, type TestServer } from '../support/server.js';
import { nextItem, startHost } from './hosts.js';

describe.skipIf(!redisInstalled)('operating several hosts', () => {
  let redis: RedisServer;
  let folder: string;
  let running: TestServer[];
  beforeAll(async () => void (redis = await RedisServer.start()));
  afterAll(() => redis?.stop());
  beforeEach(async () => {
    await redis.command('FLUSHALL');
    running = [];
    folder = mkdtempSync(join(tmpdir(), 'thrum-operating-'));
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((server) => server.stop()));
    rmSync(folder, { recursive: true, force: true });
  });

  async function host(name: string, workers = 1): Promise<TestServer> {
    const server = await startHost(redis, { workers, set: { 'cluster.host': name, 'cluster.lease_seconds': 30 } });
    running.push(server);
    return server;
  }
  async function published(sensor: RawClient, item: string): Promise<void> {
    sensor.send(publish('kitchen', item));
    expect((await sensor.expect({ name: 'iq', id: `p${item}` })).attr('type')).toBe('result');
  }
  async function reading(): Promise<ClusterReading> {
    const at = ['--set', 'store=redis', '--set', `redis.url=${redis.url}`];
    return JSON.parse((await thrum(folder, ['cluster', 'status', '--json', ...at])).out) as ClusterReading;
  }

  test('thrum cluster status shows the hosts that there are, their processes and sessions', async () => {
    const [north, south] = [await host('north', 2), await host('south')];
    await north.addUsers('sensor', 'dashboard');
    const sensor = await RawClient.login(north, { user: 'sensor', available: true });
    const dashboards = [
      await RawClient.login(south, { user: 'dashboard', resource: 'a', available: true }),
      await RawClient.login(south, { user: 'dashboard', resource: 'b', available: true }),
    ];
    const { departed, cluster, domain, ...more } = await reading();
    const [workers, shards] = [more.workers!, more.shards!];
    expect([cluster, domain]).toEqual(['thrum', 'localhost']);
    expect(workers.map(({ host, slot, pid }) => ({ host, slot, pid }))).toEqual([
      { host: 'north', slot: 0, pid: north.workers[0] },
      { host: 'north', slot: 1, pid: north.workers[1] },
      { host: 'south', slot: 0, pid: south.workers[0] },
    ]);
    expect(new Set(workers.map(({ number }) => number)).size).toBe(3);
    expect(workers.reduce((sum, { sessions }) => sum + sessions!, 0)).toBe(3);
    expect(workers[2]!.sessions).toBe(2);
    for (const { leaseLeft } of workers) expect(leaseLeft).toBeLessThanOrEqual(30_000);
    expect([shards.min, shards.max, departed]).toEqual([0, 2, 0]);
    expect(await metric(south, 'thrum_cluster_workers')).toBe(3);
    for (const worker of ['0', '1']) {
      expect(await metric(north, 'thrum_cluster_lease_age_seconds', { worker })).toBeGreaterThan(0);
      expect(await metric(north, 'thrum_cluster_lag_seconds', { worker })).toBeGreaterThanOrEqual(0);
    }
    expect(await metric(north, 'thrum_redis_up')).toBe(1);

    for (const client of [sensor, ...dashboards]) await client.close();
    running.splice(running.indexOf(south), 1);
    await south.stop();
    expect((await reading()).workers!.map(({ host }) => host)).toEqual(['north', 'north']);
  });

  test('thrum sensor at one host is seen by thrum watch at the other: their account has one password', async () => {
    const [north, south] = [await host('north'), await host('south')];
    const at = ({ dataDir }: TestServer) => ['--set', `data_dir=${dataDir}`];
    const sensor = ['sensor', '--interval', '0.05', '--count'];
    expect((await thrum(folder, [...sensor, '1', ...at(north)])).code).toBe(0);
    const watching = start(folder, ['watch', 'sensors/temperature', '--count', '3', ...at(south)]);
    const over = ended(watching);
    await new Promise((resolve) => watching.stdout.once('data', resolve));
    expect((await thrum(folder, [...sensor, '5', ...at(north)])).code).toBe(0);
    const { code, out, err } = await over;
    expect([code, err, out.trim().split('\n').length]).toEqual([0, '', 4]);
  });

  test('a single host becomes the first of many: accounts, items and subscriptions are there', async () => {
    const alone = await startServer({ dataDir: folder });
    await alone.addUsers('sensor', 'dashboard');
    const before = await RawClient.login(alone, { user: 'sensor' });
    await create(before, 'kitchen', { persist_items: '1', max_items: '10' });
    for (const id of ['one', 'two', 'three']) await published(before, id);
    const subscriber = await RawClient.login(alone, { user: 'dashboard', resource: 'd', available: true });
    await subscribe(subscriber, 'kitchen');
    await alone.stop();

    const move = ['migrate', '--from', 'lmdb', '--to', 'redis', '--set', `data_dir=${folder}`];
    const moved = await thrum(folder, [...move, '--set', `redis.url=${redis.url}`]);
    expect(moved.err).toContain('copying');
    expect(moved.code).toBe(0);

    const [north, south] = [await host('north'), await host('south')];
    const sensor = await RawClient.login(north, { user: 'sensor' });
    expect(await storedItems(sensor, 'kitchen')).toEqual(['one', 'two', 'three']);
    const dashboard = await RawClient.login(south, { user: 'dashboard', resource: 'd', available: true });
    await published(sensor, 'four');
    // It may be told of the last item first.
    for (let item = ''; item !== 'four';) item = await nextItem(dashboard, 'kitchen');
    for (const client of [sensor, dashboard]) await client.close();

    const refused = await thrum(folder, [
      'migrate',
      '--from',
      'redis',
      '--to',
      'lmdb',
      '--set',
      `redis.url=${redis.url}`,
    ]);
    expect(refused.err).toMatch(/brokers run on this Redis: north, south\n/);
    expect(refused.code).toBe(1);
  });
});
