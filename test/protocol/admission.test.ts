import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { NS, PASSWORD, RawClient, type ConnectOptions, type Via } from '../support/client.js';
import { proxied } from '../support/proxy.js';
import { startServer, type ServerOptions, type TestServer } from '../support/server.js';
import { metric } from './support/metrics.js';

let server: TestServer;
const VIAS: Via[] = ['tcp', 'starttls', 'tls', 'websocket'];
const linux = process.platform === 'linux';
const ELSEWHERE = '127.0.0.2';

function serverWith(set: ServerOptions['set'] = {}): void {
  beforeAll(async () => {
    server = await startServer({ set: { 'limits.connections_per_address': 100_000, ...set } });
    await server.addUsers('juliet');
  });
  afterAll(() => server.stop());
}

const drops = (reason: string) => metric(server, 'thrum_drops_total', { reason });
const waiting = () => metric(server, 'thrum_admission_waiting');
/** Resolves when so many wait: the server hears of a connection, and of its end, a moment later than the client. */
async function wait(count: number): Promise<void> {
  while ((await waiting()) !== count);
}

const clients: RawClient[] = [];
const sockets: Socket[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.cut();
  for (const socket of sockets.splice(0)) socket.destroy();
});

/** A client that has said all that it may before an answer. */
async function knock(options: ConnectOptions = {}): Promise<RawClient> {
  const client = await RawClient.connect(server, options);
  client.sendHeader();
  clients.push(client);
  return client;
}

/** Connected, and no more. */
async function connected(port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host: server.host, localAddress });
  sockets.push(socket.on('error', () => undefined).resume());
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
  return socket;
}

/** Whatever connects during `work` is there at once for the server, in that order. */
async function atOnce<T>(work: () => Promise<T>): Promise<T> {
  for (const pid of server.workers) process.kill(pid, 'SIGSTOP');
  try {
    return await work();
  } finally {
    for (const pid of server.workers) process.kill(pid, 'SIGCONT');
  }
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

describe('clients beyond the rate (admission)', () => {
  serverWith({ 'admission.connections_per_second': 20, 'admission.burst': 1 });

  test.each(VIAS)('wait, and are served when it is their turn (%s)', async (via) => {
    const logins = Array.from({ length: 10 }, () => RawClient.login(server, { user: 'juliet', via }));
    for (const client of await Promise.all(logins)) {
      await client.ping();
      await client.close();
    }
    await wait(0);
    expect(await metric(server, 'thrum_admission_wait_seconds_count')).toBeGreaterThan(0);
    expect(await metric(server, 'thrum_admission_admitted_total')).toBeGreaterThanOrEqual(10);
  });

  test('may say at once what the largest first read holds, and lose nothing', async () => {
    const talkative = await atOnce(() => Promise.all([1, 2, 3].map(() => knock())));
    for (const client of talkative) client.write(' '.repeat(100_000));
    for (const client of talkative) await client.expect({ name: 'features', ns: NS.streams });
    for (const client of talkative) expect((await client.tryAuthenticate('PLAIN', 'juliet')).name).toBe('success');
  });

  test.runIf(linux)('take turns with other addresses', async () => {
    const order: string[] = [];
    const answered = async (client: RawClient, name: string) => {
      await client.expect({ name: 'features', ns: NS.streams });
      order.push(name);
    };
    const names = ['1', '2', '3', '4', '5', '6', '7', '8', 'single'];
    const all = await atOnce(async () => {
      const knocking: RawClient[] = [];
      for (const name of names) knocking.push(await knock(name === 'single' ? { localAddress: ELSEWHERE } : {}));
      return knocking;
    });
    await Promise.all(all.map((client, i) => answered(client, names[i]!)));
    expect(order.indexOf('single')).toBeLessThan(4);
    expect(order.filter((name) => name !== 'single')).toEqual(names.slice(0, -1));
  });
});

describe('when hardly anybody is let in', () => {
  const queue = 6;
  serverWith({ 'admission.connections_per_second': 1, 'admission.burst': 1, 'admission.queue': queue });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.cut();
    for (const socket of sockets.splice(0)) socket.destroy();
    await wait(0);
  });

  test('those for whom there is no room in the queue are turned away with the reason', async () => {
    const before = await drops('admission_queue');
    // One may have been let in, and another by the time that the last is looked at.
    const all = await atOnce(() => Promise.all(Array.from({ length: queue + 4 }, () => connected(server.c2s))));
    const heard = all.map(() => '');
    all.forEach((socket, i) => socket.on('data', (chunk: Buffer) => (heard[i] += chunk.toString())));
    await Promise.race(all.map(closed));
    expect(await drops('admission_queue')).toBeGreaterThan(before);
    const secure = await atOnce(() => Promise.all(Array.from({ length: queue + 4 }, () => connected(server.c2s_tls))));
    await Promise.race(secure.map(closed));
    expect(heard.some((text) => text.includes('<resource-constraint '))).toBe(true);
  });

  test.each(['tcp', 'tls', 'websocket'] as Via[])('those who give up leave the queue (%s)', async (via) => {
    const left = await drops('admission_left');
    const port = via === 'tcp' ? server.c2s : via === 'tls' ? server.c2s_tls : server.http;
    const all = await atOnce(() => Promise.all(Array.from({ length: 5 }, () => connected(port))));
    for (const socket of all) socket.write(via === 'websocket' ? UPGRADE : HELLO[via as 'tcp' | 'tls']);
    while ((await waiting()) === 0);
    all.forEach((socket, i) => (i % 2 === 0 ? socket.end() : socket.resetAndDestroy()));
    await wait(0);
    expect(await drops('admission_left')).toBeGreaterThan(left);
    while ((await metric(server, 'thrum_connections')) > 0);
  });

  test('a WebSocket that finds no room is told when to come back', async () => {
    const all = await atOnce(async () => {
      const opened = await Promise.all(Array.from({ length: queue + 4 }, () => connected(server.http)));
      for (const socket of opened) socket.write(UPGRADE);
      return opened;
    });
    const answers: string[] = [];
    const refused = new Promise<string>((resolve) => {
      for (const socket of all) {
        socket.on('data', (chunk: Buffer) => {
          answers.push(chunk.toString('latin1'));
          if (chunk.includes('503')) resolve(chunk.toString('latin1'));
        });
      }
    });
    expect(await refused).toMatch(/^HTTP\/1.1 503 .*\r\nRetry-After: [1-9]\d*\r\n/s);
    expect(answers.length).toBeLessThan(queue + 4);
  });
});

const UPGRADE =
  'GET /xmpp-websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n';
const HELLO = {
  tcp: `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.streams}' to='localhost' version='1.0'>`,
  tls: Buffer.from([0x16, 3, 1, 1, 0, 1, 0]),
};

describe('those who wait', () => {
  const scarce = { 'admission.connections_per_second': 1, 'admission.burst': 1 };

  describe('count for the limits on connections', () => {
    serverWith({ ...scarce, 'limits.connections_per_address': 3, 'proxy_protocol.mode': 'required' });

    test('of their own address, which the load balancer tells', async () => {
      const preamble = proxied('192.0.2.1');
      for (let i = 0; i < 3; i++) await knock({ preamble });
      const refused = await knock({ preamble });
      await refused.expectStreamError('resource-constraint');
      expect(await drops('connections_per_address')).toBe(1);
      const other = await knock({ preamble: proxied('192.0.2.2') });
      await other.expect({ name: 'features', ns: NS.streams });
    });
  });

  test('are turned away when the server closes', async () => {
    server = await startServer({ set: scarce });
    const all = await Promise.all([1, 2, 3, 4].map(() => connected(server.c2s)));
    const heard = all.map(() => '');
    all.forEach((socket, i) => socket.on('data', (chunk: Buffer) => (heard[i] += chunk.toString())));
    const upgrades = await Promise.all([1, 2, 3].map(() => connected(server.http)));
    const answers = upgrades.map(() => '');
    upgrades.forEach((socket, i) => {
      socket.on('data', (chunk: Buffer) => (answers[i] += chunk.toString('latin1')));
      socket.write(UPGRADE);
    });
    const secure = await Promise.all([1, 2, 3].map(() => connected(server.c2s_tls)));
    while ((await waiting()) < 3);
    await Promise.all([server.stop(), ...[...all, ...upgrades, ...secure].map(closed)]);
    expect(heard.filter((text) => text.includes('<resource-constraint ')).length).toBeGreaterThan(0);
    expect(answers.filter((text) => text.startsWith('HTTP/1.1 503')).length).toBeGreaterThan(0);
  });
});

describe('limits.enabled: false', () => {
  serverWith({
    'limits.enabled': false,
    'admission.connections_per_second': 1,
    'admission.burst': 1,
    'admission.queue': 0,
  });

  test('lets everybody in', async () => {
    const all = VIAS.flatMap((via) => [1, 2, 3, 4, 5].map(() => RawClient.login(server, { user: 'juliet', via })));
    for (const client of await Promise.all(all)) await client.close();
    expect(await waiting()).toBe(0);
  });
});

describe('five thousand clients of one machine, with the admission that is the default', () => {
  serverWith();

  test('are all logged in', async () => {
    const count = 5000;
    let loggedIn = 0;
    const credentials = Buffer.from(`\0juliet\0${PASSWORD}`).toString('base64');
    const login = `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${credentials}</auth>`;
    const all = await Promise.all(Array.from({ length: count }, () => connected(server.c2s)));
    await Promise.all(
      all.map(
        (socket) =>
          new Promise<void>((resolve, reject) => {
            let text = '';
            socket.on('data', (chunk: Buffer) => {
              text += chunk.toString();
              if (text.endsWith('</stream:features>')) return void socket.write(login);
              if (!text.includes('<success')) return;
              loggedIn++;
              resolve();
            });
            socket.once('close', () => reject(new Error(`closed after ${text}`)));
            socket.write(HELLO.tcp);
          }),
      ),
    );
    expect(loggedIn).toBe(count);
    for (const socket of all) socket.removeAllListeners('close');
  });
});
