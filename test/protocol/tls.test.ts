import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { NS, RawClient, type Mechanism, type Via } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { Authority, selfSigned, type Issued } from '../tls/authority.js';

let folder: string;
let server: TestServer;
/** Logged in all the time, in TLS: whatever a test does to its own stream, this one goes on. */
let bystander: RawClient;
const authority = new Authority();
const old = selfSigned({ dns: ['localhost'] });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'thrum-tls-'));
  await install(old);
  await writeFile(join(folder, 'clients.crt'), authority.issued.certificate);
  server = await startServer({
    set: {
      'c2s.tls': 'required',
      'tls.certificate': join(folder, 'server.crt'),
      'tls.key': join(folder, 'server.key'),
      'tls.client_ca': join(folder, 'clients.crt'),
    },
  });
  await server.addUsers('juliet', 'romeo');
  bystander = await server.client('bystander', { via: 'tls' });
});
afterEach(() => bystander.ping());
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

async function install(pair: { certificate: string; key: string }): Promise<void> {
  await writeFile(join(folder, 'server.crt'), pair.certificate);
  await writeFile(join(folder, 'server.key'), pair.key);
}

/** The outcome of a handshake on the direct port: the socket, or the error's code. */
async function handshake(options: object): Promise<TLSSocket | string> {
  const socket = connectTls({ port: server.c2s_tls, host: server.host, rejectUnauthorized: false, ...options });
  try {
    await once(socket, 'secureConnect');
    return socket;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'error';
  }
}

describe('STARTTLS (RFC 6120 §5)', () => {
  it('where required is all that is offered before it, and not offered again', async () => {
    const client = await RawClient.connect(server);
    const before = await client.open();
    expect(before.names().filter((name) => name !== 'limits')).toEqual(['starttls']);
    expect(before.get('starttls').child('required', NS.tls)).toBeDefined();
    const { header } = client;
    const after = await client.starttls();
    expect(after.child('starttls')).toBeUndefined();
    expect(after.child('mechanisms')).toBeDefined();
    expect(client.header!.attr('id')).not.toBe(header!.attr('id'));
    client.cut();
  });

  it.each([
    ['in the same segment', `<starttls xmlns='${NS.tls}'/><auth xmlns='${NS.sasl}' mechanism='PLAIN'>AGEAYg==</auth>`],
    ['half a stanza', `<starttls xmlns='${NS.tls}'/><iq type='set' id='1'>`],
    ['an end of the stream', `<starttls xmlns='${NS.tls}'/></stream:stream>`],
  ])('lets nothing in that was sent in the clear behind it: %s', async (_, bytes) => {
    const client = await RawClient.connect(server);
    await client.open();
    client.write(bytes);
    await client.expectStreamError('policy-violation');
  });

  it('lets nothing in that is sent in the clear instead of a handshake', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    client.write(`<starttls xmlns='${NS.tls}'/>`);
    await client.expect({ name: 'proceed', ns: NS.tls });
    client.write(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>AGp1bGlldABzZWNyZXQ=</auth>`);
    await client.closed;
    expect(client.unread).toEqual([]);
  });

  it('forgets what was said before it (§5.4.3.3)', async () => {
    const client = await RawClient.connect(server);
    await client.open(`to='localhost' from='romeo@localhost' version='1.0'`);
    await client.starttls();
    await client.authenticate('PLAIN', 'juliet');
    expect(await client.bind('x')).toBe('juliet@localhost/x');
    await client.close();
  });

  it.each<[string, () => Promise<RawClient>]>([
    ['in direct TLS', () => RawClient.connect(server, { via: 'tls' })],
    ['over WebSocket', () => RawClient.connect(server, { via: 'websocket' })],
  ])('is not offered and fails %s, and the stream ends (§5.4.2.2)', async (_, connect) => {
    const client = await connect();
    expect((await client.open()).child('starttls')).toBeUndefined();
    client.write(`<starttls xmlns='${NS.tls}'/>`);
    await client.expect({ name: 'failure', ns: NS.tls });
    await client.closed;
    expect(client.ended).toBe(true);
  });

  it('fails a second time, and after login', async () => {
    const secured = await RawClient.connect(server);
    await secured.open();
    await secured.starttls();
    secured.write(`<starttls xmlns='${NS.tls}'/>`);
    await secured.expect({ name: 'failure', ns: NS.tls });
    await secured.closed;

    const later = await RawClient.connect(server, { via: 'tls' });
    await later.open();
    await later.authenticate('PLAIN', 'juliet');
    later.write(`<starttls xmlns='${NS.tls}'/>`);
    await later.expect({ name: 'failure', ns: NS.tls });
    await later.closed;
  });

  it('is refused before the stream is open', async () => {
    const client = await RawClient.connect(server);
    client.begin(`<starttls xmlns='${NS.tls}'/>`);
    await client.expectStreamError('invalid-namespace');
  });
});

describe('direct TLS (XEP-0368)', () => {
  it.each([
    ['xmpp-client', ['xmpp-client']],
    ['xmpp-client among others', ['http/1.1', 'xmpp-client']],
  ])('takes a client that offers %s', async (_, ALPNProtocols) => {
    const socket = (await handshake({ ALPNProtocols })) as TLSSocket;
    expect(socket.alpnProtocol).toBe('xmpp-client');
    socket.destroy();
  });

  it('takes a client that does not know ALPN', async () => {
    const socket = (await handshake({})) as TLSSocket;
    expect(socket.alpnProtocol).toBe(false);
    socket.destroy();
  });

  it('refuses a client that only wants something else (RFC 7301 §3.2)', async () => {
    expect(await handshake({ ALPNProtocols: ['http/1.1', 'xmpp-server'] })).toMatch(/NO_APPLICATION_PROTOCOL/);
  });

  it.each([
    ['TLSv1', false],
    ['TLSv1.1', false],
    ['TLSv1.2', true],
    ['TLSv1.3', true],
  ] as const)('%s: %s', async (version, welcome) => {
    const outcome = await handshake({
      minVersion: version,
      maxVersion: version,
      // Old versions need this to be tried at all.
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    expect(typeof outcome === 'string' ? false : outcome.getProtocol() === version).toBe(welcome);
    if (typeof outcome !== 'string') outcome.destroy();
  });

  it('hangs up on who speaks XMPP in the clear there', async () => {
    const socket = connectTcp({ port: server.c2s_tls, host: server.host });
    socket.on('error', () => undefined).resume();
    socket.write(`<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.streams}' to='localhost' version='1.0'>`);
    await once(socket, 'close');
  });

  it('and on who begins TLS where STARTTLS is expected', async () => {
    const socket = connectTls({ port: server.c2s, host: server.host, rejectUnauthorized: false });
    await expect(once(socket, 'secureConnect')).rejects.toThrow();
  });
});

describe('channel bindings (RFC 9266, RFC 5929)', () => {
  const ways = (['tls', 'starttls'] as const).flatMap((via) =>
    (['TLSv1.2', 'TLSv1.3'] as const).flatMap((version) =>
      (['SCRAM-SHA-1-PLUS', 'SCRAM-SHA-256-PLUS'] as const).flatMap((mechanism) =>
        (['tls-exporter', 'tls-server-end-point'] as const).map(
          (binding): [Via, 'TLSv1.2' | 'TLSv1.3', Mechanism, typeof binding] => [via, version, mechanism, binding],
        ),
      ),
    ),
  );
  it.each(ways)('%s, %s: %s with %s', async (via, version, mechanism, binding) => {
    const tls = { minVersion: version, maxVersion: version };
    const client = await RawClient.connect(server, { via, tls });
    await client.open();
    if (via === 'starttls') await client.starttls(tls);
    expect(client.tls!.getProtocol()).toBe(version);
    await client.authenticate(mechanism, 'juliet', undefined, binding);
    expect(await client.bind()).toMatch(/^juliet@/);
    await client.close();
  });
});

describe('EXTERNAL (RFC 6120 §6.3.4, XEP-0178)', () => {
  const certified = (issued: Issued) => ({ via: 'tls' as const, tls: { cert: issued.certificate, key: issued.key } });
  const one = authority.issue({ xmpp: ['juliet@localhost'] });
  const two = authority.issue({ xmpp: ['juliet@localhost', 'romeo@localhost'] });

  async function opened(issued: Issued): Promise<{ client: RawClient; offered: string[] }> {
    const client = await RawClient.connect(server, certified(issued));
    const mechanisms = (await client.open()).get('mechanisms').elements();
    return { client, offered: mechanisms.map((mechanism) => mechanism.text()) };
  }

  it('is offered first to who shows a certificate of our authority', async () => {
    const { client, offered } = await opened(one);
    expect(offered[0]).toBe('EXTERNAL');
    await client.authenticate('EXTERNAL', '');
    expect(await client.bind('x')).toBe('juliet@localhost/x');
    await client.close();
  });

  it('works after STARTTLS, too', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    await client.starttls(certified(one).tls);
    await client.authenticate('EXTERNAL', '');
    client.cut();
  });

  it('needs to be told which, where the certificate names several accounts', async () => {
    const { client } = await opened(two);
    expect((await client.tryAuthenticate('EXTERNAL', '')).names()).toContain('invalid-authzid');
    await client.authenticate('EXTERNAL', 'romeo@localhost');
    expect(await client.bind('x')).toBe('romeo@localhost/x');
    await client.close();
  });

  it.each([
    ['an account that it does not name', one, 'romeo@localhost', 'invalid-authzid'],
    ['something that is no account', one, 'juliet@localhost/x', 'invalid-authzid'],
    ['an account that is not there', authority.issue({ xmpp: ['nobody@localhost'] }), '', 'not-authorized'],
    ['another domain', authority.issue({ xmpp: ['juliet@example.org'] }), '', 'not-authorized'],
    ['nobody', authority.issue({ dns: ['localhost'] }), '', 'not-authorized'],
  ])('does not open %s', async (_, issued, authzid, condition) => {
    const { client } = await opened(issued);
    expect((await client.tryAuthenticate('EXTERNAL', authzid)).names()).toContain(condition);
    client.cut();
  });

  it.each([
    ['a foreign authority', new Authority('Foreign').issue({ xmpp: ['juliet@localhost'] })],
    ['the client itself', selfSigned({ xmpp: ['juliet@localhost'] })],
    ['the past', authority.issue({ xmpp: ['juliet@localhost'], notAfter: new Date(Date.now() - 1000) })],
  ])('is not offered for a certificate of %s; the password still is', async (_, issued) => {
    const { client, offered } = await opened(issued);
    expect(offered).not.toContain('EXTERNAL');
    expect((await client.tryAuthenticate('EXTERNAL', '')).names()).toContain('invalid-mechanism');
    await client.authenticate('SCRAM-SHA-256-PLUS', 'juliet');
    client.cut();
  });
});

describe('SIGHUP', () => {
  const shown = (client: RawClient) => client.tls!.getPeerCertificate(true).raw;

  it('gives new connections the new certificate, keeps the streams that are open, and survives a bad one', async () => {
    const before = await RawClient.login(server, { user: 'juliet', via: 'starttls' });
    expect(shown(before)).toEqual(old.der);

    const renewed = selfSigned({ dns: ['localhost'] });
    await install(renewed);
    server.signal('SIGHUP');
    await server.logged((line) => line.includes('certificates were read again'));
    const after = await RawClient.login(server, { user: 'juliet', via: 'tls', mechanism: 'SCRAM-SHA-256-PLUS' });
    const upgraded = await RawClient.login(server, { user: 'juliet', via: 'starttls' });
    expect([shown(after), shown(upgraded)]).toEqual([renewed.der, renewed.der]);
    before.send(`<message to='${after.jid}' id='m'/>`);
    await after.message({ id: 'm' });

    await install({ certificate: 'no certificate', key: 'no key' });
    server.signal('SIGHUP');
    await server.logged((line) => line.includes('the old ones stay in use'));
    const still = await RawClient.login(server, { user: 'juliet', via: 'tls' });
    expect(shown(still)).toEqual(renewed.der);
    await Promise.all([before, after, upgraded, still].map((client) => client.ping()));
    await Promise.all([before, after, upgraded, still].map((client) => client.close()));
  });
});
