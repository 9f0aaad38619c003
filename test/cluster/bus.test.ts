import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import type { Config } from '../../src/config/config.js';
import { RedisCluster, RedisServer, redisInstalled } from '../support/redis.js';
import { type Buses, busConformance, type Conditions } from './bus-conformance.js';
import { type Host, connected, host } from './hosts.js';
import { mesh } from './mesh.js';

describe('within a host', () => {
  busConformance(async (size, { backlogBytes, onError }) => {
    const { buses, join } = await mesh(size, { ...(backlogBytes && { backlogBytes }), ...(onError && { onError }) });
    return { buses, join, leave: (bus) => bus.close() };
  });
});

async function overRedis(redis: Config['redis'], size: number, conditions: Conditions): Promise<Buses> {
  const { backlogBytes, onError } = conditions;
  const options = { redis, ...(backlogBytes && { backlogBytes }) };
  const all = await connected(size, options, ({ errors }) => {
    if (onError) errors.push = (...items) => items.map(onError).length;
  });
  const hostOf = (bus: Host['bus']): Host => all.find((one) => one.bus === bus)!;
  return {
    buses: all.map(({ bus }) => bus),
    join: async (prepare) => {
      const one = await host({ ...options, number: all.length + 1 });
      all.push(one);
      prepare(one.bus);
      await one.hosts.connect();
      return one.bus;
    },
    leave: (bus) => hostOf(bus).hosts.leave(),
  };
}

describe.skipIf(!redisInstalled)('between hosts', () => {
  describe('with one Redis', () => {
    let server: RedisServer;
    beforeAll(async () => void (server = await RedisServer.start()));
    afterAll(() => server?.stop());
    beforeEach(() => server.flushKeys());
    busConformance((size, conditions) => overRedis(server.config(), size, conditions));
  });

  describe('with a Redis Cluster', () => {
    let cluster: RedisCluster;
    beforeAll(async () => void (cluster = await RedisCluster.start()));
    afterAll(() => cluster?.stop());
    beforeEach(() => cluster.flushKeys());
    busConformance((size, conditions) => overRedis(cluster.config(), size, conditions));
  });
});
