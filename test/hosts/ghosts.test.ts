import { afterEach, describe, expect, test } from 'vitest';
import { clientAt, liveWorkers } from '../protocol/support/places.js';
import { RawClient, type XmlElement } from '../support/client.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';
import { startServer, type TestServer } from '../support/server.js';
import { startHost } from './hosts.js';

const running: TestServer[] = [];
let redis: RedisServer | undefined;
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
  await redis?.stop();
});

/** That resource's presence, of that type. */
const presence = (resource: string, type?: string) => (stanza: XmlElement) =>
  stanza.name === 'presence' && stanza.attr('type') === type && stanza.attr('from') === `user@localhost/${resource}`;

test('a resource whose worker is killed is available to nobody of its account', async () => {
  const server = await startServer({ workers: 2 });
  running.push(server);
  const [one, two] = liveWorkers(server) as [number, number];
  const stays = await clientAt(server, one, { user: 'user', resource: 'stays', available: true });
  await clientAt(server, two, { user: 'user', resource: 'dies', available: true });
  await stays.expect(presence('dies'));
  process.kill(two, 'SIGKILL');
  await stays.expect(presence('dies', 'unavailable'));
});

describe.skipIf(!redisInstalled)('of several hosts', () => {
  const host = async (): Promise<TestServer> => {
    const started = await startHost(redis!);
    running.push(started);
    return started;
  };
  const login = (server: TestServer, resource: string) =>
    RawClient.login(server, { user: 'user', resource, available: true });

  test('one that is killed takes its resources with it, but for those that are at another by then', async () => {
    redis = await RedisServer.start();
    const here = await host();
    const there = await startHost(redis);
    await here.addUsers('user');
    const stays = await login(here, 'stays');
    for (const resource of ['dies', 'moves']) {
      await login(there, resource);
      await stays.expect(presence(resource));
    }
    await there.kill();
    await there.removeFolder();
    await login(here, 'moves');
    await stays.expect(presence('dies', 'unavailable'), 30_000);
    await until('the end of it', async () => !(await redis!.keys()).includes('thrum:cluster:departed:{cluster}'));
    await stays.expectNothing(presence('moves', 'unavailable'));
    await stays.expectNothing(presence('dies', 'unavailable'));
  });

  test('one that was only thought dead shows them again', async () => {
    redis = await RedisServer.start();
    const [here, there] = [await host(), await host()];
    await here.addUsers('user');
    const stays = await login(here, 'stays');
    const returns = await login(there, 'returns');
    await stays.expect(presence('returns'));
    const pids = [there.pid, ...liveWorkers(there)];
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    try {
      await stays.expect(presence('returns', 'unavailable'), 30_000);
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    }
    await stays.expect(presence('returns'), 30_000);
    // To the others, not to itself.
    await returns.ping();
    expect(returns.unread.filter(presence('returns'))).toHaveLength(1);
  });
});
