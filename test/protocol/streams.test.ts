import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errorOf, NS, PASSWORD, RawClient, type Via } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';

let server: TestServer;
/** Logged in all the time: whatever a test does to its own stream, this one goes on. */
let bystander: RawClient;

beforeAll(async () => {
  server = await startServer();
  bystander = await server.client('bystander');
  await server.addUsers('juliet', 'romeo');
});
afterEach(() => bystander.ping());
afterAll(() => server.stop());

const DECLARED = `xmlns='${NS.client}' xmlns:stream='${NS.streams}'`;
const HEADER = `<stream:stream ${DECLARED} to='localhost' version='1.0'>`;

const PREFIXED = `<foobar:stream xmlns='${NS.client}' xmlns:foobar='${NS.streams}' to='localhost' version='1.0'>`;

/** A fresh connection that sends those bytes first. */
async function began(bytes: string | Buffer): Promise<RawClient> {
  const client = await RawClient.connect(server);
  client.begin(bytes);
  return client;
}
const features = (client: RawClient) => client.expect({ name: 'features', ns: NS.streams });
const juliet = (resource?: string) => RawClient.login(server, { user: 'juliet', resource });

/** Opened, and logged in without a resource. */
async function authenticated(): Promise<RawClient> {
  const client = await RawClient.connect(server);
  await client.open();
  await client.authenticate('PLAIN', 'juliet');
  return client;
}

describe('the answer to a stream header (RFC 6120 §4.7)', () => {
  it('names the server, its version and language, and an id; no to, since the client named nobody', async () => {
    const client = await began(HEADER);
    await features(client);
    const { attrs, ns, name, xmlns } = client.header!;
    expect([name, ns, xmlns]).toEqual(['stream', NS.streams, NS.client]);
    expect(attrs).toEqual({ from: 'localhost', id: expect.any(String), version: '1.0', 'xml:lang': 'en' });
    client.cut();
  });

  it('is for the bare address that the client gives (§4.7.2)', async () => {
    const client = await RawClient.connect(server);
    await client.open(`to='localhost' from='Juliet@LOCALHOST/balcony' version='1.0'`);
    expect(client.header!.attr('to')).toBe('juliet@localhost');
    client.cut();
  });

  it('has another id for every stream, whatever the client proposes (§4.7.3)', async () => {
    const client = await RawClient.connect(server);
    await client.open(`to='localhost' version='1.0' id='mine'`);
    const first = client.header!.attr('id')!;
    await client.authenticate('PLAIN', 'juliet');
    const second = client.header!.attr('id')!;
    expect(new Set(['mine', first, second]).size).toBe(3);
    expect(Math.min(first.length, second.length)).toBeGreaterThanOrEqual(16);
    client.cut();
  });

  it.each([
    ['without an XML declaration', HEADER],
    ['with the encoding named', `<?xml version="1.0" encoding="utf-8"?>${HEADER}`],
    ['with a standalone declaration', `<?xml version='1.0' encoding='UTF-8' standalone='yes'?>${HEADER}`],
    ['with white space around', `<?xml version='1.0'?>\n\t ${HEADER}\r\n`],
    ['with double quotes', HEADER.replaceAll("'", '"')],
    ['with the domain in capitals', HEADER.replace("'localhost'", "'LocalHost'")],
    ['with a final dot in the domain', HEADER.replace("'localhost'", "'localhost.'")],
    ['without to (§4.7.2, interoperability)', HEADER.replace("to='localhost'", '')],
    ['with a newer minor version', HEADER.replace('1.0', '1.13')],
    ['with leading zeros in the version', HEADER.replace("'1.0'", "'01.00'")],
    ['without a default namespace (§4.8.2)', HEADER.replace(`xmlns='${NS.client}'`, '')],
    ['without prefix (§4.8.2)', `<stream xmlns='${NS.streams}' to='localhost' version='1.0'>`],
    ['with characters as references', HEADER.replace("'localhost'", "'&#108;ocalhos&#x74;'")],
  ])('comes to a header %s', async (_, header) => {
    const client = await began(header);
    const offered = await features(client);
    expect(client.header!.attr('version')).toBe('1.0');
    expect(offered.get('mechanisms').names()).toContain('mechanism');
    client.cut();
  });
});

describe('the life of a stream', () => {
  it('offers STARTTLS and SASL, then binding, each once', async () => {
    const client = await RawClient.connect(server);
    const before = await client.open();
    expect(before.names().slice(0, 2)).toEqual(['starttls', 'mechanisms']);
    expect(before.child('bind')).toBeUndefined();
    const after = await client.authenticate('PLAIN', 'juliet');
    expect(after.names().slice(0, 2)).toEqual(['bind', 'session']);
    expect(after.child('mechanisms')).toBeUndefined();
    expect(after.child('starttls')).toBeUndefined();
    client.cut();
  });

  it('takes white space between stanzas as a sign of life and no more (§4.6.1)', async () => {
    const client = await juliet();
    client.write(' \n\t\r\n ');
    await client.expectNothing();
    await client.close();
  });

  it('ends on both sides when the client closes it (§4.4)', async () => {
    const client = await juliet();
    await client.close();
    expect(client.ended).toBe(true);
    expect(client.unread).toEqual([]);
  });

  it('answers what was sent before the end, then ends', async () => {
    const client = await juliet();
    client.write(`<iq type='get' id='last' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq></stream:stream>`);
    expect((await client.expect({ id: 'last' })).attr('type')).toBe('result');
    await client.closed;
    expect(client.ended).toBe(true);
  });

  it('carries content that names its own namespace throughout (§4.8.2, prefix-free)', async () => {
    const client = await began(`<stream xmlns='${NS.streams}' to='localhost' version='1.0'>`);
    await features(client);
    expect((await client.tryAuthenticate('PLAIN', 'juliet')).name).toBe('success');
    client.begin(`<stream xmlns='${NS.streams}' to='localhost' version='1.0'>`);
    await features(client);
    client.write(`<iq xmlns='${NS.client}' type='set' id='b'><bind xmlns='${NS.bind}'/></iq>`);
    client.jid = (await client.expect({ id: 'b' })).get('bind', 'jid').text();
    client.write(`<message xmlns='${NS.client}' to='${client.jid}'><body>Hi</body></message>`);
    const message = await client.message({ ns: NS.client });
    expect(message.child('body', NS.client)?.text()).toBe('Hi');
    client.write('</stream>');
    await client.closed;
    expect(client.ended).toBe(true);
  });

  it('ends when the client only closes its side of the connection', async () => {
    const client = await juliet();
    client.socket.end();
    await client.closed;
  });

  it('ends without an error when the client says there is one (§4.9.1.1)', async () => {
    const client = await juliet();
    client.write(`<stream:error><undefined-condition xmlns='${NS.streamErrors}'/></stream:error></stream:stream>`);
    await client.closed;
    expect(client.ended).toBe(true);
    expect(client.unread).toEqual([]);
  });

  it('may be one element that is closed at once', async () => {
    const client = await began(HEADER.replace('>', '/>'));
    await client.closed;
    expect(client.ended).toBe(true);
  });
});

describe('stream errors of a header (§4.9.3)', () => {
  it.each([
    ['another host', HEADER.replace("'localhost'", "'example.org'"), 'host-unknown'],
    ['an account for a host', HEADER.replace("'localhost'", "'juliet@localhost'"), 'host-unknown'],
    ['no address for a host', HEADER.replace("'localhost'", "'@@'"), 'host-unknown'],
    ['the version of the future', HEADER.replace("'1.0'", "'11.0'"), 'unsupported-version'],
    ['no version', HEADER.replace("version='1.0'", ''), 'unsupported-version'],
    ['no number for a version', HEADER.replace("'1.0'", "'new'"), 'unsupported-version'],
    ['the namespace of servers', HEADER.replace(NS.client, 'jabber:server'), 'invalid-namespace'],
    ['an unknown default namespace', HEADER.replace(NS.client, 'urn:example:mail'), 'invalid-namespace'],
    ['another stream namespace', HEADER.replace(NS.streams, 'http://wrong.example/'), 'invalid-namespace'],
    ['another root', HEADER.replace('<stream:stream', '<stream:other'), 'bad-format'],
    ['a stanza for a root', `<iq ${DECLARED} to='localhost' version='1.0' type='get' id='1'>`, 'invalid-namespace'],
    ['a prefix other than stream', PREFIXED, 'bad-namespace-prefix'],
    ['UTF-16 declared', `<?xml version='1.0' encoding='UTF-16'?>${HEADER}`, 'unsupported-encoding'],
    ['Latin-1 declared', `<?xml version='1.0' encoding='iso-8859-1'?>${HEADER}`, 'unsupported-encoding'],
    ['UTF-16', Buffer.from(`\ufeff${HEADER}`, 'utf16le'), 'unsupported-encoding'],
    ['a malformed tag', `<stream:stream ${DECLARED} to=localhost>`, 'not-well-formed'],
    ['an unbound prefix', `<stream:stream xmlns='${NS.client}' to='localhost' version='1.0'>`, 'not-well-formed'],
    ['an attribute twice', HEADER.replace('version', "to='localhost' version"), 'not-well-formed'],
    ['a DTD', `<?xml version='1.0'?><!DOCTYPE x>${HEADER}`, 'restricted-xml'],
    ['a comment', `<!-- hello -->${HEADER}`, 'restricted-xml'],
    ['a processing instruction', `<?php x?>${HEADER}`, 'restricted-xml'],
    ['something else altogether', 'GET / HTTP/1.1\r\n\r\n', 'not-well-formed'],
    ['a header without an end', HEADER.replace('>', ` a='${'x'.repeat(20_000)}`), 'policy-violation'],
  ])('%s', async (_, bytes, condition) => {
    const client = await began(bytes);
    await client.expectStreamError(condition);
    // "the server MUST send the response stream header first" (§4.9.1.2)
    expect(client.header?.attr('from')).toBe('localhost');
    expect(client.ended).toBe(true);
  });
});

describe('stream errors after the header', () => {
  const cases: [string, string, string][] = [
    ['tags that do not match', '<message><body></message>', 'not-well-formed'],
    ['an unbound prefix', '<message><a:b/></message>', 'not-well-formed'],
    ['a wrong end of the stream', '</stream:other>', 'not-well-formed'],
    ['a comment', '<!-- c -->', 'restricted-xml'],
    ['a processing instruction', '<?target data?>', 'restricted-xml'],
    ['an XML declaration', "<?xml version='1.0'?>", 'restricted-xml'],
    ['an unknown entity', '<message><body>&nbsp;</body></message>', 'restricted-xml'],
    ['text between stanzas', 'hello', 'bad-format'],
    ['bytes that are not UTF-8', '<message><body>\xff</body></message>', 'unsupported-encoding'],
  ];
  it.each(cases)('%s before login', async (_, bytes, condition) => {
    const client = await began(HEADER);
    await features(client);
    client.write(Buffer.from(bytes, 'latin1'));
    await client.expectStreamError(condition);
    expect(client.ended).toBe(true);
  });

  it.each([
    ...cases,
    ['an element that nobody knows', "<order xmlns='urn:example:shop'/>", 'unsupported-stanza-type'],
    ['an unknown element of the client namespace', '<pubsub/>', 'unsupported-stanza-type'],
    ['a stanza in another namespace', "<message xmlns='urn:example:mail'/>", 'unsupported-stanza-type'],
    ['a stanza of servers (§4.8.3)', "<message xmlns='jabber:server'/>", 'invalid-namespace'],
    ['a stanza with a prefix (§4.8.5)', "<c:message xmlns:c='jabber:client'/>", 'bad-namespace-prefix'],
    ['a second header', `${HEADER}</stream:stream>`, 'unsupported-stanza-type'],
    ['a stanza of somebody else (§8.1.2.1)', "<message from='romeo@localhost'/>", 'invalid-from'],
    ['a stanza of another resource', "<presence from='juliet@localhost/other'/>", 'invalid-from'],
    ['a stanza of nobody', "<iq type='get' id='1' from='@'/>", 'invalid-from'],
  ])('%s after login', async (_, bytes, condition) => {
    const client = await juliet();
    client.write(Buffer.from(bytes, 'latin1'));
    await client.expectStreamError(condition);
    expect(client.ended).toBe(true);
    expect(client.unread).toEqual([]);
  });

  it.each([
    ['message', '<message/>'],
    ['presence', '<presence/>'],
    ['request', "<iq type='get' id='1' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"],
    ['binding', `<iq type='set' id='1'><bind xmlns='${NS.bind}'/></iq>`],
    ['an unknown element', "<order xmlns='urn:example:shop'/>"],
  ])('not-authorized: %s before login (§4.9.3.12)', async (_, stanza) => {
    const client = await began(HEADER);
    await features(client);
    client.write(stanza);
    await client.expectStreamError('not-authorized');
  });

  it.each([
    ['message', '<message/>'],
    ['presence', '<presence/>'],
    ['request', "<iq type='get' id='1' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"],
    ['a second login', `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>AGEAYg==</auth>`],
  ])('not-authorized: %s between login and binding (§7.1)', async (_, stanza) => {
    const client = await authenticated();
    client.write(stanza);
    await client.expectStreamError('not-authorized');
  });

  it('nothing but a stream header follows SASL success', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    expect((await client.tryAuthenticate('PLAIN', 'juliet')).name).toBe('success');
    client.begin(`<iq xmlns='${NS.client}' type='set' id='1'><bind xmlns='${NS.bind}'/></iq>`);
    await client.expectStreamError('invalid-namespace');
  });

  it('an error carries its reason as text for people', async () => {
    const client = await began(HEADER.replace("'localhost'", "'example.org'"));
    const error = await client.expectStreamError('host-unknown');
    expect(error.child('text', NS.streamErrors)?.text()).toContain('localhost');
  });
});

describe('who the client says it is on the header', () => {
  it('is kept to after login: another account is invalid-from (§4.9.3.9)', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    expect((await client.tryAuthenticate('PLAIN', 'juliet')).name).toBe('success');
    client.sendHeader(`to='localhost' from='romeo@localhost' version='1.0'`);
    await client.expectStreamError('invalid-from');
  });

  it('is correlated with the login where TLS protects it (§6.4.6)', async () => {
    const client = await RawClient.connect(server, { via: 'tls' });
    await client.open(`to='localhost' from='romeo@localhost' version='1.0'`);
    client.write(
      `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${Buffer.from(`\0juliet\0${PASSWORD}`).toString('base64')}</auth>`,
    );
    await client.expectStreamError('invalid-from');
  });

  it('may be right', async () => {
    const client = await RawClient.connect(server, { via: 'tls' });
    const attributes = `to='localhost' from='juliet@localhost' version='1.0'`;
    await client.open(attributes);
    expect((await client.tryAuthenticate('PLAIN', 'juliet')).name).toBe('success');
    await client.open(attributes);
    expect(await client.bind('balcony')).toBe('juliet@localhost/balcony');
    await client.close();
  });
});

describe('resource binding (RFC 6120 §7)', () => {
  it('gives a resource of its own making, another each time', async () => {
    const [one, two] = await Promise.all([juliet(), juliet()]);
    expect(one.jid).toMatch(/^juliet@localhost\/.{8,}$/);
    expect(two.jid).not.toBe(one.jid);
    await Promise.all([one.close(), two.close()]);
  });

  it('takes the resource that the client wants, prepared (RFC 7622 §3.4)', async () => {
    const client = await authenticated();
    expect(await client.bind('Bal\u00a0co\u0301ny & <more>')).toBe('juliet@localhost/Bal cóny & <more>');
    await client.close();
  });

  it('makes one when the client gives an empty one', async () => {
    const client = await authenticated();
    expect(await client.bind('')).toMatch(/^juliet@localhost\/.{8,}$/);
    await client.close();
  });

  it.each([
    ['an impossible resource', `<bind xmlns='${NS.bind}'><resource>a&#9;b</resource></bind>`, 'bad-request'],
    [
      'a resource that is too long',
      `<bind xmlns='${NS.bind}'><resource>${'é'.repeat(512)}</resource></bind>`,
      'bad-request',
    ],
  ])('refuses %s, and the next attempt may be right', async (_, request, condition) => {
    const client = await authenticated();
    expect((await client.refused('set', request)).condition).toBe(condition);
    expect(await client.bind('tower')).toBe('juliet@localhost/tower');
    await client.close();
  });

  it('refuses a request without an id (§8.2.3)', async () => {
    const client = await authenticated();
    client.write(`<iq type='set'><bind xmlns='${NS.bind}'/></iq>`);
    expect(errorOf(await client.expect('iq')).condition).toBe('bad-request');
    await client.bind();
    await client.close();
  });

  it('ends the stream of who never gets it right (§7.7.3)', async () => {
    const client = await authenticated();
    const request = `<iq type='set' id='1'><bind xmlns='${NS.bind}'><resource>&#9;</resource></bind></iq>`;
    client.write(request.repeat(10));
    await client.expectStreamError('policy-violation');
    expect(client.unread.length).toBeGreaterThanOrEqual(5);
  });

  it('replaces the session that has the resource: its stream ends with conflict (§7.7.2.2)', async () => {
    const first = await juliet('same');
    const second = await juliet('same');
    expect(second.jid).toBe(first.jid);
    await first.expectStreamError('conflict');
    await second.ping();
    await second.close();
  });

  it('counts a resource as taken in whatever spelling', async () => {
    const first = await juliet('cóny');
    const second = await juliet('co\u0301ny');
    await first.expectStreamError('conflict');
    await second.close();
  });

  it('has no effect a second time', async () => {
    const client = await juliet('once');
    expect((await client.refused('set', `<bind xmlns='${NS.bind}'/>`)).condition).toBe('service-unavailable');
    await client.ping();
    await client.close();
  });
});

describe('resource_conflict: refuse', () => {
  it('keeps the older session; the newer may take another resource (§7.7.2.2)', async () => {
    const strict = await startServer({ set: { resource_conflict: 'refuse' } });
    const first = await strict.client('juliet', { resource: 'same' });
    const second = await RawClient.connect(strict);
    await second.open();
    await second.authenticate('PLAIN', 'juliet');
    const wanted = `<bind xmlns='${NS.bind}'><resource>same</resource></bind>`;
    expect((await second.refused('set', wanted)).condition).toBe('conflict');
    expect(await second.bind('other')).toBe('juliet@localhost/other');
    await first.ping();
    // Free again once its holder has left.
    await first.close();
    const third = await strict.client('juliet', { resource: 'same' });
    expect(third.jid).toBe('juliet@localhost/same');
    await strict.stop();
  });
});

describe('a silent client (keepalive)', () => {
  it('is asked for a sign of life and cut when it gives none; one that gives any is kept (§4.6)', async () => {
    const patient = await startServer({
      set: { 'keepalive.ping_after_seconds': 1, 'keepalive.ping_timeout_seconds': 2 },
    });
    await patient.addUsers('juliet');
    const login = (via: Via) => RawClient.login(patient, { user: 'juliet', via });
    const dead = [await login('tcp'), await login('tls'), await login('websocket')];
    const [answering, blank, web] = [await login('tcp'), await login('tcp'), await login('websocket')];

    /** Answers each ping as long as the others live. */
    async function answer(client: RawClient, reply: (id: string) => string): Promise<void> {
      for (;;) {
        const ping = await client.expect({ name: 'iq', type: 'get', from: 'localhost' });
        expect(ping.child('ping', 'urn:xmpp:ping')).toBeDefined();
        client.send(reply(ping.attr('id')!));
      }
    }
    const result = (id: string) => `<iq type='result' id='${id}' to='localhost'/>`;
    const error = (id: string) => `<iq type='error' id='${id}' to='localhost'/>`;
    const alive = [answer(answering, result), answer(blank, () => ' '), answer(web, error)];
    await Promise.race([
      Promise.all(dead.map((client) => client.expectStreamError('connection-timeout'))),
      ...alive, // none of them ends first
    ]);
    for (const client of [answering, blank, web]) {
      await client.ping();
      await client.close();
    }
    await Promise.allSettled(alive);
    await patient.stop();
  });
});

describe('the end of the server (SIGTERM)', () => {
  it('ends every stream in order, behind what was queued for it', async () => {
    const leaving = await startServer();
    await leaving.addUsers('juliet');
    const clients = [];
    for (const via of ['tcp', 'starttls', 'tls', 'websocket'] as const) {
      clients.push(await RawClient.login(leaving, { user: 'juliet', via }));
    }
    const halfway = await RawClient.connect(leaving);
    await halfway.open();
    for (const to of clients) clients[0]!.send(`<message to='${to.jid}' id='last'/>`.repeat(100));
    await clients[0]!.ping();
    await leaving.stop();
    for (const client of clients) {
      expect(client.unread.filter((element) => element.attr('id') === 'last')).toHaveLength(100);
      expect(client.unread.filter((element) => element.name === 'error')).toEqual([]);
      await client.closed;
      expect(client.ended).toBe(true);
    }
    await halfway.closed;
    expect(halfway.ended).toBe(true);
  });
});
