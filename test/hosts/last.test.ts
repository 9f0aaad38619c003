import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Device, message } from '../protocol/support/device.js';
import { RawClient, errorOf } from '../support/client.js';
import { RedisServer, redisInstalled } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { startHost } from './hosts.js';

describe.skipIf(!redisInstalled)('the last host', () => {
  let redis: RedisServer;
  let host: TestServer;
  beforeEach(async () => {
    redis = await RedisServer.start();
    host = await startHost(redis);
    await host.addUsers('device', 'sender');
  });
  afterEach(async () => {
    await host?.stop();
    await redis?.stop();
  });

  test('answers what waits for a client that may resume, and leaves nothing of its session', async () => {
    const device = await Device.login(host, { user: 'device', available: true });
    await device.vanish();
    const sender = await RawClient.login(host, { user: 'sender' });
    sender.send(message(device.jid, 'waits', "type='chat' id='waits'"));
    await sender.expectNothing({ name: 'message' });
    await host.stop();
    expect(errorOf(await sender.message({ id: 'waits' })).condition).toBe('service-unavailable');
    const left = (await redis.keys()).filter((key) => /^thrum:(sessions|held|spool|cluster:departed)/.test(key));
    expect(left).toEqual([]);
  });
});
