import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Device } from '../protocol/support/device.js';
import { create, publish } from '../protocol/support/pubsub.js';
import { RawClient } from '../support/client.js';
import { RedisServer, redisInstalled } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { startHost } from './hosts.js';

const LONG = { 'redis.patience_seconds': 300, 'shutdown.grace_seconds': 300, 'cluster.lease_seconds': 10 };

describe.skipIf(!redisInstalled)('a host that is told to end while Redis is away', () => {
  let redis: RedisServer;
  const hosts: TestServer[] = [];
  beforeEach(async () => void (redis = await RedisServer.start({ args: ['--appendonly', 'yes'] })));
  afterEach(async () => {
    for (const host of hosts.splice(0)) {
      await host.kill();
      await host.removeFolder();
    }
    await redis.stop();
  });
  async function host(name: string): Promise<TestServer> {
    const set = { ...LONG, 'cluster.host': name, 'cluster.advertise': `${name}.example.org:5222` };
    const started = await startHost(redis, { workers: 2, set });
    hosts.push(started);
    started.expectEnd();
    return started;
  }
  const left = (server: TestServer) => expect(server.ended).resolves.toEqual({ code: 0, signal: null });

  test.each(['killed', 'paused'] as const)('closes its streams, and does not wait: %s', async (how) => {
    const [a, b] = [await host('a'), await host('b')];
    await a.addUsers('sensor', 'reader', 'sleeper');
    const sensor = await RawClient.login(a, { user: 'sensor' });
    await create(sensor, 'kept', { persist_items: '1' });
    const reader = await Device.login(a, { user: 'reader', available: true });
    const sleeper = await Device.login(a, { user: 'sleeper', available: true });
    sleeper.cut();
    await b.addUsers('elsewhere');
    if (how === 'killed') await redis.kill();
    else redis.pause();
    // Each of them waits for Redis.
    sensor.send(publish('kept', 'x', 'p1'));
    sensor.send(`<message to='elsewhere@localhost'><body>x</body></message>`);
    a.signal('SIGTERM');
    await Promise.all([sensor.closed, reader.client.closed]);
    // Not cut: it is told what became of its publish, and where else it may go.
    expect((await sensor.expect({ name: 'iq', id: 'p1' })).attr('type')).toBe('error');
    expect(sensor.ended).toBe(true);
    expect(reader.client.unread.map(String).join()).toContain('b.example.org:5222');
    await left(a);
  });

  test('does what is still to be done when Redis is there again in time', async () => {
    const [a, b] = [await host('a'), await host('b')];
    await a.addUsers('sensor', 'reader');
    const sensor = await RawClient.login(a, { user: 'sensor' });
    await create(sensor, 'kept', { persist_items: '1' });
    const reader = await Device.login(a, { user: 'reader', available: true });
    redis.pause();
    sensor.send(publish('kept', 'x', 'p1'));
    a.signal('SIGTERM');
    await a.logged((line) => line.includes('"closing"'));
    redis.resume();
    expect((await sensor.expect({ name: 'iq', id: 'p1' })).attr('type')).toBe('result');
    await left(a);
    // Its lease was given back, and nothing is left to be cleaned up after.
    expect(await redis.command('ZCARD', 'thrum:cluster:departed:{cluster}')).toBe(0);
    expect(await redis.command('HLEN', 'thrum:cluster:workers:{cluster}')).toBe(2);
    const back = await Device.authenticated(b, { user: 'reader' });
    expect((await reader.resumeOn(back)).name).toBe('resumed');
  });
});
