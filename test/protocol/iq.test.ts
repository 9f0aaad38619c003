import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorOf, RawClient } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const DISCO_INFO = 'http://jabber.org/protocol/disco#info';
const DISCO_ITEMS = 'http://jabber.org/protocol/disco#items';
const REGISTER = 'jabber:iq:register';

let server: TestServer;
let juliet: RawClient;
let admin: RawClient;

beforeAll(async () => {
  server = await startServer({
    set: {
      registration: 'open',
      'limits.registrations_per_hour': 1000,
      'contact.abuse': 'mailto:abuse@example.org,xmpp:abuse@example.org',
      'contact.security': 'mailto:security@example.org',
      admins: 'boss@localhost',
    },
  });
  juliet = await server.client('juliet', { resource: 'balcony' });
  admin = await server.client('boss');
});
afterAll(() => server.stop());

const query = (ns: string, inner = '', attrs = '') => `<query xmlns='${ns}'${attrs}>${inner}</query>`;

describe('an iq keeps to the rules (RFC 6120 §8.2.3)', () => {
  const PING = `<ping xmlns='urn:xmpp:ping'/>`;

  it.each([
    ['no type', `<iq id='x' to='localhost'>${PING}</iq>`],
    ['an unknown type', `<iq id='x' type='put' to='localhost'>${PING}</iq>`],
    ['no child', `<iq id='x' type='get' to='localhost'/>`],
    ['only text', `<iq id='x' type='get' to='localhost'>ping</iq>`],
    ['two children', `<iq id='x' type='get' to='localhost'>${PING}${PING}</iq>`],
    ['no child, to its own account', `<iq id='x' type='set'/>`],
    ['two children, to another', `<iq id='x' type='set' to='romeo@localhost/x'>${PING}${PING}</iq>`],
  ])('bad-request: %s', async (_, iq) => {
    juliet.send(iq);
    const facts = errorOf(await juliet.expect({ name: 'iq', id: 'x', type: 'error' }));
    expect([facts.condition, facts.type]).toEqual(['bad-request', 'modify']);
  });

  it('bad-request: no id', async () => {
    juliet.send(`<iq type='get' to='localhost'>${PING}</iq>`);
    const answer = await juliet.expect({ name: 'iq', type: 'error' });
    expect(errorOf(answer).condition).toBe('bad-request');
    expect(answer.attr('id') ?? '').toBe('');
  });

  it('the answer has the id of the request, whatever that is', async () => {
    const id = `a&amp;b&lt;c&apos;d&quot; é&#10;x`;
    juliet.send(`<iq type='get' id='${id}' to='localhost'>${PING}</iq>`);
    expect((await juliet.expect('iq')).attr('id')).toBe(`a&b<c'd" é\nx`);
    juliet.send(`<iq type='get' id='${id}' to='nobody@localhost'>${PING}</iq>`);
    expect((await juliet.expect('iq')).attr('id')).toBe(`a&b<c'd" é\nx`);
  });

  it('the answer comes from whom the request was for, to the full address of the sender', async () => {
    for (const to of ['localhost', 'juliet@localhost', 'pubsub.localhost']) {
      const answer = await juliet.request('get', PING, to);
      expect(answer.attrs).toMatchObject({ type: 'result', from: to, to: juliet.jid });
    }
    const own = await juliet.request('get', PING);
    // RFC 6120 §8.1.2.1: from the account, or without from.
    expect([undefined, juliet.bareJid]).toContain(own.attr('from'));
  });

  it('nobody answers answers', async () => {
    juliet.send(`<iq type='result' id='r' to='localhost'/><iq type='error' id='e' to='localhost'/>`);
    juliet.send(`<iq type='result' id='r'/><iq type='error' id='e' to='nobody@localhost'/>`);
    juliet.send(`<iq type='result' id='r' to='romeo@localhost/x'/><iq type='result' id='r' to='pubsub.localhost'/>`);
    await juliet.expectNothing();
  });

  it.each([
    ['get', 'localhost'],
    ['set', 'localhost'],
    ['get', undefined],
    ['set', undefined],
    ['get', 'juliet@localhost'],
    ['set', 'pubsub.localhost'],
  ] as const)('an unknown payload: %s to %s is answered with an error', async (type, to) => {
    const facts = await juliet.refused(type, `<query xmlns='urn:example:unknown'/>`, to);
    expect([facts.type, facts.condition]).toEqual(['cancel', 'service-unavailable']);
  });

  it('requests of one client are answered in order, however long one takes', async () => {
    const password = (id: string) =>
      `<iq type='set' id='${id}'>${query(REGISTER, '<username>juliet</username><password>secret</password>')}</iq>`;
    const ping = (id: string) => `<iq type='get' id='${id}' to='localhost'>${PING}</iq>`;
    juliet.write(password('1') + ping('2') + password('3') + ping('4') + ping('5'));
    const order = [];
    while (order.length < 5) order.push((await juliet.next()).attr('id'));
    expect(order).toEqual(['1', '2', '3', '4', '5']);
  });
});

describe('service discovery (XEP-0030)', () => {
  it('of the server: identity, features, and whom to contact (XEP-0157)', async () => {
    const info = (await juliet.request('get', query(DISCO_INFO), 'localhost')).get('query');
    const identity = info.get('identity');
    expect([identity.attr('category'), identity.attr('type')]).toEqual(['server', 'im']);
    const features = info.elements('feature').map((feature) => feature.attr('var'));
    expect(features).toEqual(
      expect.arrayContaining([
        DISCO_INFO,
        DISCO_ITEMS,
        'urn:xmpp:ping',
        'urn:xmpp:time',
        'jabber:iq:version',
        'jabber:iq:last',
        REGISTER,
      ]),
    );
    expect(new Set(features).size).toBe(features.length);
    const form = info.child('x', 'jabber:x:data')!;
    const fields = Object.fromEntries(
      form.elements('field').map((field) => [field.attr('var'), field.elements('value').map((value) => value.text())]),
    );
    expect(fields).toEqual({
      FORM_TYPE: ['http://jabber.org/network/serverinfo'],
      'abuse-addresses': ['mailto:abuse@example.org', 'xmpp:abuse@example.org'],
      'security-addresses': ['mailto:security@example.org'],
    });
  });

  it('says only what is true: every feature of the server that is a request is answered', async () => {
    const requests: Record<string, string> = {
      'urn:xmpp:ping': `<ping xmlns='urn:xmpp:ping'/>`,
      'urn:xmpp:time': `<time xmlns='urn:xmpp:time'/>`,
      'jabber:iq:version': query('jabber:iq:version'),
      'jabber:iq:last': query('jabber:iq:last'),
      [REGISTER]: query(REGISTER),
      [DISCO_INFO]: query(DISCO_INFO),
      [DISCO_ITEMS]: query(DISCO_ITEMS),
    };
    const info = (await juliet.request('get', query(DISCO_INFO), 'localhost')).get('query');
    for (const feature of info.elements('feature')) {
      const request = requests[feature.attr('var')!];
      if (request !== undefined) await juliet.request('get', request, 'localhost');
    }
  });

  it('leads to the pub-sub service', async () => {
    const items = (await juliet.request('get', query(DISCO_ITEMS), 'localhost')).get('query').elements('item');
    expect(items.map((item) => item.attr('jid'))).toContain('pubsub.localhost');
    const info = (await juliet.request('get', query(DISCO_INFO), 'pubsub.localhost')).get('query');
    expect(info.get('identity').attrs).toMatchObject({ category: 'pubsub', type: 'service' });
  });

  it('of one’s own account: who one is, and the available resources', async () => {
    const info = (await juliet.request('get', query(DISCO_INFO), juliet.bareJid)).get('query');
    expect(info.get('identity').attrs).toMatchObject({ category: 'account', type: 'registered' });
    const own = (await admin.request('get', query(DISCO_INFO))).get('query');
    expect(own.get('identity').attrs).toMatchObject({ category: 'account', type: 'admin' });

    const chamber = await server.client('juliet', { resource: 'chamber', available: true });
    const items = (await juliet.request('get', query(DISCO_ITEMS), juliet.bareJid)).get('query').elements('item');
    expect(items.map((item) => item.attr('jid'))).toEqual([chamber.jid]);
    await chamber.close();
  });

  it('tells nothing of others, there or not (§8)', async () => {
    for (const to of ['boss@localhost', 'nobody@localhost']) {
      expect((await juliet.refused('get', query(DISCO_INFO), to)).condition).toBe('service-unavailable');
      expect((await juliet.request('get', query(DISCO_ITEMS), to)).get('query').elements()).toEqual([]);
    }
  });

  it.each([DISCO_INFO, DISCO_ITEMS])('%s of a node that is not there: item-not-found', async (ns) => {
    for (const to of ['localhost', undefined, 'pubsub.localhost']) {
      expect((await juliet.refused('get', query(ns, '', ` node='none'`), to)).condition).toBe('item-not-found');
    }
  });
});

describe('small questions to the server', () => {
  it('ping (XEP-0199)', async () => {
    const pong = await juliet.request('get', `<ping xmlns='urn:xmpp:ping'/>`, 'localhost');
    expect(pong.children).toEqual([]);
  });

  it('software version (XEP-0092)', async () => {
    const answer = (await juliet.request('get', query('jabber:iq:version'), 'localhost')).get('query');
    expect([answer.get('name').text(), answer.get('version').text()]).toEqual(['Thrum', version]);
  });

  it('entity time (XEP-0202), in UTC and in its zone', async () => {
    const before = Date.now();
    const time = (await juliet.request('get', `<time xmlns='urn:xmpp:time'/>`, 'localhost')).get('time');
    const utc = Date.parse(time.get('utc').text());
    expect(utc).toBeGreaterThanOrEqual(before - 1000);
    expect(utc).toBeLessThanOrEqual(Date.now() + 1000);
    expect(time.get('utc').text()).toMatch(/Z$/);
    expect(time.get('tzo').text()).toMatch(/^[+-]\d\d:\d\d$/);
  });

  it('last activity: how long it runs (XEP-0012 §5)', async () => {
    const answer = (await juliet.request('get', query('jabber:iq:last'), 'localhost')).get('query');
    expect(Number(answer.attr('seconds'))).toBeGreaterThanOrEqual(0);
    expect(Number(answer.attr('seconds'))).toBeLessThan(600);
  });

  it('session establishment is optional, and does nothing (RFC 3921 §3)', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    const features = await client.authenticate('PLAIN', 'juliet');
    expect(features.get('session').child('optional')).toBeDefined();
    await client.bind();
    const session = `<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>`;
    await client.request('set', session);
    await client.request('set', session, 'localhost');
    await client.close();
  });

  it('limits are told, before and after login (XEP-0478)', async () => {
    const client = await RawClient.connect(server);
    const before = (await client.open()).get('limits');
    const after = (await client.authenticate('PLAIN', 'juliet')).get('limits');
    expect([before.ns, before.get('max-bytes').text(), after.get('max-bytes').text()]).toEqual([
      'urn:xmpp:stream-limits:0',
      '10000',
      String(256 * 1024),
    ]);
    client.cut();
  });
});

describe('in-band registration (XEP-0077) before login', () => {
  const filled = (username: string, password: string) =>
    query(REGISTER, `<username>${username}</username><password>${password}</password>`);
  async function stranger(via: 'tcp' | 'tls' | 'websocket' = 'tcp'): Promise<RawClient> {
    const client = await RawClient.connect(server, { via });
    const features = await client.open();
    expect(features.child('register', 'http://jabber.org/features/iq-register')).toBeDefined();
    return client;
  }

  it.each(['tcp', 'tls', 'websocket'] as const)('asks, fills in, and logs in on the same stream: %s', async (via) => {
    const client = await stranger(via);
    const form = (await client.request('get', query(REGISTER), 'localhost')).get('query');
    expect(form.names()).toEqual(expect.arrayContaining(['username', 'password', 'instructions']));
    await client.request('set', filled(`New-${via}`, 'pass&amp;word'), 'localhost');
    await client.authenticate('SCRAM-SHA-256', `new-${via}`, 'pass&word');
    expect(await client.bind('x')).toBe(`new-${via}@localhost/x`);
    await client.close();
  });

  it.each([
    ['a name that is taken', filled('juliet', 'x'), 'conflict'],
    ['a name that is taken, in capitals', filled('JULIET', 'x'), 'conflict'],
    ['no name', query(REGISTER, '<password>x</password>'), 'not-acceptable'],
    ['no password', filled('someone', ''), 'not-acceptable'],
    ['a name that cannot be', filled('some one', 'x'), 'not-acceptable'],
    ['a removal', query(REGISTER, '<remove/>'), 'unexpected-request'],
  ])('refuses %s; the stream goes on', async (_, payload, condition) => {
    const client = await stranger();
    expect((await client.refused('set', payload)).condition).toBe(condition);
    await client.authenticate('PLAIN', 'juliet');
    client.cut();
  });

  it('refuses a request without an id', async () => {
    const client = await stranger();
    client.send(`<iq type='get'>${query(REGISTER)}</iq>`);
    expect(errorOf(await client.expect('iq')).condition).toBe('bad-request');
    client.cut();
  });

  it('is all that is possible before login', async () => {
    const client = await stranger();
    client.send(`<iq type='get' id='1' to='localhost'>${query(DISCO_INFO)}</iq>`);
    await client.expectStreamError('not-authorized');
  });

  it('is not offered, and refused, where registration is closed', async () => {
    const closed = await startServer();
    const client = await RawClient.connect(closed);
    expect((await client.open()).child('register')).toBeUndefined();
    expect((await client.refused('get', query(REGISTER))).condition).toBe('service-unavailable');
    expect((await client.refused('set', filled('someone', 'x'))).condition).toBe('service-unavailable');
    client.cut();
    await closed.stop();
  });
});

describe('in-band registration after login', () => {
  it('tells what is on file, not the password', async () => {
    const form = (await juliet.request('get', query(REGISTER), 'localhost')).get('query');
    expect(form.child('registered')).toBeDefined();
    expect([form.get('username').text(), form.get('password').text()]).toEqual(['juliet', '']);
  });

  it('changes the password, of oneself only', async () => {
    const client = await server.client('paris');
    const change = (user: string) => query(REGISTER, `<username>${user}</username><password>other</password>`);
    expect((await client.refused('set', change('juliet'), 'localhost')).condition).toBe('not-allowed');
    await client.request('set', change('paris'), 'localhost');
    await client.ping();
    const again = await RawClient.login(server, { user: 'paris', password: 'other' });
    await again.close();
    const late = await RawClient.connect(server);
    await late.open();
    expect((await late.tryAuthenticate('PLAIN', 'paris')).names()).toContain('not-authorized');
    late.cut();
    await client.close();
  });

  it('ends the account, all its sessions, and what may follow', async () => {
    const client = await server.client('tybalt');
    const other = await RawClient.login(server, { user: 'tybalt', via: 'websocket' });
    expect((await client.refused('set', query(REGISTER, '<remove/><username>x</username>'))).condition).toBe(
      'bad-request',
    );
    await client.request('set', query(REGISTER, '<remove/>'), 'localhost');
    await Promise.all([client.expectStreamError('not-authorized'), other.expectStreamError('not-authorized')]);
    const late = await RawClient.connect(server);
    await late.open();
    expect((await late.tryAuthenticate('PLAIN', 'tybalt')).names()).toContain('not-authorized');
    late.cut();
  });
});
