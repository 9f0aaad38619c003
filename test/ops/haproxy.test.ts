import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { findFreePort } from '../../src/http/ports.js';
import { RawClient, type Address, type Via } from '../support/client.js';
import { Haproxy, haproxyInstalled } from '../support/haproxy.js';
import { startServer, type TestServer } from '../support/server.js';

// Several processes, and machines are busy.
vi.setConfig({ testTimeout: 120_000 });

/** The shipped haproxy.cfg, with the ports and the hosts of this test in the place of the containers'. */
describe.skipIf(!haproxyInstalled)('deploy/compose/haproxy.cfg in front of real hosts', () => {
  let haproxy: Haproxy;
  let servers: TestServer[];
  let front: Address & { figures: number };

  beforeAll(async () => {
    servers = await Promise.all(
      ['thrum-1', 'thrum-2', 'thrum-3'].map(() =>
        startServer({ set: { 'proxy_protocol.mode': 'required', 'log.level': 'debug', store: 'memory' } }),
      ),
    );
    for (const server of servers) await server.addUsers('juliet');
    const ports: number[] = [];
    for (let i = 0; i < 4; i++) ports.push(await findFreePort('127.0.0.1'));
    const [c2s, c2s_tls, http, figures] = ports as [number, number, number, number];
    front = { host: '127.0.0.1', domain: 'localhost', c2s, c2s_tls, http, figures };
    const inside: Record<string, keyof Address> = { 5222: 'c2s', 5223: 'c2s_tls', 5280: 'http' };
    const configuration = readFileSync('deploy/compose/haproxy.cfg', 'utf8')
      // Not every machine allows so many open files.
      .replace(/maxconn \d+/, 'maxconn 1000')
      .replace(/^( +bind ):(\d+)/gm, (_, bind, port) => {
        const own = port === '8404' ? figures : front[inside[port]!];
        return `${bind}127.0.0.1:${own}`;
      })
      .replace(/^( +server thrum-(\d)) \S+:(\d+)/gm, (_, server, host, port) => {
        const behind = servers[host - 1]!;
        return `${server} 127.0.0.1:${behind[inside[port] as 'c2s']} port ${behind.http}`;
      });
    haproxy = await Haproxy.run(configuration, ports);
    await states((all) => all.every((state) => state === 'UP'));
  });
  afterAll(async () => {
    await haproxy?.stop();
    await Promise.all((servers ?? []).map((server) => server.stop()));
  });

  /** Resolves when the hosts, as HAProxy sees them behind port 5222, are so. */
  async function states(so: (all: string[]) => boolean): Promise<void> {
    for (;;) {
      const csv = await (await fetch(`http://127.0.0.1:${front.figures}/;csv`)).text();
      const [head, ...rows] = csv
        .trim()
        .split('\n')
        .map((line) => line.split(','));
      const status = head!.indexOf('status');
      const hosts = rows.filter(([backend, name]) => backend === 'xmpp' && name!.startsWith('thrum-'));
      if (hosts.length === 3 && so(hosts.map((row) => row[status]!))) return;
      await pause(50);
    }
  }

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
    await states((all) => all.some((state) => state === 'DOWN'));
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
