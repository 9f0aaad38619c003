import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { NS, PASSWORD, RawClient, type ConnectOptions, type Via } from '../support/client.js';
import { startServer, type ServerOptions, type TestServer } from '../support/server.js';
import { metric } from './support/metrics.js';

let server: TestServer;
/** Logged in all the time: whatever happens to others, this one is served. */
let bystander: RawClient;

/** A server with those limits for the tests of this group, and the proof that it serves others after each. */
function serverWith(set: ServerOptions['set']): void {
  beforeAll(async () => {
    server = await startServer({ set });
    await server.addUsers('juliet', 'romeo');
    bystander = await server.client('bystander', { resource: 'here' });
  });
  afterEach(() => bystander.ping());
  afterAll(() => server.stop());
}
const drops = (reason: string) => metric(server, 'thrum_drops_total', { reason });
const linux = process.platform === 'linux';
const ELSEWHERE = '127.0.0.2';

describe('the time before login (limits.authentication_seconds)', () => {
  serverWith({ 'limits.authentication_seconds': 1, 'https.port': 0 });

  /** A stanza without end, a byte now and then. */
  function drip(client: RawClient): RawClient {
    const timer = setInterval(() => client.write('x'), 50);
    void client.closed.then(() => clearInterval(timer));
    return client;
  }
  const opened = async (options: ConnectOptions) => {
    const client = await RawClient.connect(server, options);
    await client.open();
    return client;
  };
  const STALLING: [string, () => Promise<RawClient>][] = [
    [
      'says nothing',
      async () => {
        const client = await RawClient.connect(server);
        client.begin('');
        return client;
      },
    ],
    ['says nothing in TLS', () => opened({ via: 'tls' })],
    ['only opens its stream', () => opened({})],
    ['only opens its stream over WebSocket', () => opened({ via: 'websocket' })],
    [
      'drips a header',
      async () => {
        const client = await RawClient.connect(server);
        client.begin(`<stream:stream a='`);
        return drip(client);
      },
    ],
    [
      'drips a login',
      async () => {
        const client = await opened({});
        client.write(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>`);
        return drip(client);
      },
    ],
    [
      'stops in the middle of SASL',
      async () => {
        const client = await opened({});
        client.write(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'/>`);
        await client.expect('challenge');
        return client;
      },
    ],
    [
      'logs in and does not bind',
      async () => {
        const client = await opened({});
        await client.authenticate('PLAIN', 'juliet');
        return client;
      },
    ],
  ];

  const ENDLESS: [string, () => Socket][] = [
    ['never begins TLS', () => connect(server.c2s_tls, server.host)],
    [
      'drips its TLS handshake',
      () => {
        const socket = connect(server.c2s_tls, server.host);
        socket.write(Buffer.of(0x16, 3, 1, 2, 0));
        const timer = setInterval(() => socket.write(Buffer.of(1)), 100);
        socket.once('close', () => clearInterval(timer));
        return socket;
      },
    ],
    [
      'never begins TLS after <proceed/>',
      () => {
        const socket = connect(server.c2s, server.host);
        socket.write(`<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.streams}' to='localhost' version='1.0'>`);
        socket.once('data', () => socket.write(`<starttls xmlns='${NS.tls}'/>`));
        return socket;
      },
    ],
  ];

  it('ends whatever the client waits with, without effect on who is logged in', async () => {
    // All at once: each takes the whole time.
    const told = STALLING.map(async ([what, stall]) => {
      const client = await stall();
      await client.expectStreamError('connection-timeout').catch((error: Error) => {
        throw new Error(`one that ${what}: ${error.message}`);
      });
    });
    const cut = ENDLESS.map(async ([, stall]) => {
      const socket = stall();
      socket.on('error', () => undefined).resume();
      await once(socket, 'close');
    });
    await Promise.all([...told, ...cut]);
    await bystander.ping();
    expect(await drops('authentication_timeout')).toBeGreaterThanOrEqual(STALLING.length);
  });

  it('is not what ends a stream that was closed in order, however long its client leaves the connection open', async () => {
    const leaving = await RawClient.login(server, { user: 'juliet' });
    // The next one's whole time goes by: so does that of the first.
    await (await opened({})).expectStreamError('connection-timeout');
    const before = await drops('authentication_timeout');
    leaving.pauseReading();
    leaving.write('</stream:stream>');
    while ((await metric(server, 'thrum_connections')) !== 1) await bystander.ping();
    expect(await drops('authentication_timeout')).toBe(before);
    leaving.cut();
  });
});

/** Files that this process, and those it starts, may open. */
const files = linux ? Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]) : 0;

describe.skipIf(files < 20_000)('streams (limits.scanner_bytes)', () => {
  serverWith({ 'limits.scanner_bytes': 16 * 1024 * 1024, 'limits.enabled': false });

  it('are so many; whoever comes beyond is told so, however it comes', async () => {
    const sockets: Socket[] = [];
    // The bystander has one.
    const most = (16 * 1024 * 1024) / 2048 - 1;
    while (sockets.length < most) {
      const some = Array.from({ length: Math.min(256, most - sockets.length) }, () => connect(server.c2s, server.host));
      await Promise.all(
        some.map((socket) =>
          once(
            socket.on('error', () => undefined),
            'connect',
          ),
        ),
      );
      sockets.push(...some);
    }
    while ((await metric(server, 'thrum_connections')) !== most + 1);
    for (const via of ['tcp', 'tls', 'websocket'] as Via[]) {
      const late = await RawClient.connect(server, { via });
      if (via !== 'websocket') late.begin('');
      await late.expectStreamError('resource-constraint');
    }
    await bystander.ping();
    for (const socket of sockets) socket.destroy();
    while ((await metric(server, 'thrum_connections')) !== 1);
    await (await RawClient.login(server, { user: 'juliet', via: 'websocket' })).close();
  });
});

describe('connections of one address (limits.connections_per_address)', () => {
  serverWith({ 'limits.connections_per_address': 4 });

  it('are so many, whatever they speak; the next is turned away with its reason until one leaves', async () => {
    const held = [
      await RawClient.connect(server, { via: 'tls' }),
      await RawClient.connect(server, { via: 'websocket' }),
      await RawClient.connect(server),
    ];
    const refused = await RawClient.connect(server);
    refused.begin('');
    await refused.expectStreamError('resource-constraint');
    await expect(RawClient.connect(server, { via: 'websocket' })).rejects.toThrow('503');
    await expect(RawClient.connect(server, { via: 'tls' })).rejects.toThrow();
    expect(await drops('connections_per_address')).toBe(3);
    if (linux) await (await RawClient.login(server, { user: 'romeo', localAddress: ELSEWHERE })).close();
    while (held.length > 0) {
      const client = held.pop()!;
      await client.open();
      await client.close();
      await open(1 + held.length);
      const next = await RawClient.login(server, { user: 'juliet' });
      await next.close();
      await open(1 + held.length);
    }
  });

  it('are counted down however they end', async () => {
    const ends: ((client: RawClient) => unknown)[] = [
      (client) => client.cut(),
      (client) => client.socket.end(),
      (client) => client.write('<<<'),
      (client) => client.close(),
    ];
    for (const via of ['tcp', 'starttls', 'tls', 'websocket'] as Via[]) {
      for (const end of ends) {
        const clients = await Promise.all([1, 2, 3].map(() => RawClient.login(server, { user: 'juliet', via })));
        const leaving = clients.map((client) => end(client));
        await Promise.all(leaving);
        await Promise.all(clients.map((client) => client.closed));
        await open(1);
      }
    }
  });

  /** Resolves when so many connections are open: the server hears of an end a moment later than the client. */
  async function open(count: number): Promise<void> {
    while ((await metric(server, 'thrum_connections')) !== count);
  }
});

describe('plain HTTP (limits.http_requests_per_minute)', () => {
  const allowed = 5;
  serverWith({ 'limits.http_requests_per_minute': allowed });

  it('is so many requests of one address, and not elsewhere; health and WebSockets are free', async () => {
    const status = async (path: string) => {
      const { status, headers } = await server.fetch(path);
      if (status === 429) expect(headers.get('retry-after')).toBe('60');
      return status;
    };
    const seen: number[] = [];
    // A minute may begin in between, but only once.
    for (let i = 0; i < 2 * allowed + 2; i++) {
      seen.push(await status(i % 2 === 0 ? '/.well-known/host-meta' : '/nothing'));
      if (seen.at(-1) === 429) break;
    }
    expect(seen.length).toBeGreaterThan(allowed);
    expect(seen.at(-1)).toBe(429);
    for (const path of ['/healthz', '/readyz']) expect(await status(path)).toBe(200);
    await (await RawClient.login(server, { user: 'juliet', via: 'websocket' })).close();
    if (!linux) return;
    const elsewhere = connect({ port: server.http, host: server.host, localAddress: ELSEWHERE });
    elsewhere.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of elsewhere) {
      text += String(chunk);
      if (/^thrum_drops_total\{reason="http_requests_per_minute"\} [1-9]/m.test(text)) break;
    }
    expect(text).toMatch(/^HTTP\/1.1 200/);
    expect(text).toContain('reason="http_requests_per_minute"');
  });
});

describe('what one client, account or address may do', () => {
  serverWith({
    registration: 'open',
    'limits.bytes_per_second': 100_000,
    'limits.burst_bytes': 20_000,
    'limits.registrations_per_hour': 2,
    'limits.sessions_per_account': 3,
    'limits.failed_authentications_per_minute': 10,
    'limits.authentication_attempts': 100,
  });
  const register = (user: string) =>
    `<query xmlns='jabber:iq:register'><username>${user}</username><password>${PASSWORD}</password></query>`;

  it('is so many registrations (limits.registrations_per_hour)', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    await client.request('set', register('one'));
    await client.request('set', register('two'));
    const facts = await client.refused('set', register('three'));
    expect([facts.type, facts.condition]).toEqual(['wait', 'not-acceptable']);
    const again = await RawClient.connect(server, { via: 'tls' });
    await again.open();
    expect((await again.refused('set', register('four'))).type).toBe('wait');
    expect(await drops('registrations_per_hour')).toBe(2);
    if (linux) {
      const other = await RawClient.connect(server, { localAddress: ELSEWHERE });
      await other.open();
      await other.request('set', register('five'));
      other.cut();
    }
    await again.authenticate('PLAIN', 'two');
    client.cut();
    again.cut();
  });

  it('is so many sessions of an account (limits.sessions_per_account)', async () => {
    const held = [];
    for (const resource of ['a', 'b', 'c']) held.push(await RawClient.login(server, { user: 'juliet', resource }));
    const late = await RawClient.connect(server);
    await late.open();
    await late.authenticate('PLAIN', 'juliet');
    const facts = await late.refused('set', `<bind xmlns='${NS.bind}'/>`);
    expect([facts.type, facts.condition]).toEqual(['wait', 'resource-constraint']);
    // One that is taken over does not count twice.
    expect(await late.bind('b')).toBe('juliet@localhost/b');
    await held[1]!.expectStreamError('conflict');
    await held[0]!.close();
    held.push(await RawClient.login(server, { user: 'juliet', resource: 'd' }));
    for (const client of [held[2]!, held[3]!, late]) await client.close();
  });

  it.each(['tcp', 'websocket'] as Via[])(
    'is a rate: a flood over %s is slowed down, nothing of it is lost, others pass (limits.bytes_per_second)',
    async (via) => {
      const juliet = await RawClient.login(server, { user: 'juliet', via });
      const before = await drops('rate_slowed');
      const romeo = await RawClient.login(server, { user: 'romeo' });
      const count = 150;
      const filling = 'x'.repeat(1000);
      for (let i = 0; i < count; i++)
        juliet.send(`<message to='${romeo.jid}' id='${i}'><body>${filling}</body></message>`);
      await romeo.message({ id: '0' });
      await bystander.ping();
      for (let i = 1; i < count; i++) expect((await romeo.message()).attr('id')).toBe(String(i));
      expect(await drops('rate_slowed')).toBeGreaterThan(before);
      await juliet.close();
      await romeo.close();
    },
  );

  it('is a rate for WebSockets, too, whose reading cannot be stopped: only so much is kept of a flood', async () => {
    const juliet = await RawClient.login(server, { user: 'juliet', via: 'websocket' });
    const romeo = await RawClient.login(server, { user: 'romeo' });
    const filling = 'x'.repeat(10_000);
    for (let i = 0; i < 1000; i++) juliet.send(`<message to='${romeo.jid}'><body>${filling}</body></message>`);
    await juliet.expectStreamError('policy-violation');
    await romeo.ping();
    expect(romeo.unread.length).toBeLessThan(500);
    await romeo.close();
  });

  it('is so many failed logins; then the right password has to wait, too, but not elsewhere (limits.failed_authentications_per_minute)', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    for (let i = 0; i < 10; i++) {
      expect((await client.tryAuthenticate('SCRAM-SHA-256', 'juliet', `guess ${i}`)).names()).toContain(
        'not-authorized',
      );
    }
    expect((await client.tryAuthenticate('PLAIN', 'juliet')).names()).toContain('temporary-auth-failure');
    const another = await RawClient.connect(server, { via: 'tls' });
    await another.open();
    expect((await another.tryAuthenticate('PLAIN', 'romeo')).names()).toContain('temporary-auth-failure');
    expect(await drops('failed_authentications_per_minute')).toBe(2);
    if (linux) await (await RawClient.login(server, { user: 'juliet', localAddress: ELSEWHERE })).close();
    client.cut();
    another.cut();
  });
});

const LIMIT = 256 * 1024;
/** More than the kernel holds for a connection, many times over. */
const VOLUME = 16 * 1024 * 1024;
const limits = { 'limits.enabled': false, 'limits.outbox_bytes': LIMIT, 'pubsub.max_payload_bytes': 200_000 };
const queued = () => metric(server, 'thrum_outbox_bytes');

describe('limits.enabled: false', () => {
  serverWith({
    ...limits,
    'limits.connections_per_address': 1,
    'limits.bytes_per_second': 1000,
    'limits.burst_bytes': 10_000,
    'limits.failed_authentications_per_minute': 1,
    'limits.authentication_attempts': 100,
    'limits.sessions_per_account': 1,
  });

  it('lifts counts and rates, and keeps bounds on sizes', async () => {
    const clients = await Promise.all([1, 2, 3].map(() => RawClient.login(server, { user: 'juliet' })));
    const guess = await RawClient.connect(server);
    await guess.open();
    for (let i = 0; i < 3; i++) {
      expect((await guess.tryAuthenticate('SCRAM-SHA-1', 'juliet', 'guess')).names()).toContain('not-authorized');
    }
    guess.cut();
    const [one, two] = clients as [RawClient, RawClient];
    for (let i = 0; i < 20; i++) one.send(`<message to='${two.jid}' id='${i}'>${'<x/>'.repeat(2500)}</message>`);
    await two.message({ id: '19' });
    one.send(`<message to='${two.jid}'>${'<x/>'.repeat(70_000)}</message>`);
    await one.expectStreamError('policy-violation');
    await Promise.all(clients.slice(1).map((client) => client.close()));
  });

  it('a flood of wrong passwords does not keep those waiting who are served, or come back with the right one', async () => {
    const known = await RawClient.login(server, { user: 'romeo' });
    await known.close();
    let over = false;
    const flood = Array.from({ length: 100 }, async (_, i) => {
      const client = await RawClient.connect(server);
      await client.open();
      for (let n = 0; n < 4 || !over; n++) {
        const answer = await client.tryAuthenticate('PLAIN', 'juliet', `guess ${i} ${n}`);
        expect(answer.names()[0]).toMatch(/^(not-authorized|temporary-auth-failure)$/);
      }
      client.cut();
    });
    await bystander.ping();
    const back = await RawClient.login(server, { user: 'romeo' });
    back.send(`<message to='${bystander.jid}' id='through'/>`);
    await bystander.message({ id: 'through' });
    await back.close();
    over = true;
    await Promise.all(flood);
  });

  it('gives up a client that never reads, holds nothing for it, and a fast one gets everything', async () => {
    const slow = await server.client('romeo', { resource: 'slow' });
    const fast = await server.client('romeo', { resource: 'fast' });
    const sender = await server.client('juliet');
    slow.pauseReading();
    const body = 'x'.repeat(100_000);
    const count = VOLUME / body.length;
    for (let i = 0; i < count; i++) {
      sender.send(`<message to='${slow.jid}' type='headline'><body>${body}</body></message>`);
      sender.send(`<message to='${fast.jid}' id='${i}'><body>${body}</body></message>`);
      await fast.message({ id: String(i) });
      if (i % 16 === 0) expect(await queued()).toBeLessThan(2 * LIMIT);
    }
    expect(await drops('outbox_overflow')).toBeGreaterThan(0);
    // Its resource is gone: what comes now comes back.
    sender.send(`<message to='${slow.jid}' id='late'/>`);
    await sender.message({ id: 'late', type: 'error' });
    expect(await metric(server, 'thrum_stream_errors_total', { condition: 'resource-constraint' })).toBe(1);
    expect(await queued()).toBe(0);
    slow.cut();
    await Promise.all([fast.close(), sender.close()]);
  });
});

describe.each(['drop_oldest', 'keep_latest', 'disconnect'])(
  'a client that reads no notifications (slow_reader: %s)',
  (policy) => {
    serverWith({ ...limits, slow_reader: policy });

    it('costs others nothing', async () => {
      const pubsub = (action: string) => `<pubsub xmlns='${NS.pubsub}'>${action}</pubsub>`;
      const [slow, fast, sender] = (await Promise.all([
        server.client('romeo', { resource: 'slow' }),
        server.client('romeo', { resource: 'fast' }),
        server.client('juliet'),
      ])) as [RawClient, RawClient, RawClient];
      await sender.request('set', pubsub(`<create node='n'/>`), 'pubsub.localhost');
      for (const client of [slow, fast]) {
        await client.request('set', pubsub(`<subscribe node='n' jid='${client.jid}'/>`), 'pubsub.localhost');
      }
      slow.pauseReading();
      const payload = `<v xmlns='urn:v'>${'x'.repeat(50_000)}</v>`;
      const count = Math.ceil(VOLUME / payload.length);
      const idOf = (message: Awaited<ReturnType<RawClient['event']>>) =>
        Number(message.get('event', 'items', 'item').attr('id'));
      for (let i = 0; i < count; i++) {
        await sender.request(
          'set',
          pubsub(`<publish node='n'><item id='${i}'>${payload}</item></publish>`),
          'pubsub.localhost',
        );
        expect(idOf(await fast.event('n'))).toBe(i);
        if (i % 64 === 0) expect(await queued()).toBeLessThan(2 * LIMIT);
      }

      if (policy === 'disconnect') {
        expect(await drops('outbox_overflow')).toBe(1);
        slow.cut();
        return;
      }
      // Back again: in order, with gaps, and the newest is there.
      const reason = policy === 'drop_oldest' ? 'oldest' : 'superseded';
      expect(await drops(reason)).toBeGreaterThan(0);
      slow.resumeReading();
      let last = -1;
      while (last < count - 1) {
        const id = idOf(await slow.event('n'));
        expect(id).toBeGreaterThan(last);
        last = id;
      }
      await Promise.all([slow.close(), fast.close(), sender.close()]);
    });
  },
);
