import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NS, RawClient, errorOf } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { Device, message, numbered } from './support/device.js';

const REQUEST_EVERY = 10;
let server: TestServer;
let peer: RawClient;
beforeAll(async () => {
  server = await startServer({
    set: {
      'sm.request_every': REQUEST_EVERY,
      'sm.resume_seconds': 60,
      'keepalive.ping_after_seconds': 1,
      'keepalive.ping_timeout_seconds': 1,
      // Everybody but the one who tests it talks enough.
      'limits.enabled': false,
    },
  });
  await server.addUsers('device', 'peer');
});
afterAll(() => server.stop());

const FAILED = { name: 'failed', ns: NS.sm };
const ENABLE = `<enable xmlns='${NS.sm}'/>`;
let devices = 0;
const login = (enable = "resume='true'", options: { available?: boolean } = {}) =>
  Device.login(server, { user: 'device', resource: `d${devices++}`, enable, ...options });
async function fromPeer(to: string, bodies: string[]): Promise<void> {
  peer = await server.client('peer');
  for (const body of bodies) peer.send(message(to, body));
  await peer.close();
}
const conditionOf = (failed: { elements(name?: undefined, ns?: string): { name: string }[] }) =>
  failed.elements(undefined, NS.stanzaErrors).map((child) => child.name);

describe('enabling (XEP-0198 §3)', () => {
  test('is offered after authentication, and not before', async () => {
    const client = await RawClient.connect(server);
    expect((await client.open()).child('sm', NS.sm)).toBeUndefined();
    const features = await client.authenticate('PLAIN', 'device');
    expect(features.child('sm', NS.sm)).toBeDefined();
    client.cut();
  });

  test('without resumption promises none', async () => {
    for (const enable of ['', "resume='false'", "resume='0'"]) {
      const { enabled, client } = await login(enable);
      expect([enabled.attr('resume'), enabled.attr('id')]).toEqual([undefined, undefined]);
      await client.close();
    }
  });

  test('with resumption gives an identifier of its own to each session, and says how long it waits', async () => {
    const [one, other] = [await login("resume='true'"), await login("resume='1'")];
    for (const { enabled } of [one, other]) expect(enabled.attrs).toMatchObject({ resume: 'true', max: '60' });
    expect(one.id).toMatch(/./);
    expect(one.id).not.toBe(other.id);
    await Promise.all([one.client.close(), other.client.close()]);
  });

  test.each([
    ['5', '5'],
    ['60', '60'],
    ['86400', '60'],
    ['99999999999999999999', '60'],
    ['nonsense', '60'],
    ['-1', '60'],
  ])("honours max='%s' up to the server's own: %s", async (wanted, given) => {
    const { enabled, client } = await login(`resume='true' max='${wanted}'`);
    expect(enabled.attr('max')).toBe(given);
    await client.close();
  });

  test('a second time is refused, and leaves the first as it was', async () => {
    const device = await login();
    device.send("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>");
    device.client.send(ENABLE);
    expect(conditionOf(await device.client.expect(FAILED))).toEqual(['unexpected-request']);
    expect(await device.serverCount()).toBe(1);
    await device.client.close();
  });

  test('before a resource is bound is refused, and does not hinder binding', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    await client.authenticate('PLAIN', 'device');
    client.send(ENABLE);
    expect(conditionOf(await client.expect(FAILED))).toEqual(['unexpected-request']);
    await client.bind();
    client.send(ENABLE);
    await client.expect({ name: 'enabled', ns: NS.sm });
    await client.close();
  });

  test('before authentication is refused, and does not hinder authenticating', async () => {
    const client = await RawClient.connect(server);
    await client.open();
    client.send(ENABLE);
    expect(conditionOf(await client.expect(FAILED))).toEqual(['unexpected-request']);
    await client.authenticate('PLAIN', 'device');
    await client.close();
  });
});

describe("the server's count of what it received (XEP-0198 §4)", () => {
  test('begins at zero', async () => {
    const device = await login();
    expect(await device.serverCount()).toBe(0);
    await device.client.close();
  });

  test('counts every kind of stanza, refused ones too, and nothing else', async () => {
    const device = await login();
    const stanzas = [
      '<presence/>',
      "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
      "<iq type='get' id='2' to='nobody@elsewhere.example'><ping xmlns='urn:xmpp:ping'/></iq>",
      "<iq type='result' id='3'/>",
      "<iq type='bogus' id='4'/>",
      message('peer@localhost', 'to nobody who is there'),
      message('@@', 'to no address'),
      "<presence to='peer@localhost'/>",
      '<message/>',
    ];
    for (const [index, stanza] of stanzas.entries()) {
      device.send(stanza);
      device.client.send(' \n ');
      device.client.send(`<r xmlns='${NS.sm}'/>`);
      device.client.send(`<a xmlns='${NS.sm}' h='0'/>`);
      expect(Number((await device.client.expect({ name: 'a', ns: NS.sm })).attr('h')), stanza).toBe(index + 1);
    }
    await device.client.close();
  });

  test('includes a request that is still being handled only once its turn came, and answers come before the count', async () => {
    const device = await login();
    const create = (id: string) =>
      `<iq type='set' id='${id}' to='pubsub.localhost'><pubsub xmlns='${NS.pubsub}'><create node='count-${id}'/></pubsub></iq>`;
    device.send(create('a'));
    device.send(create('b'));
    expect(await device.serverCount()).toBe(2);
    expect(device.handled.map((stanza) => stanza.attr('id'))).toEqual(['a', 'b']);
    await device.client.close();
  });

  test('many requests at once get at least one answer, the last with the final count', async () => {
    const device = await login();
    for (let i = 0; i < 50; i++) {
      device.send('<message/>');
      device.client.send(`<r xmlns='${NS.sm}'/>`);
    }
    await device.until(() => device.unacknowledged === 0, 'h=50');
    await device.client.close();
  });

  test('over WebSocket each answer is one message of its own namespace', async () => {
    const device = await Device.login(server, { user: 'device', via: 'websocket' });
    device.send(`<presence xmlns='${NS.client}'/>`);
    expect(await device.serverCount()).toBe(1);
    await device.client.close();
  });
});

describe("the client's count of what it received", () => {
  test(`is asked for after every ${REQUEST_EVERY} stanzas, whatever was acknowledged before`, async () => {
    const device = await login();
    device.acknowledging = 'never';
    await fromPeer(device.jid, numbered(REQUEST_EVERY - 2));
    await device.until(() => device.handled.length === REQUEST_EVERY - 2);
    device.acknowledge();
    // The answer to the ping in it is the ninth, that to the next one the tenth.
    await device.client.expectNothing({ name: 'r', ns: NS.sm });
    await device.client.ping();
    await device.client.expect({ name: 'r', ns: NS.sm });
    await fromPeer(device.jid, numbered(REQUEST_EVERY));
    await device.client.expect({ name: 'r', ns: NS.sm });
    await device.client.close();
  });

  test('may come unasked, and may be the same again', async () => {
    const device = await login();
    await fromPeer(device.jid, numbered(4));
    await device.until(() => device.handled.length === 4);
    for (const h of [2, 2, 4, 4]) device.acknowledge(h);
    await device.client.ping();
    device.acknowledge();
    await device.client.ping();
    await device.client.close();
  });

  test.each([
    ['one too many', 5, 4],
    ['far too many', 4_294_967_295, 4],
  ])('%s ends the stream with handled-count-too-high', async (_case, h, sent) => {
    const device = await login();
    await fromPeer(device.jid, numbered(4));
    await device.until(() => device.handled.length === 4);
    device.acknowledge(h);
    const error = await device.client.expectStreamError('undefined-condition');
    expect(error.child('handled-count-too-high', NS.sm)?.attrs).toEqual({ h: String(h), 'send-count': String(sent) });
  });

  test('that goes back ends the stream too: what was acknowledged is gone', async () => {
    const device = await login();
    await fromPeer(device.jid, numbered(4));
    await device.until(() => device.handled.length === 4);
    device.acknowledge(4);
    device.acknowledge(3);
    await device.client.expectStreamError('undefined-condition');
  });

  test('without a number is refused', async () => {
    const device = await login();
    device.client.send(`<a xmlns='${NS.sm}'/>`);
    expect(conditionOf(await device.client.expect(FAILED))).toEqual(['unexpected-request']);
    device.client.send(`<a xmlns='${NS.sm}' h='many'/>`);
    expect(conditionOf(await device.client.expect(FAILED))).toEqual(['unexpected-request']);
    await device.client.close();
  });

  test('starts at <enabled/>: stanzas from before it do not count', async () => {
    const client = await RawClient.login(server, { user: 'device', available: true });
    const device = await Device.over(client, { user: 'device' });
    device.acknowledging = 'never';
    device.send("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>");
    await device.until(() => device.handled.length === 1);
    device.acknowledge(2);
    const error = await device.client.expectStreamError('undefined-condition');
    expect(error.child('handled-count-too-high', NS.sm)?.attr('send-count')).toBe('1');
  });
});

describe('without stream management', () => {
  test('<r/> and <a/> change nothing', async () => {
    const client = await RawClient.login(server, { user: 'device' });
    client.send(`<r xmlns='${NS.sm}'/>`);
    client.send(`<a xmlns='${NS.sm}' h='7'/>`);
    await client.ping();
    expect(client.unread.filter((element) => element.name === 'a')).toEqual([]);
    await client.close();
  });

  test('an unknown element ends the stream, one of stream management does not', async () => {
    const client = await RawClient.login(server, { user: 'device' });
    client.send(`<unheard-of xmlns='${NS.sm}'/>`);
    expect(conditionOf(await client.expect(FAILED))).toEqual(['unexpected-request']);
    client.send("<unheard-of xmlns='urn:example'/>");
    await client.expectStreamError('unsupported-stanza-type');
  });
});

describe('a silent client', () => {
  test('is asked by <r/> even when nothing is outstanding, and lives on when it answers', async () => {
    const device = await login();
    for (let round = 0; round < 2; round++) await device.client.expect({ name: 'r', ns: NS.sm });
    await device.client.ping();
    await device.client.close();
  });

  test('that does not answer is cut, and may resume with all that waits for it', async () => {
    const device = await login();
    device.acknowledging = 'never';
    await fromPeer(device.jid, numbered(5));
    await device.until(() => device.bodies().length === 5);
    await device.client.expectStreamError('connection-timeout');
    await fromPeer(device.jid, numbered(5, 'late'));
    await device.resume();
    await device.ping();
    expect(device.bodies()).toEqual([...numbered(5), ...numbered(5, 'late')]);
    await device.leave();
  });
});

describe('what nobody acknowledged when a session ends in order', () => {
  test('goes back to its sender', async () => {
    const device = await login();
    device.acknowledging = 'never';
    const sender = await server.client('peer');
    sender.send(message(device.jid, 'unread', "type='chat' id='m1'"));
    await device.until(() => device.bodies().length === 1);
    await device.client.close();
    const bounced = await sender.message({ type: 'error' });
    expect(bounced.attrs).toMatchObject({ id: 'm1', from: device.jid });
    expect(errorOf(bounced).condition).toBe('service-unavailable');
    await sender.close();
  });

  test('is nothing when the client acknowledged right before', async () => {
    const device = await login();
    device.acknowledging = 'never';
    const sender = await server.client('peer');
    sender.send(message(device.jid, 'read'));
    await device.until(() => device.bodies().length === 1);
    device.acknowledge();
    await device.client.close();
    await sender.expectNothing();
    await sender.close();
  });
});
