import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { NS, PASSWORD, RawClient, type Via } from '../support/client.js';
import { Scram } from '../support/sasl.js';
import { startServer, type TestServer } from '../support/server.js';
import { metric } from './support/metrics.js';

let server: TestServer;
/** Logged in all the time, over TCP and WebSocket: whatever a test does to its own stream, these go on. */
let romeo: RawClient;
let nurse: RawClient;

beforeAll(async () => {
  server = await startServer({ set: { 'limits.failed_authentications_per_minute': 100_000 } });
  await server.addUsers('juliet');
  romeo = await server.client('romeo', { resource: 'home' });
  nurse = await server.client('nurse', { via: 'websocket' });
});
/** Both still talk to each other, and newcomers are let in. */
afterEach(async () => {
  romeo.send(`<message to='${nurse.jid}' id='well'/>`);
  await nurse.message({ id: 'well' });
  nurse.send(`<message to='${romeo.jid}' id='well'/>`);
  await romeo.message({ id: 'well' });
  await (await juliet()).close();
  romeo.unread.length = nurse.unread.length = 0;
});
afterAll(() => server.stop());

const juliet = () => RawClient.login(server, { user: 'juliet' });
const DECLARED = `xmlns='${NS.client}' xmlns:stream='${NS.streams}'`;
const HEADER = `<?xml version='1.0'?><stream:stream ${DECLARED} to='localhost' version='1.0'>`;
const PROOF = Buffer.from(`\0juliet\0${PASSWORD}`).toString('base64');
const AUTH = `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${PROOF}</auth>`;
const features = (client: RawClient) => client.expect({ name: 'features', ns: NS.streams });

describe('a stream in pieces', () => {
  it.each<[Via, number]>([
    ['tcp', 1],
    ['tcp', 2],
    ['tcp', 3],
    ['tcp', 7],
    ['tls', 1],
  ])('over %s, %i bytes at a time: a whole login and what follows', async (via, size) => {
    const client = await RawClient.connect(server, { via });
    client.begin('');
    await client.writeSlowly(HEADER, size);
    await features(client);
    const exchange = new Scram('sha256', { user: 'juliet', password: PASSWORD });
    const initial = exchange.initial().toString('base64');
    await client.writeSlowly(`<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-256'>${initial}</auth>`, size);
    const challenge = Buffer.from((await client.expect('challenge')).text(), 'base64');
    const response = exchange.challenge(challenge).toString('base64');
    await client.writeSlowly(`<response xmlns='${NS.sasl}'>${response}</response>`, size);
    await client.expect('success');
    client.begin('');
    await client.writeSlowly(HEADER, size);
    await features(client);
    const bind = `<iq type='set' id='b'><bind xmlns='${NS.bind}'><resource>bal&#x63;ony</resource></bind></iq>`;
    await client.writeSlowly(bind, size);
    await client.expect({ id: 'b', type: 'result' });
    await client.writeSlowly(
      ` <presence/>\n<message to='${romeo.jid}' id='m'><body>日本 é &amp; <![CDATA[]]&gt;]]></body><x xmlns='urn:x'/></message>\t`,
      size,
    );
    const message = await romeo.message({ id: 'm' });
    expect(message.get('body').text()).toBe('日本 é & ]]&gt;');
    expect(message.child('x', 'urn:x')).toBeDefined();
    await client.writeSlowly('</stream:stream>', size);
    await client.closed;
    expect(client.ended).toBe(true);
  });

  it('that comes all at once, as far as it may', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    client.write(AUTH);
    await client.expect('success');
    client.begin(
      `${HEADER}<iq type='set' id='b'><bind xmlns='${NS.bind}'/></iq><presence/><message to='${romeo.jid}' id='q'/></stream:stream>`,
    );
    await client.expect({ id: 'b', type: 'result' });
    await romeo.message({ id: 'q' });
    await client.closed;
    expect(client.ended).toBe(true);
  });
});

describe('malformed input at every stage', () => {
  /** A client that has come that far. */
  const STAGES: [string, () => Promise<RawClient>][] = [
    [
      'connected',
      async () => {
        const client = await RawClient.connect(server);
        client.begin('');
        return client;
      },
    ],
    [
      'opened',
      async () => {
        const client = await RawClient.connect(server);
        await client.open();
        return client;
      },
    ],
    [
      'in the middle of SASL',
      async () => {
        const client = await RawClient.connect(server);
        await client.open();
        const initial = Buffer.from('n,,n=juliet,r=abcdefghijkl').toString('base64');
        client.write(`<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>${initial}</auth>`);
        await client.expect('challenge');
        return client;
      },
    ],
    [
      'after SASL, before the new header',
      async () => {
        const client = await RawClient.connect(server);
        await client.open();
        await client.tryAuthenticate('PLAIN', 'juliet');
        client.begin('');
        return client;
      },
    ],
    [
      'before binding',
      async () => {
        const client = await RawClient.connect(server);
        await client.open();
        await client.authenticate('PLAIN', 'juliet');
        return client;
      },
    ],
    ['bound', juliet],
    [
      'in the middle of a stanza',
      async () => {
        const client = await juliet();
        client.write(`<message to='${romeo.jid}'><body>half`);
        return client;
      },
    ],
  ];
  const latin1 = (text: string) => Buffer.from(text, 'latin1');
  const INPUTS: [string, string | Buffer, RegExp][] = [
    ['a stray end tag', '</nothing>', /not-well-formed/],
    ['a tag that never was', '<<<', /not-well-formed/],
    ['an attribute without value', '<a b>', /not-well-formed/],
    ['an attribute without quotes', '<a b=c>', /not-well-formed/],
    ['attributes that touch', `<a b='c'd='e'>`, /not-well-formed/],
    ['an unbound prefix', '<x:a/>', /not-well-formed/],
    ['the prefix xmlns', `<a xmlns:xmlns='urn:x'/>`, /not-well-formed/],
    ['another meaning of xml', `<a xmlns:xml='urn:x'/>`, /not-well-formed/],
    ['an undeclared prefix', `<a xmlns:p=''/>`, /not-well-formed/],
    ['a null byte', '<a>\0</a>', /not-well-formed|unsupported-encoding/],
    ['a control character', '<a>\x01</a>', /not-well-formed/],
    ['a reference to a control character', '<a>&#1;</a>', /not-well-formed/],
    ['a reference to a surrogate', '<a>&#xD800;</a>', /not-well-formed/],
    ['a reference without an end', '<a>&#65</a>', /not-well-formed/],
    ['a bare ampersand', '<a>&</a>', /not-well-formed/],
    ['an entity of HTML', '<a>&nbsp;</a>', /restricted-xml/],
    ['an overlong encoding', latin1('<a>\xc0\xaf</a>'), /unsupported-encoding/],
    ['an encoded surrogate', latin1('<a>\xed\xa0\x80</a>'), /unsupported-encoding/],
    ['a byte beyond Unicode', latin1('<a>\xf5\x80\x80\x80</a>'), /unsupported-encoding/],
    ['a cut character', latin1('<a>\xe6\x97</a>'), /unsupported-encoding/],
    ['the end of CDATA', '<a>]]></a>', /not-well-formed/],
    ['a comment', '<!-- x -->', /restricted-xml/],
    ['a processing instruction', '<?x y?>', /restricted-xml/],
    ['a DTD with entities', `<!DOCTYPE a [<!ENTITY b 'c'>]>`, /restricted-xml/],
    ['a conditional section', '<![INCLUDE[x]]>', /restricted-xml|not-well-formed/],
  ];
  it.each(STAGES)('%s', async (stage, reach) => {
    const errors = await metric(server, 'thrum_stream_errors_total');
    for (const [what, bytes, conditions] of INPUTS) {
      const client = await reach();
      client.write(bytes);
      const error = await client.expect({ name: 'error', ns: NS.streams });
      // Where a header has to come, an element is none before it is bad; and some say so.
      const expected =
        stage === 'connected' || stage.startsWith('after SASL')
          ? new RegExp(`${conditions.source}|invalid-namespace`)
          : conditions;
      expect(error.names()[0], `${what}, ${stage}`).toMatch(expected);
      await client.closed;
      expect(client.ended).toBe(true);
    }
    expect(await metric(server, 'thrum_stream_errors_total')).toBe(errors + INPUTS.length);
  });
});

describe('sizes', () => {
  /** A message to romeo of exactly so many bytes. */
  const message = (bytes: number) => {
    const [head, tail] = [`<message to='${romeo.jid}' id='big'><body>`, '</body></message>'];
    return head + 'x'.repeat(bytes - head.length - tail.length) + tail;
  };

  it('a stanza as large as allowed passes, one byte more ends the stream', async () => {
    const client = await juliet();
    client.write(message(256 * 1024));
    expect((await romeo.message({ id: 'big' })).get('body').text().length).toBeGreaterThan(261_000);
    client.write(message(256 * 1024 + 1));
    await client.expectStreamError('policy-violation');
    await romeo.expectNothing('message');
  });

  it('before login 10,000 bytes are allowed, one more is not', async () => {
    const auth = (bytes: number) => {
      const [head, tail] = [`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>`, '</auth>'];
      return head + 'A'.repeat(bytes - head.length - tail.length) + tail;
    };
    const client = await RawClient.connect(server);
    await client.open();
    client.write(auth(10_000));
    await client.expect({ name: 'failure', ns: NS.sasl });
    client.write(auth(10_001));
    await client.expectStreamError('policy-violation');
  });

  it.each<[string, string, string]>([
    ['text', '<message><body>', 'text '],
    ['elements', '<message>', '<a/>'],
    ['depth', '<message>', '<a>'],
    ['an attribute', `<message a='`, 'value '],
    ['attributes', '<message ', ''],
    ['a name', '<message><', 'name'],
    ['namespace declarations', '<message ', ''],
    ['white space in a tag', '<message ', '      '],
    ['CDATA', '<message><body><![CDATA[', 'text ]] '],
    ['references', '<message><body>', '&#x41;'],
  ])('a stanza without an end: %s', async (what, head, more) => {
    const client = await juliet();
    client.write(head);
    let n = 0;
    const piece = () =>
      what === 'attributes' ? ` a${++n}=''` : what === 'namespace declarations' ? ` xmlns:p${++n}='urn:${n}'` : more;
    let ended = false;
    void client.closed.then(() => (ended = true));
    let sent = 0;
    for (; !ended && sent < 8 * 1024 * 1024;) {
      const chunk = Array.from({ length: 500 }, piece).join('');
      client.write(chunk);
      sent += chunk.length;
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.expectStreamError('policy-violation');
  });

  it.each([
    ['63 elements in each other', `${'<a>'.repeat(62)}${'</a>'.repeat(62)}`, true],
    ['65', `${'<a>'.repeat(65)}${'</a>'.repeat(65)}`, false],
    ['60 attributes', `<a ${Array.from({ length: 60 }, (_, i) => `a${i}=''`).join(' ')}/>`, true],
    ['65 attributes', `<a ${Array.from({ length: 65 }, (_, i) => `a${i}=''`).join(' ')}/>`, false],
    ['an attribute of 200,000 characters', `<a b='${'é'.repeat(100_000)}'/>`, true],
    ['a name of 50,000 characters', `<${'n'.repeat(50_000)}/>`, true],
    ['10,000 elements side by side', '<a/>'.repeat(10_000), true],
  ])('a stanza with %s: %s', async (_, content, allowed) => {
    const client = await juliet();
    client.write(`<message to='${romeo.jid}' id='shape'>${content}</message>`);
    if (!allowed) {
      await client.expectStreamError('policy-violation');
      return;
    }
    const got = await romeo.message({ id: 'shape' });
    expect(got.toString()).toContain(content.slice(1, 30).split('>')[0]);
    await client.close();
  });

  it('an answer that has to quote a large request does not break the sender’s stream', async () => {
    const client = await juliet();
    client.write(`<iq type='get' id='big' to='localhost'><q xmlns='urn:x'>${'x'.repeat(200_000)}</q></iq>`);
    await client.expect({ name: 'iq', id: 'big', type: 'error' });
    await client.close();
  });
});

describe('namespaces', () => {
  /** A client whose stream header declares prefixes that its stanzas lean on (RFC 6120 §4.8.5 forbids, and demands care). */
  async function leaning(): Promise<RawClient> {
    const header = `<stream:stream ${DECLARED} xmlns:s='urn:sensor' xmlns:q='urn:xmpp:ping' xmlns:d='http://jabber.org/protocol/disco#info' to='localhost' version='1.0' xml:lang='de'>`;
    const client = await RawClient.connect(server);
    client.begin(header);
    await features(client);
    await client.tryAuthenticate('PLAIN', 'juliet');
    client.begin(header);
    await features(client);
    await client.bind();
    return client;
  }

  it.each(['TCP', 'WebSocket'])('of the sender’s header arrive with what uses them, over %s', async (kind) => {
    const receiver = kind === 'TCP' ? romeo : nurse;
    const client = await leaning();
    client.write(
      `<message to='${receiver.jid}' id='lean'><body>Warm</body><s:value s:unit='C' plain='1'><s:raw/><other xmlns='urn:o' s:x='2'/></s:value></message>`,
    );
    const message = await receiver.message({ id: 'lean' });
    expect([message.ns, message.get('body').ns, message.attr('xml:lang')]).toEqual([NS.client, NS.client, 'de']);
    const value = message.child('value', 'urn:sensor')!;
    expect(value.attr('plain')).toBe('1');
    expect(value.child('raw', 'urn:sensor')).toBeDefined();
    expect(value.child('other', 'urn:o')).toBeDefined();
    // The reader would have refused an unbound prefix; the values are there under whatever prefix.
    expect(Object.values(value.attrs).sort()).toEqual(['1', 'C']);
    await client.close();
  });

  it('and with what is published', async () => {
    const pubsub = (action: string) => `<pubsub xmlns='${NS.pubsub}'>${action}</pubsub>`;
    const client = await leaning();
    await client.request('set', pubsub(`<create node='lean'/>`), 'pubsub.localhost');
    for (const receiver of [romeo, nurse]) {
      const jid = receiver.jid;
      await receiver.request('set', pubsub(`<subscribe node='lean' jid='${jid}'/>`), 'pubsub.localhost');
    }
    const item = `<item id='1'><s:value s:unit='C'>21</s:value></item>`;
    await client.request('set', pubsub(`<publish node='lean'>${item}</publish>`), 'pubsub.localhost');
    const outside = `<pubsub xmlns='${NS.pubsub}' xmlns:o='urn:outside'><publish node='lean'><item id='2'><o:v/></item></publish></pubsub>`;
    await client.request('set', outside, 'pubsub.localhost');
    for (const receiver of [romeo, nurse]) {
      const first = (await receiver.event('lean')).get('event', 'items', 'item');
      expect(first.child('value', 'urn:sensor')?.text()).toBe('21');
      expect(Object.values(first.child('value')!.attrs)).toEqual(['C']);
      const second = (await receiver.event('lean')).get('event', 'items', 'item');
      expect(second.child('v', 'urn:outside')).toBeDefined();
    }
    await client.close();
  });

  it('that are long and used by thousands of elements make nothing grow', async () => {
    const client = await leaning();
    const long = 'u'.repeat(20_000);
    const create = `<pubsub xmlns='${NS.pubsub}'><create node='long'/></pubsub>`;
    await client.request('set', create, 'pubsub.localhost');
    const subscribe = `<pubsub xmlns='${NS.pubsub}'><subscribe node='long' jid='${romeo.jid}'/></pubsub>`;
    await romeo.request('set', subscribe, 'pubsub.localhost');
    const kinds: [string, string, string][] = [
      ['', `xmlns:p='${long}'`, `<p:v>${'<p:c/>'.repeat(5000)}</p:v>`],
      ['z:', `xmlns:z='${NS.pubsub}' xmlns='${long}'`, `<q:v xmlns:q='urn:q'>${'<c/>'.repeat(5000)}</q:v>`],
      ['', `xmlns:p='${long}'`, `<v xmlns='urn:q' p:a=''>${`<c p:a=''/>`.repeat(3000)}</v>`],
      ['', '', `<q:v xmlns:q='urn:q' xmlns='${long}'>${'<c/>'.repeat(5000)}</q:v>`],
    ];
    for (const [at, declared, payload] of kinds) {
      const item = `<${at}publish node='long'><${at}item>${payload}</${at}item></${at}publish>`;
      const own = at === '' ? `xmlns='${NS.pubsub}'` : '';
      await client.request('set', `<${at}pubsub ${own} ${declared}>${item}</${at}pubsub>`, 'pubsub.localhost');
      const [v] = (await romeo.event('long')).get('event', 'items', 'item').elements();
      expect(v!.elements().length).toBeGreaterThanOrEqual(3000);
      expect(v!.elements().at(-1)!.ns).toBe(payload.includes('p:a') ? 'urn:q' : long);
    }
    client.write(
      `<message to='${romeo.jid}' id='long' s:x=''><a xmlns:p='${'u'.repeat(100_000)}'>${'<p:c/>'.repeat(20_000)}</a></message>`,
    );
    expect((await romeo.message({ id: 'long' })).get('a').elements()).toHaveLength(20_000);
    await client.close();
  });

  it('are understood in requests to the server, whatever the prefix', async () => {
    const client = await leaning();
    await client.request('get', '<q:ping/>', 'localhost');
    expect((await client.request('get', '<d:query/>', 'localhost')).get('query', 'identity')).toBeDefined();
    await client.request('get', `<any:ping xmlns:any='urn:xmpp:ping'/>`, 'localhost');
    await client.close();
  });

  it('that nobody knows pass untouched between clients, and get an error from the server', async () => {
    const client = await juliet();
    client.write(
      `<message to='${nurse.jid}' id='u' xmlns:z='urn:z' z:a='1'><z:a xmlns=''><b/></z:a><c xmlns='urn:c'/></message>`,
    );
    const message = await nurse.message({ id: 'u' });
    const a = message.child('a', 'urn:z')!;
    expect([a.elements()[0]!.name, a.elements()[0]!.ns]).toEqual(['b', '']);
    expect(message.child('c', 'urn:c')).toBeDefined();
    expect((await client.refused('set', `<z xmlns='urn:z'/>`, 'localhost')).condition).toBe('service-unavailable');
    await client.close();
  });
});

describe('languages (RFC 6120 §8.1.5)', () => {
  it('a stanza’s own stays, the stream’s is added where it has none', async () => {
    const client = await RawClient.connect(server);
    const attributes = `to='localhost' version='1.0' xml:lang='de-CH'`;
    await client.open(attributes);
    await client.tryAuthenticate('PLAIN', 'juliet');
    await client.open(attributes);
    await client.bind();
    client.write(`<message to='${romeo.jid}' id='1' xml:lang='rm'><body xml:lang='it'/></message>`);
    client.write(`<message to='${romeo.jid}' id='2'/><message to='${romeo.jid}' id='3' xml:lang=''/>`);
    const first = await romeo.message({ id: '1' });
    expect([first.attr('xml:lang'), first.get('body').attr('xml:lang')]).toEqual(['rm', 'it']);
    expect((await romeo.message({ id: '2' })).attr('xml:lang')).toBe('de-CH');
    expect((await romeo.message({ id: '3' })).attr('xml:lang')).toBe('');
    await client.close();
  });
});

describe('noise', () => {
  /** Deterministic, so that what fails once fails again (mulberry32). */
  function random(seed: number): () => number {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  /** Sends bytes, and resolves when the server has hung up or we have, with all that it said. */
  async function talk(bytes: Buffer): Promise<string> {
    const socket = connect(server.c2s, server.host);
    socket.on('error', () => undefined);
    let said = '';
    socket.on('data', (chunk) => (said += chunk.toString()));
    socket.end(bytes);
    await once(socket, 'close');
    return said;
  }

  it('of random bytes ends with an error, not with the server', async () => {
    const next = random(1);
    const connections = Array.from({ length: 100 }, () =>
      talk(Buffer.from(Array.from({ length: 1 + Math.floor(next() * 2000) }, () => Math.floor(next() * 256)))),
    );
    for (const said of await Promise.all(connections)) expect(said).toMatch(/<stream:error>|^$/);
  });

  it('in a login and its stanzas: whatever byte is wrong, others do not notice', async () => {
    const next = random(2);
    const session = Buffer.from(
      `${HEADER}${AUTH}${HEADER}<iq type='set' id='b'><bind xmlns='${NS.bind}'/></iq><presence><priority>1</priority></presence>` +
        `<message to='${romeo.jid}' type='chat'><body>Hi &amp; <![CDATA[x]]></body></message>` +
        `<iq type='set' id='p' to='pubsub.localhost'><pubsub xmlns='${NS.pubsub}'><publish node='n'><item id='i'><v xmlns='urn:v'/></item></publish></pubsub></iq></stream:stream>`,
    );
    for (let round = 0; round < 10; round++) {
      await Promise.all(
        Array.from({ length: 30 }, () => {
          const bytes = Buffer.from(session);
          for (let wrong = 1 + Math.floor(next() * 3); wrong > 0; wrong--) {
            bytes[Math.floor(next() * bytes.length)] = Math.floor(next() * 256);
          }
          return talk(bytes);
        }),
      );
    }
    romeo.unread.length = 0;
  });

  it('that stops anywhere: a session cut at every byte leaves nothing behind', async () => {
    const session = `${HEADER}${AUTH}`;
    const before = await metric(server, 'thrum_connections');
    for (let at = 0; at < session.length; at += 40) {
      await Promise.all(Array.from({ length: 40 }, (_, i) => talk(Buffer.from(session.slice(0, at + i)))));
    }
    expect(await metric(server, 'thrum_connections')).toBe(before);
    expect(await metric(server, 'thrum_sessions')).toBe(2);
  });
});
