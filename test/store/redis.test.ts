import { afterAll, describe } from 'vitest';
import { openRedis } from '../../src/redis/open.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { RedisCluster, RedisServer, redisInstalled } from '../support/redis.js';
import { conformance } from './conformance.js';

/** Ended after the test of the file. */
const running: { stop(): Promise<void> }[] = [];
afterAll(() => Promise.all(running.map((server) => server.stop())));

async function on(server: RedisServer | RedisCluster, durability: 'commit' | 'flush', replicas = 0): Promise<Store> {
  running.push(server);
  const redis = await openRedis(server.config({ replicas }));
  running.unshift({ stop: () => redis.close() });
  return openStore({ kind: 'redis', path: '', redis, durability });
}

describe.skipIf(!redisInstalled)('on Redis', () => {
  conformance('the Redis store (single)', async () => on(await RedisServer.start(), 'commit'));
  conformance('the Redis store (single, flush)', async () =>
    on(await RedisServer.start({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] }), 'flush'),
  );
  conformance('the Redis store (cluster of three)', async () => on(await RedisCluster.start(), 'commit'));
  conformance('the Redis store (cluster of three, with replicas)', async () =>
    on(await RedisCluster.start({ replicas: 1 }), 'commit', 1),
  );
});
