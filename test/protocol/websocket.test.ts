import { createConnection } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errorOf, NS, PASSWORD, RawClient } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { encodeFrame, OPCODE } from '../support/websocket.js';

let server: TestServer;
/** A TCP client that is logged in all the time: whatever a test does to its own stream, this one goes on. */
let romeo: RawClient;

beforeAll(async () => {
  server = await startServer({ set: { 'https.port': 0 } });
  await server.addUsers('juliet');
  romeo = await server.client('romeo', { resource: 'home', available: true });
});
afterEach(async () => {
  await romeo.ping();
  romeo.unread.length = 0;
});
afterAll(() => server.stop());

const connect = () => RawClient.connect(server, { via: 'websocket' });
const juliet = (resource?: string) => RawClient.login(server, { user: 'juliet', via: 'websocket', resource });
const OPEN = `<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`;

async function opened(): Promise<RawClient> {
  const client = await connect();
  await client.open();
  return client;
}

describe('the handshake (RFC 7395 §3.1)', () => {
  const upgrade = (headers: Record<string, string>) =>
    new Promise<string>((resolve, reject) => {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n';
      const socket = romeoSocket(reject);
      socket.write(`GET /xmpp-websocket HTTP/1.1\r\nHost: localhost\r\n${key}${lines.join('')}\r\n`);
      socket.once('data', (bytes: Buffer) => {
        socket.destroy();
        resolve(bytes.toString());
      });
    });
  const romeoSocket = (reject: (error: Error) => void) => {
    const socket = createConnection({ host: server.host, port: server.http });
    socket.on('error', reject);
    return socket;
  };
  const WEBSOCKET = { Upgrade: 'websocket', Connection: 'Upgrade' };

  it.each(['xmpp', 'chat, xmpp', 'XMPP'])('agrees on the subprotocol xmpp out of "%s"', async (offer) => {
    const answer = await upgrade({ ...WEBSOCKET, 'Sec-WebSocket-Protocol': offer });
    expect(answer).toMatch(/^HTTP\/1.1 101 /);
    expect(answer).toMatch(/sec-websocket-protocol: xmpp\r\n/i);
  });

  it.each<Record<string, string>>([{}, { 'Sec-WebSocket-Protocol': 'mqtt, xmpp-framing' }])(
    'refuses an upgrade without it: %o',
    async (headers) => {
      expect(await upgrade({ ...WEBSOCKET, ...headers })).toMatch(/^HTTP\/1.1 400 /);
    },
  );

  it('tells who comes without an upgrade what is served there', async () => {
    expect((await server.fetch('/xmpp-websocket')).status).toBe(426);
  });

  it.each([
    ['/.well-known/host-meta', (text: string) => /href="(ws[^"]*)"/.exec(text)?.[1]],
    [
      '/.well-known/host-meta.json',
      (text: string) => (JSON.parse(text) as { links: { href: string }[] }).links[0]?.href,
    ],
  ])('is where %s says (XEP-0156)', async (path, find) => {
    const href = find(await (await server.fetch(path)).text());
    expect(new URL(href!).pathname).toBe('/xmpp-websocket');
    expect([String(server.http), String(server.https)]).toContain(new URL(href!).port);
  });
});

describe('a framed stream (§3.3, §3.4)', () => {
  it('is opened by <open/>, and its features are a document of their own', async () => {
    const client = await connect();
    const features = await client.open(`to='localhost' from='juliet@localhost' version='1.0'`);
    const { name, ns, attrs } = client.header!;
    expect([name, ns]).toEqual(['open', NS.framing]);
    expect(attrs).toEqual({
      from: 'localhost',
      to: 'juliet@localhost',
      id: expect.any(String),
      version: '1.0',
      'xml:lang': 'en',
    });
    expect(features.child('mechanisms', NS.sasl)).toBeDefined();
    client.cut();
  });

  it('is opened anew after login (§3.7)', async () => {
    const client = await opened();
    const { header } = client;
    const features = await client.authenticate('PLAIN', 'juliet');
    expect(client.header!.attr('id')).not.toBe(header!.attr('id'));
    expect(features.child('bind', NS.bind)).toBeDefined();
    client.cut();
  });

  it('declares jabber:client on every stanza that the server sends (§3.3.3)', async () => {
    const client = await juliet('balcony');
    const seen = [];
    client.send(`<iq type='get' id='ping' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>`);
    seen.push(await client.expect({ id: 'ping' }));
    client.send(`<iq type='get' id='none' to='localhost'><none xmlns='urn:x'/></iq>`);
    seen.push(await client.expect({ id: 'none', type: 'error' }));
    client.send('<presence/>');
    seen.push(await client.expect('presence'));
    client.send(`<message id='back' to='nobody@localhost'/>`);
    seen.push(await client.message({ id: 'back', type: 'error' }));
    romeo.send(`<message id='hi' to='${client.jid}'><body>Hi</body></message>`);
    seen.push(await client.message({ id: 'hi' }));
    romeo.send(`<presence to='${client.jid}'/>`);
    seen.push(await client.expect({ name: 'presence', from: romeo.jid }));
    romeo.send(`<iq type='result' id='answer' to='${client.jid}'/>`);
    seen.push(await client.expect({ id: 'answer' }));
    const node = (action: string) => `<pubsub xmlns='${NS.pubsub}'>${action}</pubsub>`;
    await client.request('set', node(`<create node='lamp'/>`), 'pubsub.localhost');
    await client.request('set', node(`<subscribe node='lamp' jid='juliet@localhost'/>`), 'pubsub.localhost');
    await client.request(
      'set',
      node(`<publish node='lamp'><item><on xmlns='urn:x'/></item></publish>`),
      'pubsub.localhost',
    );
    seen.push(await client.event('lamp'));
    expect(seen.map((stanza) => [stanza.name, stanza.xmlns])).toEqual(seen.map(({ name }) => [name, NS.client]));
    expect(seen.at(-1)!.get('event', 'items', 'item').child('on', 'urn:x')).toBeDefined();
    await client.close();
  });

  it('carries what needs no namespace of its own as it is', async () => {
    const client = await juliet();
    client.write(`<enable xmlns='${NS.sm}'/>`);
    expect((await client.next()).xmlns).toBe(NS.sm);
    client.write(`<r xmlns='${NS.sm}'/>`);
    expect((await client.next()).xmlns).toBe(NS.sm);
    await client.close();
  });

  it('gives others what they would get from a TCP client', async () => {
    const client = await RawClient.connect(server, { via: 'websocket' });
    await client.open();
    await client.authenticate('SCRAM-SHA-256', 'juliet');
    await client.bind('lang');
    client.write(
      `<message xmlns='${NS.client}' to='${romeo.jid}' id='x'><body>é &lt;</body><x xmlns='urn:x'/></message>`,
    );
    const message = await romeo.message({ id: 'x' });
    expect(message.attrs).toEqual({ to: romeo.jid, id: 'x', from: client.jid });
    expect(message.get('body').text()).toBe('é <');
    expect(message.get('body').ns).toBe(NS.client);
    expect(message.child('x', 'urn:x')).toBeDefined();
    await client.close();
  });

  it('has a language, which goes with its stanzas (RFC 6120 §4.7.4)', async () => {
    const attributes = `to='localhost' version='1.0' xml:lang='de-CH'`;
    const client = await connect();
    await client.open(attributes);
    await client.tryAuthenticate('PLAIN', 'juliet');
    await client.open(attributes);
    await client.bind();
    client.send(`<message to='${romeo.jid}' id='own' xml:lang='rm'/>`);
    expect((await romeo.message({ id: 'own' })).attr('xml:lang')).toBe('rm');
    client.send(`<message to='${romeo.jid}' id='stream'/>`);
    expect((await romeo.message({ id: 'stream' })).attr('xml:lang')).toBe('de-CH');
    await client.close();
  });

  it('takes a stanza in any fragments, with pings between them (RFC 6455 §5.4)', async () => {
    const client = await juliet();
    const stanza = Buffer.from(`<message xmlns='${NS.client}' to='${romeo.jid}' id='f'><body>日本</body></message>`);
    const cut = stanza.indexOf('日') + 1;
    client.socket.write(
      Buffer.concat([
        encodeFrame(OPCODE.text, stanza.subarray(0, 9), false),
        encodeFrame(OPCODE.ping, Buffer.from('alive?')),
        encodeFrame(OPCODE.continuation, stanza.subarray(9, cut), false),
        encodeFrame(OPCODE.continuation, Buffer.alloc(0), false),
        encodeFrame(OPCODE.continuation, stanza.subarray(cut)),
      ]),
    );
    expect((await romeo.message({ id: 'f' })).get('body').text()).toBe('日本');
    await client.close();
  });

  it('takes a login byte by byte, and many stanzas in one segment', async () => {
    const client = await connect();
    await client.writeSlowly(OPEN);
    await client.expect({ name: 'features' });
    const proof = Buffer.from(`\0juliet\0${PASSWORD}`).toString('base64');
    await client.writeSlowly(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${proof}</auth>`);
    await client.expect('success');
    await client.writeSlowly(OPEN);
    await client.expect({ name: 'features' });
    await client.bind();
    const frames = Array.from({ length: 200 }, (_, i) =>
      encodeFrame(
        OPCODE.text,
        Buffer.from(`<message xmlns='${NS.client}' to='${romeo.jid}'><body>${i}</body></message>`),
      ),
    );
    client.socket.write(Buffer.concat(frames));
    for (let i = 0; i < 200; i++) expect((await romeo.message()).get('body').text()).toBe(String(i));
    await client.close();
  });

  it('takes what is sent while a request is still being answered, in order', async () => {
    const client = await juliet();
    // The password is derived off the event loop, so that the result takes its time.
    client.send(
      `<iq type='set' id='slow'><query xmlns='jabber:iq:register'><username>juliet</username><password>${PASSWORD}</password></query></iq>`,
    );
    for (let i = 0; i < 50; i++)
      client.send(`<iq type='get' id='q${i}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>`);
    const order: (string | undefined)[] = [];
    while (order.length < 51) order.push((await client.next()).attr('id'));
    expect(order).toEqual(['slow', ...Array.from({ length: 50 }, (_, i) => `q${i}`)]);
    await client.close();
  });

  it('carries large stanzas both ways', async () => {
    const client = await juliet();
    const body = 'é<'.repeat(30_000).replaceAll('<', '&lt;');
    client.send(`<message to='${romeo.jid}' id='big'><body>${body}</body></message>`);
    expect((await romeo.message({ id: 'big' })).get('body').text()).toHaveLength(60_000);
    romeo.send(`<message to='${client.jid}' id='big'><body>${body}</body></message>`);
    expect((await client.message({ id: 'big' })).get('body').text()).toHaveLength(60_000);
    await client.close();
  });

  it('may be inside TLS (wss)', async () => {
    const client = await RawClient.login(server, { user: 'juliet', via: 'wss' });
    client.send(`<message to='${romeo.jid}' id='wss'/>`);
    await romeo.message({ id: 'wss' });
    await client.close();
  });
});

describe('the end of a framed stream (§3.6)', () => {
  it('is said by both, and the WebSocket is closed', async () => {
    const client = await juliet();
    await client.close();
    expect(client.ended).toBe(true);
  });

  it('may come before the stream has begun to be negotiated', async () => {
    const client = await opened();
    await client.close();
    expect(client.ended).toBe(true);
  });

  it.each<[string, (client: RawClient) => unknown]>([
    ['closes only the WebSocket', (client) => client.socket.write(encodeFrame(OPCODE.close, Buffer.from([3, 232])))],
    ['is cut', (client) => client.cut()],
  ])('is the end of the session when the client %s', async (_, leave) => {
    const client = await juliet();
    client.send(`<presence to='${romeo.jid}'/>`);
    await romeo.expect({ name: 'presence', from: client.jid });
    leave(client);
    await romeo.expect({ name: 'presence', from: client.jid, type: 'unavailable' });
    client.cut();
  });
});

describe('bad frames', () => {
  const stanza = (xml: string) => xml.replace(/^<(message|presence|iq)/, `<$1 xmlns='${NS.client}'`);
  const presence = stanza('<presence/>');

  it.each([
    ['another host', OPEN.replace('localhost', 'example.org'), 'host-unknown'],
    ['another version', OPEN.replace('1.0', '2.0'), 'unsupported-version'],
    [
      '<open/> in another namespace (§3.3.2)',
      `<open xmlns='${NS.client}' to='localhost' version='1.0'/>`,
      'invalid-namespace',
    ],
    ['<open/> in no namespace', `<open to='localhost' version='1.0'/>`, 'invalid-namespace'],
    [
      'the header of a TCP stream',
      `<stream:stream xmlns:stream='${NS.streams}' to='localhost' version='1.0'/>`,
      'invalid-namespace',
    ],
    ['half a header', `<stream:stream xmlns:stream='${NS.streams}' to='localhost' version='1.0'>`, 'not-well-formed'],
    ['a stanza before the header', presence, 'bad-format'],
    ['text', 'hello', 'not-well-formed'],
  ])('%s where the stream begins', async (_, frame, condition) => {
    const client = await connect();
    client.write(frame);
    await client.expectStreamError(condition);
    // §3.5: the error comes behind an <open/>.
    expect(client.header?.name).toBe('open');
    expect(client.ended).toBe(true);
  });

  const cases: [string, string, string][] = [
    ['two documents in a frame', `${presence}${presence}`, 'not-well-formed'],
    ['half a document', `<message xmlns='${NS.client}'><body>`, 'not-well-formed'],
    ['mismatched tags', `<message xmlns='${NS.client}'><a></b></message>`, 'not-well-formed'],
    ['an unbound prefix', stanza('<message><x:y/></message>'), 'not-well-formed'],
    ['text behind', `${presence}hello`, 'not-well-formed'],
    ['white space in front (§3.3.3)', ` ${presence}`, 'bad-format'],
    ['white space as keepalive (§3.8)', ' ', 'bad-format'],
    ['a comment', `<!-- c -->${presence}`, 'restricted-xml'],
    ['a comment behind', `${presence}<!-- c -->`, 'not-well-formed'],
    ['a DTD', `<!DOCTYPE message>${presence}`, 'restricted-xml'],
    ['an unknown entity', stanza('<message><body>&e;</body></message>'), 'restricted-xml'],
  ];
  it.each(cases)('%s before login', async (_, frame, condition) => {
    const client = await opened();
    client.write(frame);
    await client.expectStreamError(condition);
    expect(client.ended).toBe(true);
  });

  it.each([
    ...cases,
    ['a stanza in no namespace', '<message/>', 'unsupported-stanza-type'],
    ['a second header', OPEN, 'unsupported-stanza-type'],
    ['a stanza of servers', `<message xmlns='jabber:server'/>`, 'invalid-namespace'],
    ['an unknown element', `<order xmlns='urn:example:shop'/>`, 'unsupported-stanza-type'],
    ['the address of somebody else', stanza(`<message from='romeo@localhost'/>`), 'invalid-from'],
    ['too deep', stanza(`<message>${'<a>'.repeat(100)}${'</a>'.repeat(100)}</message>`), 'policy-violation'],
  ])('%s after login', async (_, frame, condition) => {
    const client = await juliet();
    client.write(frame);
    await client.expectStreamError(condition);
    expect(client.ended).toBe(true);
  });

  it('a second header before login', async () => {
    const client = await opened();
    client.write(OPEN);
    await client.expectStreamError('unsupported-stanza-type');
  });

  it('not-authorized: a stanza before login', async () => {
    const client = await opened();
    client.write(presence);
    await client.expectStreamError('not-authorized');
  });

  it('one that is too large before login', async () => {
    const client = await opened();
    client.write(stanza(`<message><body>${'x'.repeat(10_001)}</body></message>`));
    await client.expectStreamError('policy-violation');
  });

  it('one that is too large after login', async () => {
    const client = await juliet();
    client.write(stanza(`<message><body>${'x'.repeat(256 * 1024)}</body></message>`));
    await client.expectStreamError('policy-violation');
  });

  it('one that is far too large: the connection is closed before it is there', async () => {
    const client = await juliet();
    client.write(stanza(`<message><body>${'x'.repeat(4 * 1024 * 1024)}</body></message>`));
    await client.closed;
  });

  it.each([
    ['binary (§3.2)', encodeFrame(OPCODE.binary, Buffer.from(presence))],
    ['not UTF-8', encodeFrame(OPCODE.text, Buffer.from(stanza('<message><body>\xff</body></message>'), 'latin1'))],
    ['a continuation of nothing', encodeFrame(OPCODE.continuation, Buffer.from(presence))],
    ['of a reserved kind', encodeFrame(7, Buffer.from(presence))],
  ])('%s: the WebSocket is closed, and nothing is taken', async (_, frame) => {
    const client = await juliet();
    client.send(`<presence to='${romeo.jid}'/>`);
    await romeo.expect({ name: 'presence', from: client.jid });
    client.socket.write(frame);
    await client.closed;
    await romeo.expect({ name: 'presence', from: client.jid, type: 'unavailable' });
    expect(client.unread.filter((element) => element.name === 'presence')).toEqual([]);
  });

  it('an XML declaration is not recommended, but no mistake (§3.3.3)', async () => {
    const client = await juliet();
    client.write(`<?xml version='1.0' encoding='UTF-8'?>${stanza(`<message id='d' to='nobody@localhost'/>`)}\n`);
    expect(errorOf(await client.message({ id: 'd' })).condition).toBe('service-unavailable');
    await client.close();
  });
});

describe('a framed stanza is a document of its own', () => {
  it('may use prefixes for whatever it likes, and arrives as it was meant', async () => {
    const client = await juliet();
    client.write(
      `<message xmlns='${NS.client}' xmlns:s='urn:sensor' to='${romeo.jid}' id='p'><s:value s:unit='C'>21</s:value></message>`,
    );
    const value = (await romeo.message({ id: 'p' })).child('value', 'urn:sensor')!;
    expect([value.text(), Object.values(value.attrs)]).toEqual(['21', ['C']]);
    await client.close();
  });
});
