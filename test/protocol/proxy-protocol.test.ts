import { on, once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { secured } from '../support/carrier.js';
import { RawClient, type Address, type Via } from '../support/client.js';
import { Haproxy, haproxyInstalled } from '../support/haproxy.js';
import { header, INET, LOCAL, PROXY, proxied, UNIX, UNSPEC } from '../support/proxy.js';
import { startServer, type ServerOptions, type TestServer } from '../support/server.js';
import { metric } from './support/metrics.js';

let server: TestServer;

function serverWith(set: ServerOptions['set'] = {}): void {
  beforeAll(async () => {
    server = await startServer({ set: { 'proxy_protocol.mode': 'required', 'log.level': 'debug', ...set } });
    await server.addUsers('juliet');
  });
  afterAll(() => server.stop());
}

const drops = (reason: string) => metric(server, 'thrum_drops_total', { reason });
/** The server has taken a client for one of that address. */
const knownAs = (address: string) =>
  server.logged((line) => line.includes('"msg":"connected"') && line.includes(`"address":"${address}"`));
const login = (preamble: Buffer, via: Via = 'tcp') => RawClient.login(server, { user: 'juliet', via, preamble });
const linux = process.platform === 'linux';

const sockets: Socket[] = [];
afterEach(() => sockets.splice(0).forEach((socket) => socket.destroy()));

/** A connection that sends those bytes. */
function raw(bytes: Buffer | string, port = server.c2s, localAddress = '127.0.0.1'): Socket {
  const socket = connect({ port, host: server.host, localAddress, noDelay: true });
  socket.on('error', () => undefined).resume();
  socket.write(bytes);
  sockets.push(socket);
  return socket;
}

const STREAM =
  "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";
const VIAS: Via[] = ['tcp', 'starttls', 'tls', 'websocket'];

describe('behind a load balancer (proxy_protocol.mode: required)', () => {
  serverWith({ 'limits.connections_per_address': 2 });

  test.each(VIAS)('clients log in over %s as who they are', async (via) => {
    for (const address of [`192.0.2.${via.length}`, `2001:db8::${via.length}`]) {
      const client = await login(proxied(address), via);
      await knownAs(address);
      await client.ping();
      await client.close();
    }
  });

  test('limits are of the client, not of the load balancer', async () => {
    const held = [await login(proxied('192.0.2.100')), await login(proxied('192.0.2.100'), 'tls')];
    const refused = await RawClient.connect(server, { preamble: proxied('192.0.2.100') });
    refused.begin('');
    await refused.expectStreamError('resource-constraint');
    await expect(login(proxied('192.0.2.100'), 'websocket')).rejects.toThrow('503');
    held.push(await login(proxied('192.0.2.101')), await login(proxied('192.0.2.102')));
    for (const client of held) await client.close();
  });

  test.each([
    ['LOCAL', header(LOCAL, UNSPEC, Buffer.alloc(0))],
    ['an unspecified family', header(PROXY, UNSPEC, Buffer.alloc(7))],
    ['UNIX', header(PROXY, UNIX, Buffer.alloc(216))],
  ])('%s: the address is that of the connection', async (_, preamble) => {
    for (const via of ['tcp', 'tls'] as Via[]) await (await login(preamble, via)).close();
    await knownAs('127.0.0.1');
  });

  test('the header may come in any pieces, and what follows with the last of them', async () => {
    const bytes = proxied('192.0.2.150', Buffer.alloc(40, 1));
    const socket = raw('');
    for (const byte of bytes.subarray(0, -1)) {
      socket.write(Buffer.of(byte));
      await turn();
    }
    socket.write(Buffer.concat([bytes.subarray(-1), Buffer.from(STREAM)]));
    expect(await answer(socket)).toContain('<stream:features>');
    await knownAs('192.0.2.150');

    const secure = raw('', server.c2s_tls);
    for (const byte of proxied('192.0.2.151')) {
      secure.write(Buffer.of(byte));
      await turn();
    }
    const tls = await secured(secure, 'localhost');
    tls.write(STREAM);
    expect(await answer(tls)).toContain('<stream:features>');
    await knownAs('192.0.2.151');
  });

  test('the beginning of TLS may come with the header', async () => {
    // The relay puts the header and what the client says first into one write.
    const relay = createServer((socket) => {
      socket.once('data', (hello) => {
        const onward = raw(Buffer.concat([proxied('192.0.2.160'), hello]), server.c2s_tls);
        socket.pipe(onward).pipe(socket);
      });
    });
    await once(relay.listen(0, '127.0.0.1'), 'listening');
    const { port } = relay.address() as AddressInfo;
    const behind = { ...address(), c2s_tls: port };
    await (await RawClient.login(behind, { user: 'juliet', via: 'tls' })).close();
    await knownAs('192.0.2.160');
    relay.close();
  });

  test.each([
    ['no header', STREAM, 'proxy_missing'],
    ['version 1', 'PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n', 'proxy_version_1'],
    ['a header that is wrong', header(PROXY, INET, Buffer.alloc(3)), 'proxy_invalid'],
  ])('%s: the connection is closed, and counted', async (_, bytes, reason) => {
    for (const port of [server.c2s, server.c2s_tls]) {
      const before = await drops(reason);
      const socket = raw(bytes, port);
      let heard = '';
      socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
      await closed(socket);
      expect(heard).toBe('');
      expect(await drops(reason)).toBe(before + 1);
      await server.logged((line) => line.includes(reason));
    }
  });

  test.each([
    ['192.0.2.170', '192.0.2.170'],
    // Whatever the client has written itself stands in front.
    ['192.0.2.1, 10.0.0.1,192.0.2.171', '192.0.2.171'],
    ['2001:DB8:0:0::0171', '2001:db8::171'],
    ['::FFFF:192.0.2.172', '192.0.2.172'],
  ])('a WebSocket is of whom a load balancer names: X-Forwarded-For: %s', async (said, address) => {
    const headers = { 'X-Forwarded-For': said };
    const client = await RawClient.login(server, { user: 'juliet', via: 'websocket', headers });
    await knownAs(address);
    await client.close();
  });

  test('a WebSocket of which nobody says whose it is is refused', async () => {
    const before = await drops('proxy_missing');
    await expect(RawClient.connect(server, { via: 'websocket' })).rejects.toThrow('403');
    for (const said of ['', 'unknown', '192.0.2.1,', '192.0.2.1:80', 'fe80::1%lo', '192.0.2.1, _hidden']) {
      const headers = { 'X-Forwarded-For': said };
      await expect(RawClient.connect(server, { via: 'websocket', headers })).rejects.toThrow('403');
    }
    expect(await drops('proxy_missing')).toBe(before + 7);
    expect((await server.fetch('/readyz')).status).toBe(200);
  });

  test('a header that breaks off is counted; a connection that closes at once, or after LOCAL, is not', async () => {
    const [before, connections] = [await drops('proxy_invalid'), await metric(server, 'thrum_connections')];
    raw(proxied('192.0.2.1').subarray(0, 20)).end();
    while ((await drops('proxy_invalid')) === before);
    const all = await metric(server, 'thrum_drops_total');
    const quiet = [raw(''), raw('', server.c2s_tls), raw(header(LOCAL, UNSPEC, Buffer.alloc(0)))];
    await Promise.all(quiet.map((socket) => closed(socket.end())));
    while ((await metric(server, 'thrum_connections')) !== connections);
    expect(await metric(server, 'thrum_drops_total')).toBe(all);
  });

  describe.runIf(haproxyInstalled)('of Debian', () => {
    let haproxy: Haproxy;
    let behind: Address;
    beforeAll(async () => {
      haproxy = await Haproxy.start(
        { mode: 'tcp', to: server.c2s, options: 'check check-send-proxy inter 50ms' },
        { mode: 'tcp', to: server.c2s_tls, options: 'check check-send-proxy inter 50ms' },
        { mode: 'http', to: server.http },
      );
      const [c2s, c2s_tls, http] = haproxy.ports as [number, number, number];
      behind = { ...address(), c2s, c2s_tls, http };
    });
    afterAll(() => haproxy?.stop());

    test.each(VIAS)('passes clients on over %s', async (via) => {
      const localAddress = linux ? `127.0.1.${via.length}` : '127.0.0.1';
      const client = await RawClient.login(behind, { user: 'juliet', via, localAddress });
      await knownAs(localAddress);
      await client.ping();
      await client.close();
    });

    test.runIf(linux)('lets every WebSocket in', async () => {
      for (let i = 0; i < 100; i++)
        (await RawClient.connect(behind, { via: 'websocket', localAddress: `127.0.2.${i + 1}` })).cut();
    });

    test('asks for our health without noise', async () => {
      const all = await metric(server, 'thrum_drops_total');
      const seen = server.log.length;
      const asked = () => server.log.slice(seen).filter((line) => line.includes('"msg":"disconnected"')).length;
      while (asked() < 3) await server.fetch('/healthz');
      expect(await metric(server, 'thrum_drops_total')).toBe(all);
    });
  });
});

describe('proxy_protocol.trusted', () => {
  serverWith({ 'proxy_protocol.trusted': ['127.0.0.2', '10.0.0.0/8'] });

  test.runIf(linux)('who is not in it is refused, whatever it says', async () => {
    for (const port of [server.c2s, server.c2s_tls]) await closed(raw(proxied('192.0.2.1'), port));
    await expect(login(proxied('192.0.2.1'), 'websocket')).rejects.toThrow('403');
    const headers = { 'X-Forwarded-For': '192.0.2.1' };
    await expect(RawClient.connect(server, { via: 'websocket', headers })).rejects.toThrow('403');
    expect(await drops('proxy_untrusted')).toBe(4);
    await server.logged((line) => line.includes('proxy_untrusted'));
    for (const via of VIAS) {
      const preamble = proxied('192.0.2.1');
      await (await RawClient.login(server, { user: 'juliet', via, preamble, localAddress: '127.0.0.2' })).close();
    }
  });
});

describe('a header that never comes', () => {
  serverWith({ 'limits.authentication_seconds': 1 });

  test('is waited for no longer than a login', async () => {
    const begun = proxied('192.0.2.1').subarray(0, 17);
    const silent = [raw(''), raw(begun), raw('', server.c2s_tls), raw(begun, server.c2s_tls)];
    await Promise.all(silent.map(closed));
    expect(await drops('authentication_timeout')).toBe(silent.length);
  });
});

function address(): Address {
  const { host, domain, c2s, c2s_tls, http } = server;
  return { host, domain, c2s, c2s_tls, http };
}

/** However it ends. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

/** What comes until the features of the stream are there. */
async function answer(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of on(socket, 'data')) {
    text += String(chunk);
    if (text.includes('</stream:features>')) break;
  }
  return text;
}
