import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RawClient, type Via } from '../support/client.js';
import { Balancer, haproxyInstalled } from '../support/haproxy.js';
import { startServer, type TestServer } from '../support/server.js';

/** The shipped haproxy.cfg, with the ports and the hosts of this test in the place of the containers'. */
describe.skipIf(!haproxyInstalled)('deploy/compose/haproxy.cfg in front of real hosts', () => {
  let servers: TestServer[];
  let front: Balancer;

  beforeAll(async () => {
    servers = await Promise.all(
      ['thrum-1', 'thrum-2', 'thrum-3'].map(() =>
        startServer({ set: { 'proxy_protocol.mode': 'required', 'log.level': 'debug', store: 'memory' } }),
      ),
    );
    for (const server of servers) await server.addUsers('juliet');
    front = await Balancer.start(servers);
    await front.states((all) => all.every((state) => state === 'UP'));
  });
  afterAll(async () => {
    await front?.stop();
    await Promise.all((servers ?? []).map((server) => server.stop()));
  });

  const ways: Via[] = ['tcp', 'starttls', 'tls', 'websocket'];
  test.skipIf(process.platform !== 'linux').each(ways)(
    'clients log in over %s, and the host knows their address',
    async (via) => {
      const localAddress = `127.0.0.${100 + ways.indexOf(via)}`;
      const client = await RawClient.login(front, { user: 'juliet', via, localAddress });
      await Promise.any(servers.map((server) => server.logged((line) => line.includes(`"address":"${localAddress}"`))));
      await client.ping();
      await client.close();
    },
  );

  test('only what is for clients is shown of HTTP', async () => {
    const status = async (path: string) => (await fetch(`http://127.0.0.1:${front.http}${path}`)).status;
    expect(await status('/metrics')).toBe(403);
    expect(await status('/readyz')).toBe(403);
    expect(await status('/.well-known/host-meta')).toBe(200);
    expect(await status('/xmpp-websocket')).toBe(426);
  });

  test('a host that is told to stop gets nobody new, and ends its streams itself', async () => {
    const clients: RawClient[] = [];
    for (let i = 0; i < 9; i++) clients.push(await RawClient.login(front, { user: 'juliet', resource: `before-${i}` }));
    const leaving = servers.shift()!;
    await leaving.stop();
    await front.states((all) => all.some((state) => state === 'DOWN'));
    for (let i = 0; i < 6; i++) {
      const client = await RawClient.login(front, { user: 'juliet', resource: `after-${i}` });
      await client.ping();
      await client.close();
    }
    let sentAway = 0;
    for (const client of clients) {
      if (client.ended) sentAway++;
      else {
        await client.ping();
        await client.close();
      }
    }
    // The hosts had the same number of clients.
    expect(sentAway).toBe(3);
  });
});
