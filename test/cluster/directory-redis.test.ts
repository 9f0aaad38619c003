import { afterAll, beforeAll, describe } from 'vitest';
import { RedisCluster, redisInstalled, RedisServer } from '../support/redis.js';
import { company } from './company.js';
import { directoryConforms, type Workers } from './directory-conformance.js';

let prefixes = 0;

describe.skipIf(!redisInstalled)('on one Redis', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
  });
  afterAll(() => server.stop());
  directoryConforms('the directory', (size) => open(server, size));
});

describe.skipIf(!redisInstalled)('on a Redis Cluster', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await RedisCluster.start();
  }, 60_000);
  afterAll(() => cluster.stop());
  directoryConforms('the directory', (size) => open(cluster, size));
});

async function open(server: RedisServer | RedisCluster, size: number): Promise<Workers> {
  const workers = await company(server.config({ prefix: `p${++prefixes}` }), size);
  return {
    directories: workers.map(({ directory }) => directory),
    kill: async (number) => {
      await workers[number - 1]!.die();
      await workers.find((worker) => worker.number !== number)!.sweep(number, number);
    },
  };
}
