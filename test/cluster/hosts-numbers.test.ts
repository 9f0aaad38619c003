import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BLOCK, workerNumbers } from '../../src/cluster/hosts/numbers.js';
import { openRedis } from '../../src/redis/open.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';

describe.skipIf(!redisInstalled)('worker numbers', () => {
  let server: RedisServer;
  beforeAll(async () => void (server = await RedisServer.start()));
  afterAll(() => server?.stop());

  test('no two hosts get the same, and a Redis without its data goes on behind those that are known', async () => {
    const [a, b] = [await openRedis(server.config()), await openRedis(server.config())];
    const [first, second] = [workerNumbers(a), workerNumbers(b)];
    expect(await first()).toEqual({ first: 1, count: BLOCK });
    expect(await second()).toEqual({ first: BLOCK + 1, count: BLOCK });
    expect(await second()).toEqual({ first: 2 * BLOCK + 1, count: BLOCK });
    await server.restart();
    await until('what is known being told', async () => {
      return String(await server.command('GET', 'thrum:cluster:numbers:{cluster}')) === String(3 * BLOCK);
    });
    expect(await first()).toEqual({ first: 3 * BLOCK + 1, count: BLOCK });
    await Promise.all([a.close(), b.close()]);
  });

  test('after the last number they begin again', async () => {
    await server.command('SET', 'thrum:cluster:numbers:{cluster}', 0xffffffff - 5);
    const redis = await openRedis(server.config());
    expect(await workerNumbers(redis)()).toEqual({ first: 1, count: BLOCK });
    await redis.close();
  });
});
