import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Device, message } from '../protocol/support/device.js';
import { RawClient } from '../support/client.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { ready, startHost } from './hosts.js';

const COUNT = 20;
const TEXTS = Array.from({ length: COUNT }, (_, i) => `text ${i}`);

describe.skipIf(!redisInstalled)('messages that wait for a resumable session at a host that was taken for dead', () => {
  let redis: RedisServer;
  let host: TestServer;
  let device: Device;

  beforeEach(async () => {
    redis = await RedisServer.start();
    host = await startHost(redis);
    await host.addUsers('sender', 'account');
    device = await Device.login(host, { user: 'account', available: true, acknowledging: 'never' });
    const sender = await RawClient.login(host, { user: 'sender' });
    for (const text of TEXTS) sender.send(message(device.jid, text, `type='chat'`));
    await device.until(() => device.bodies().length === COUNT, 'all');
    await until('a copy of each', async () => (await copies()).join() === `${COUNT}`);
  });
  afterEach(async () => {
    await host?.stop();
    await redis?.stop();
  });

  const member = async (): Promise<[string, number] | undefined> => {
    const [number, json] = (await redis.command('HGETALL', 'thrum:cluster:workers:{cluster}')) as Buffer[];
    return number && [String(number), (JSON.parse(String(json)) as { epoch: number }).epoch];
  };
  /** How many there are under each key. */
  const copies = async (): Promise<number[]> => {
    const keys = (await redis.keys()).filter((key) => key.includes(':spool:'));
    return Promise.all(keys.map(async (key) => Number(await redis.command('HLEN', key))));
  };
  const registeredAnew = async (before: number): Promise<void> => {
    await until('a new epoch', async () => ((await member())?.[1] ?? 0) > before);
    await until('what is its own being there', () => ready(host));
  };

  test('are not delivered once more, however late somebody cleans up', async () => {
    const [number, epoch] = (await member())!;
    // As another does that dies before it has begun to clean up.
    await redis.command('ZADD', 'thrum:cluster:departed:{cluster}', 0, `${number}:${epoch}`);
    await redis.command('ZREM', 'thrum:cluster:leases:{cluster}', number);
    await redis.command('HDEL', 'thrum:cluster:workers:{cluster}', number);
    await registeredAnew(epoch);
    await until('the end of it', async () => (await redis.command('ZCARD', 'thrum:cluster:departed:{cluster}')) === 0);
    await device.ping();
    expect(device.bodies()).toEqual(TEXTS);
    await until('a copy of each', async () => (await copies()).join() === `${COUNT}`);
  });

  test.each(['is emptied', 'comes back empty'])('leave nothing behind when Redis %s', async (what) => {
    const [, epoch] = (await member())!;
    if (what === 'is emptied') await redis.flushKeys();
    else await redis.restart();
    await registeredAnew(epoch);
    await until('a copy of each', async () => (await copies()).join() === `${COUNT}`);
    device.acknowledge();
    await until('no copies', async () => (await copies()).length === 0);
    await device.ping();
    expect(device.bodies()).toEqual(TEXTS);
  });
});
