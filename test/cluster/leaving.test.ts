import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { RedisDirectory } from '../../src/cluster/redis-directory.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';
import { connected, type Host } from './hosts.js';

const KEPT = ['--appendonly', 'yes', '--appendfsync', 'always'];

describe.skipIf(!redisInstalled)('a worker that leaves', () => {
  async function two() {
    const server = await RedisServer.start({ args: KEPT });
    onTestFinished(() => server.stop());
    const directories: RedisDirectory[] = [];
    const redis = server.config({ patience_seconds: 1 });
    const all = await connected(2, { redis, leaseSeconds: 20 }, ({ redis, hosts }) => {
      const directory = new RedisDirectory({ redis, hosts, verifyMs: 60_000 });
      onTestFinished(() => directory.close());
      directories.push(directory);
    });
    const [a, b] = all as [Host, Host];
    const cleaned = vi.fn(() => Promise.resolve());
    b.hosts.onDeparted(cleaned);
    const entry = { bare: 'x@example.org', resource: 'r', worker: 1, id: '1.x', available: true, priority: 0 };
    const directory = directories[0]!;
    await directory.bind(entry);
    const sessions = async (): Promise<string[]> =>
      (await server.keys()).filter((key) => /^thrum:(sessions|held):/.test(key));
    expect(await sessions()).toHaveLength(2);
    const departed = (): Promise<unknown> => server.command('ZCARD', 'thrum:cluster:departed:{cluster}');
    return { server, a, b, directory, entry, cleaned, sessions, departed };
  }

  test('in order leaves nothing for others', async () => {
    const { a, b, directory, entry, cleaned, sessions, departed } = await two();
    directory.unbind(entry);
    await directory.close();
    await a.hosts.leave();
    await until('the others knowing', () => b.bus.peers.size === 0);
    expect([await sessions(), await departed(), cleaned.mock.calls.length]).toEqual([[], 0, 0]);
  });

  test('while Redis was away leaves to others what it could not remove', async () => {
    const { server, a, b, directory, entry, cleaned, sessions, departed } = await two();
    const { epoch } = a.hosts;
    await server.kill();
    await until('nobody being there', () => !a.redis.up);
    // Until it is given up.
    await directory.update({ ...entry, priority: 1 });
    directory.unbind(entry);
    a.redis.hasten(0);
    await directory.close();
    await server.restart();
    await until('Redis being there', () => a.redis.up);
    await a.hosts.leave();
    await until('the others knowing', () => b.bus.peers.size === 0);
    await until('nothing being left', async () => (await sessions()).length === 0 && (await departed()) === 0);
    expect(cleaned).toHaveBeenCalledExactlyOnceWith(1, epoch);
  });
});
