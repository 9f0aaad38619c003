import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errorOf, NS, RawClient, type XmlElement } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { apart } from './support/workers.js';

let server: TestServer;
let juliet: RawClient;
let ids = 0;
const opened: RawClient[] = [];

beforeAll(async () => {
  server = await startServer();
  await server.addUsers('romeo', 'nurse');
  juliet = await server.client('juliet', { resource: 'balcony', available: true });
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((client) => client.close()));
  await juliet.ping();
  juliet.unread.length = 0;
});
afterAll(() => server.stop());

/** A resource of romeo's: with presence of that priority, or only connected. */
async function romeo(resource: string, priority?: number): Promise<RawClient> {
  const client = await RawClient.login(server, { user: 'romeo', resource });
  if (priority !== undefined) await client.sendPresence(`<priority>${priority}</priority>`);
  opened.push(client);
  return client;
}

/** What has arrived at each client when all that juliet sent before has been handled. */
async function settled(clients: RawClient[]): Promise<void> {
  const id = `fence${++ids}`;
  for (const client of clients) juliet.send(`<message id='${id}' to='${client.jid}'/>`);
  await Promise.all(clients.map((client) => client.message({ id })));
  await juliet.ping();
}

describe('messages (RFC 6121 §8.5, Table 1)', () => {
  /** Nobody, who is to get it, or the error that comes back. */
  type Outcome = 'ignored' | 'service-unavailable' | string[];
  const TYPES = ['normal', 'chat', 'groupchat', 'headline', 'error'] as const;
  type Row = [where: string, to: string, Record<(typeof TYPES)[number], Outcome>];
  const BOUNCE = 'service-unavailable';
  const nobody = (chat: Outcome = BOUNCE): Row[2] => ({
    normal: BOUNCE,
    chat,
    groupchat: BOUNCE,
    headline: 'ignored',
    error: 'ignored',
  });
  const all = (...to: string[]): Row[2] => ({ normal: to, chat: to, groupchat: to, headline: to, error: to });
  const bare = (best: string[], every = best): Row[2] => ({
    normal: best,
    chat: best,
    groupchat: BOUNCE,
    headline: every,
    error: 'ignored',
  });

  const SITUATIONS: [string, Record<string, number | undefined>, Row[]][] = [
    [
      'no active resource',
      {},
      [
        ['bare', 'romeo@localhost', nobody()],
        ['full', 'romeo@localhost/gone', nobody()],
      ],
    ],
    [
      'an account that does not exist',
      {},
      [
        ['bare', 'nobody@localhost', nobody()],
        ['full', 'nobody@localhost/home', nobody()],
      ],
    ],
    [
      'only a resource of negative priority',
      { orchard: -1 },
      [
        ['bare', 'romeo@localhost', nobody()],
        ['full, match', 'romeo@localhost/orchard', all('orchard')],
        ['full, no match', 'romeo@localhost/gone', nobody()],
      ],
    ],
    [
      'only a resource without presence',
      { orchard: undefined },
      [
        ['bare', 'romeo@localhost', nobody()],
        ['full, match', 'romeo@localhost/orchard', all('orchard')],
        ['full, no match', 'romeo@localhost/gone', nobody()],
      ],
    ],
    [
      'one resource of priority zero',
      { orchard: 0 },
      [
        ['bare', 'romeo@localhost', bare(['orchard'])],
        ['full, match', 'romeo@localhost/orchard', all('orchard')],
        ['full, no match', 'romeo@localhost/gone', nobody(['orchard'])],
      ],
    ],
    [
      'several resources',
      { orchard: 1, tomb: 5, cell: 5, street: -128, silent: undefined },
      [
        ['bare', 'romeo@localhost', bare(['tomb', 'cell'], ['orchard', 'tomb', 'cell'])],
        ['full, match', 'romeo@localhost/orchard', all('orchard')],
        ['full, of negative priority', 'romeo@localhost/street', all('street')],
        ['full, without presence', 'romeo@localhost/silent', all('silent')],
        ['full, no match', 'romeo@localhost/gone', nobody(['tomb', 'cell'])],
      ],
    ],
  ];

  it.each(SITUATIONS)('to %s', async (_, resources, rows) => {
    const clients = await Promise.all(Object.entries(resources).map(([name, priority]) => romeo(name, priority)));
    for (const [where, to, expected] of rows) {
      for (const type of TYPES) {
        const id = `m${++ids}`;
        juliet.send(`<message id='${id}' type='${type}' to='${to}'><body>Hi</body></message>`);
        await settled(clients);
        const got = clients.filter((client) => client.unread.some((element) => element.attr('id') === id));
        const returned = juliet.unread.find((element) => element.attr('id') === id);
        const outcome: Outcome =
          returned !== undefined
            ? (errorOf(returned).condition as Outcome)
            : got.length === 0
              ? 'ignored'
              : got.map((client) => client.jid.split('/')[1]!);
        expect(outcome, `${type} to ${where}`).toEqual(expected[type]);
        // As it was sent, from the full address (§8.1.2.1); `to` is never rewritten (§8.5.2.1.1).
        for (const client of got) {
          const message = await client.message({ id });
          expect(message.attrs).toEqual({ id, type, to, from: juliet.jid });
        }
        if (returned === undefined) continue;
        expect(returned.attrs).toEqual({ id, type: 'error', from: to, to: juliet.jid });
        expect(errorOf(returned).type).toBe('cancel');
        juliet.unread.splice(juliet.unread.indexOf(returned), 1);
      }
    }
  });

  it('without a type, or with an unknown one, are normal (§5.2.2)', async () => {
    const orchard = await romeo('orchard', 0);
    juliet.send(`<message to='romeo@localhost' id='a'/><message to='romeo@localhost' id='b' type='shout'/>`);
    expect((await orchard.message({ id: 'a' })).attr('type')).toBeUndefined();
    await orchard.message({ id: 'b' });
    juliet.send(`<message to='nurse@localhost' id='c'/>`);
    expect(errorOf(await juliet.message({ id: 'c' })).condition).toBe('service-unavailable');
  });

  it('without an address are for the own account (RFC 6120 §8.1.1.1, §10.3.1)', async () => {
    juliet.send(`<message id='own'><body>Note</body></message>`);
    expect((await juliet.message({ id: 'own' })).get('body').text()).toBe('Note');
  });

  it('arrive with content as it was written: references, CDATA, empty elements, other languages', async () => {
    const orchard = await romeo('orchard', 0);
    const body = `<body>&lt;&amp;&gt;&#x1F339; <![CDATA[<a&b>]]> \u65e5\u672c</body><x xmlns='urn:x' a='&quot;&apos;'/>`;
    juliet.send(`<message to='romeo@localhost' xml:lang='it'>${body}</message>`);
    const message = await orchard.message();
    expect(message.get('body').text()).toBe('<&>\u{1F339} <a&b> \u65e5\u672c');
    expect(message.child('x', 'urn:x')?.attr('a')).toBe(`"'`);
    expect(message.attr('xml:lang')).toBe('it');
  });

  it.each([
    ['prepared: case, width', 'ROMEO@LocalHost/orchard'],
    ['written with references', 'ro&#109;eo@localhost/orch&#x61;rd'],
    ['with a final dot in the domain', 'romeo@localhost./orchard'],
  ])('reach an address %s', async (_, to) => {
    const orchard = await romeo('orchard', 0);
    juliet.send(`<message to='${to}' id='p'/>`);
    await orchard.message({ id: 'p' });
  });

  it('reach resources that need escaping, and name them', async () => {
    const strange = await romeo(`a'b<c>&"d`);
    juliet.send(`<message to='romeo@localhost/a&apos;b&lt;c&gt;&amp;&quot;d' id='s'/>`);
    expect((await strange.message({ id: 's' })).attr('to')).toBe(strange.jid);
    strange.send(`<message to='${juliet.jid}' id='t'/>`);
    expect((await juliet.message({ id: 't' })).attr('from')).toBe(strange.jid);
  });

  it('of one sender arrive in order, whatever kinds are mixed (RFC 6120 §10.1)', async () => {
    const orchard = await romeo('orchard', 0);
    const kinds = ['message', 'presence', `iq type='result'`];
    const stanzas = Array.from({ length: 600 }, (_, i) => `<${kinds[i % 3]} id='o${i}' to='${orchard.jid}'/>`);
    juliet.send(stanzas.join(''));
    await orchard.expect({ id: 'o599' });
    const got = orchard.unread.map((element) => element.attr('id')).filter((id) => id !== undefined);
    expect(got).toEqual(stanzas.slice(0, -1).map((_, i) => `o${i}`));
  });
});

describe('addresses that lead nowhere', () => {
  const bounced = (name: string, id: string) => juliet.expect({ name, id, type: 'error' });

  it.each([
    ['a malformed address', 'a@b@c', 'jid-malformed', 'modify'],
    ['an empty address', '', 'jid-malformed', 'modify'],
    ['a local part that may not be', 'ju&quot;liet@localhost', 'jid-malformed', 'modify'],
    ['a resource that may not be', 'romeo@localhost/a&#9;b', 'jid-malformed', 'modify'],
    ['a part that is too long', `${'x'.repeat(1024)}@localhost`, 'jid-malformed', 'modify'],
    ['another domain', 'romeo@example.org', 'remote-server-not-found', 'cancel'],
    ['a domain below ours that is none', 'none.localhost', 'remote-server-not-found', 'cancel'],
  ])(
    '%s: each kind of stanza comes back with the reason, answers and errors do not',
    async (_, to, condition, type) => {
      for (const name of ['message', 'presence', 'iq']) {
        const id = `w${++ids}`;
        juliet.send(`<${name}${name === 'iq' ? " type='get'" : ''} id='${id}' to='${to}'><x xmlns='urn:x'/></${name}>`);
        const facts = errorOf(await bounced(name, id));
        expect([name, facts.condition, facts.type]).toEqual([name, condition, type]);
      }
      juliet.send(`<message type='error' to='${to}'/><iq type='result' id='r' to='${to}'/>`);
      juliet.send(`<iq type='error' id='e' to='${to}'/><presence type='error' to='${to}'/>`);
      await juliet.expectNothing();
    },
  );

  it('a message to the server itself', async () => {
    juliet.send(`<message id='s1' to='localhost'/><message id='s2' to='localhost/x'/>`);
    expect(errorOf(await bounced('message', 's1')).condition).toBe('service-unavailable');
    expect(errorOf(await bounced('message', 's2')).condition).toBe('service-unavailable');
  });
});

describe('requests (RFC 6121 §8.5.2.1.3, §8.5.3)', () => {
  const QUERY = `<query xmlns='urn:example:lamp'/>`;

  it.each([
    ['an account', 'romeo@localhost'],
    ['an account that does not exist', 'nobody@localhost'],
    ['a resource of nobody', 'nobody@localhost/home'],
    ['an absent resource', 'romeo@localhost/gone'],
    ['a resource of the server', 'localhost/x'],
  ])('to %s are answered by the server', async (_, to) => {
    for (const type of ['get', 'set'] as const) {
      const answer = await juliet.iq(type, QUERY, to);
      expect([answer.attr('type'), answer.attr('from')]).toEqual(['error', to]);
      expect(errorOf(answer).condition).toBe('service-unavailable');
    }
  });

  it('to an account are never passed to its resources', async () => {
    const orchard = await romeo('orchard', 0);
    await juliet.refused('get', QUERY, 'romeo@localhost');
    await settled([orchard]);
    expect(orchard.unread.filter((element) => element.name === 'iq')).toEqual([]);
  });

  it('do not reach who shows no presence to the sender (§8.5.3.1)', async () => {
    const orchard = await romeo('orchard', 0);
    expect((await juliet.refused('get', QUERY, orchard.jid)).condition).toBe('service-unavailable');
    await settled([orchard]);
    expect(orchard.unread.filter((element) => element.name === 'iq')).toEqual([]);
  });

  it.each([
    ['full', 'juliet@localhost/balcony'],
    ['bare', 'juliet@localhost'],
  ])('reach who directed presence to the sender’s %s address, until it is withdrawn', async (_, to) => {
    const orchard = await romeo('orchard');
    orchard.send(`<presence to='${to}'/>`);
    await juliet.expect({ name: 'presence', from: orchard.jid });
    const answer = juliet.request('get', QUERY, orchard.jid);
    const request = await orchard.expect({ name: 'iq', type: 'get' });
    expect([request.attr('from'), request.attr('to')]).toEqual([juliet.jid, orchard.jid]);
    expect(request.child('query', 'urn:example:lamp')).toBeDefined();
    orchard.send(`<iq type='result' id='${request.attr('id')}' to='${juliet.jid}'>${QUERY}</iq>`);
    expect((await answer).attr('from')).toBe(orchard.jid);

    orchard.send(`<presence to='${to}' type='unavailable'/>`);
    await juliet.expect({ name: 'presence', type: 'unavailable' });
    expect((await juliet.refused('get', QUERY, orchard.jid)).condition).toBe('service-unavailable');
  });

  it('reach the own account’s resources', async () => {
    const chamber = await RawClient.login(server, { user: 'juliet', resource: 'chamber' });
    opened.push(chamber);
    const answer = juliet.request('get', QUERY, chamber.jid);
    const request = await chamber.expect({ name: 'iq' });
    chamber.send(`<iq type='result' id='${request.attr('id')}' to='${juliet.jid}'/>`);
    await answer;
  });

  it('are answered by the sender itself when addressed to it', async () => {
    juliet.send(`<iq type='get' id='self' to='${juliet.jid}'>${QUERY}</iq>`);
    const request = await juliet.expect({ name: 'iq', id: 'self' });
    expect([request.attr('type'), request.attr('from')]).toEqual(['get', juliet.jid]);
    juliet.send(`<iq type='result' id='self' to='${juliet.jid}'/>`);
    await juliet.expect({ name: 'iq', id: 'self', type: 'result' });
  });

  it('get their answers and errors whether presence is shared or not', async () => {
    const orchard = await romeo('orchard');
    juliet.send(`<iq type='result' id='x1' to='${orchard.jid}'>${QUERY}</iq>`);
    juliet.send(`<iq type='error' id='x2' to='${orchard.jid}'/>`);
    expect((await orchard.expect({ name: 'iq', id: 'x1' })).child('query')).toBeDefined();
    await orchard.expect({ name: 'iq', id: 'x2', type: 'error' });
  });
});

describe('two workers', () => {
  let pool: TestServer;
  let sender: RawClient;
  let receiver: RawClient;

  beforeAll(async () => {
    pool = await startServer({ workers: 2 });
    [sender, receiver] = (await apart(pool, 'mercutio', 'tybalt')) as [RawClient, RawClient];
  });
  afterAll(() => pool.stop());

  const reachable = async (client: RawClient): Promise<XmlElement> => {
    // Another worker learns of presence a moment later: asked until it has.
    for (let attempt = 0; ; attempt++) {
      const id = `r${attempt}`;
      sender.send(`<message id='${id}' type='chat' to='${client.bareJid}'/>`);
      const first = (element: XmlElement) => element.attr('id') === id;
      const back = sender.expect(first).then((element) => ({ element, came: false }));
      const through = client.expect(first).then((element) => ({ element, came: true }));
      back.catch(() => undefined);
      through.catch(() => undefined);
      const { element, came } = await Promise.race([back, through]);
      if (came) return element;
    }
  };

  it('keep the order of 1000 messages, in both directions at once', async () => {
    const burst = (to: RawClient) =>
      Array.from({ length: 1000 }, (_, i) => `<message to='${to.jid}'><body>${i}</body></message>`).join('');
    sender.send(burst(receiver));
    receiver.send(burst(sender));
    for (const client of [sender, receiver]) {
      const order: string[] = [];
      while (order.length < 1000) order.push((await client.message()).get('body').text());
      expect(order).toEqual(Array.from({ length: 1000 }, (_, i) => String(i)));
    }
  });

  it('pass on what is for an available account, and say when it is gone', async () => {
    await receiver.sendPresence();
    const message = await reachable(receiver);
    expect(message.attrs).toMatchObject({ type: 'chat', from: sender.jid, to: 'tybalt@localhost' });
  });

  it('pass requests where presence is shared, and refuse them where not', async () => {
    const query = `<query xmlns='urn:example:lamp'/>`;
    expect((await sender.refused('get', query, receiver.jid)).condition).toBe('service-unavailable');
    receiver.send(`<presence to='${sender.jid}'/>`);
    await sender.expect({ name: 'presence', from: receiver.jid });
    const answer = sender.request('get', query, receiver.jid);
    const request = await receiver.expect({ name: 'iq', type: 'get' });
    receiver.send(`<iq type='result' id='${request.attr('id')}' to='${sender.jid}'/>`);
    await answer;
    receiver.send(`<presence to='${sender.jid}' type='unavailable'/>`);
    await sender.expect({ name: 'presence', type: 'unavailable' });
    expect((await sender.refused('set', query, receiver.jid)).condition).toBe('service-unavailable');
  });

  it('return what is for a resource that has just left', async () => {
    const [other, away] = (await apart(pool, 'mercutio', 'tybalt')) as [RawClient, RawClient];
    await away.close();
    // Handed over while the news was on its way, or refused at once: either way it comes back.
    for (const client of [sender, other]) {
      client.send(`<message id='late' to='${away.jid}'/>`);
      expect(errorOf(await client.message({ id: 'late' })).condition).toBe('service-unavailable');
    }
    await other.close();
  });

  it('end the older of two sessions that want the same resource', async () => {
    const [older] = await apart(pool, 'mercutio');
    const resource = older!.jid.split('/')[1]!;
    // Both workers are asked in turn, so at least one of the newer sessions is elsewhere.
    const newer: RawClient[] = [];
    for (let i = 0; i < 3; i++) newer.push(await RawClient.login(pool, { user: 'mercutio', resource }));
    await older!.expectStreamError('conflict');
    for (const client of newer.slice(0, -1)) await client.expectStreamError('conflict');
    await newer.at(-1)!.ping();
    await newer.at(-1)!.close();
  });

  it('keep the namespace of what WebSocket and TCP clients send each other', async () => {
    const web = await RawClient.login(pool, { user: 'tybalt', via: 'websocket' });
    sender.send(`<message to='${web.jid}' id='w'><body>Hi</body></message>`);
    const message = await web.message({ id: 'w' });
    expect([message.xmlns, message.get('body').ns]).toEqual([NS.client, NS.client]);
    await web.close();
  });
});
