import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NS, RawClient, errorOf, type Via, type XmlElement } from '../support/client.js';
import { parseMetrics } from '../support/prometheus.js';
import { startServer, type TestServer } from '../support/server.js';
import { burst } from './support/burst.js';
import { Device, message, numbered, type DeviceOptions } from './support/device.js';
import { form, publish } from './support/pubsub.js';

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ set: { 'limits.enabled': false, 'sm.request_every': 20 } });
  await server.addUsers('device', 'peer', 'other');
});
afterAll(() => server.stop());

let devices = 0;
const login = (options: Partial<DeviceOptions> = {}) =>
  Device.login(server, { user: 'device', resource: `d${devices++}`, ...options });
const authenticated = (user = 'device') => Device.authenticated(server, { user });
const conditionOf = (failed: XmlElement) => failed.elements(undefined, NS.stanzaErrors).map((child) => child.name);
const ping = (id: string, to: string) => `<iq type='get' id='${id}' to='${to}'><ping xmlns='urn:xmpp:ping'/></iq>`;
const create = (node: string, id: string, options = '') =>
  `<iq type='set' id='${id}' to='pubsub.localhost'><pubsub xmlns='${NS.pubsub}'><create node='${node}'/>${options}</pubsub></iq>`;
const dropped = async () =>
  parseMetrics(await (await server.fetch('/metrics')).text()).value('thrum_drops_total', { reason: 'session_ended' }) ??
  0;
const ofId = (device: Device, id: string) => device.handled.filter((stanza) => stanza.attr('id') === id);

describe('a device that is cut in the middle of a burst has each stanza once, in order', () => {
  test.each([1, 2, 3, 4])('messages both ways and readings, cut anywhere (seed %i)', async (seed) => {
    expect(await burst(server, { seed, messages: 500, items: 200 })).toBeGreaterThan(5);
  });

  test('cut after almost every stanza', async () => {
    expect(await burst(server, { seed: 5, messages: 60, items: 30, between: 3 })).toBeGreaterThan(20);
  });

  test('with large stanzas', async () => {
    await burst(server, { seed: 6, messages: 40, size: 60_000, between: 12 });
  });

  test('over another transport each time', async () => {
    const ways: Via[] = ['tls', 'websocket', 'tcp', 'starttls', 'websocket', 'tls'];
    const resume = (device: Device, cut: number) => device.resume({ via: ways[cut % ways.length]! });
    expect(await burst(server, { seed: 7, messages: 300, items: 100, between: 60, resume })).toBeGreaterThan(5);
  });

  test('over WebSocket alone', async () => {
    await burst(server, { seed: 8, messages: 200, items: 100, login: { via: 'websocket' } });
  });
});

describe('coming back', () => {
  test('twice in a row, with nothing in between, loses and doubles nothing', async () => {
    const peer = await server.client('peer');
    const device = await login({ acknowledging: 'never' });
    for (const body of numbered(10)) peer.send(message(device.jid, body));
    await device.until(() => device.bodies().length === 10);
    device.cut();
    for (const body of numbered(5, 'late')) peer.send(message(device.jid, body));
    await peer.ping();
    await device.resume();
    device.cut();
    await device.resume();
    await device.ping();
    expect(device.bodies()).toEqual([...numbered(10), ...numbered(5, 'late')]);
    await Promise.all([device.leave(), peer.close()]);
  });

  test('tells the server what the client had handled: that is not sent again, whatever was acknowledged before', async () => {
    const peer = await server.client('peer');
    const device = await login({ acknowledging: 'never' });
    for (const body of numbered(10)) peer.send(message(device.jid, body));
    await device.until(() => device.bodies().length === 10);
    device.acknowledge(3);
    device.cut();
    await device.resume();
    await device.ping();
    expect(device.bodies()).toEqual(numbered(10));
    await Promise.all([device.leave(), peer.close()]);
  });

  test("<resumed/> names the session and the server's count, which goes on", async () => {
    const device = await login();
    for (let i = 0; i < 3; i++) device.send('<message/>');
    await device.ping();
    device.cut();
    const resumed = await device.resumeOn(await authenticated());
    expect(resumed.attrs).toEqual({ previd: device.id, h: '4' });
    device.send('<message/>');
    expect(await device.serverCount()).toBe(5);
    await device.leave();
  });

  test('what follows <resume/> in the same segment belongs to the session', async () => {
    const device = await login();
    device.cut();
    const client = await authenticated();
    const resumed = device.resumeOn(client);
    client.send(ping('behind', 'localhost'));
    expect((await resumed).name).toBe('resumed');
    await device.until(() => ofId(device, 'behind').length === 1);
    await client.close();
  });

  test('keeps address, presence and subscriptions', async () => {
    const sensor = await server.client('other');
    const device = await login({ available: true });
    sensor.send(create('kept', 'c'));
    await sensor.expect({ id: 'c', type: 'result' });
    device.send(
      `<iq type='set' id='s' to='pubsub.localhost'><pubsub xmlns='${NS.pubsub}'><subscribe node='kept' jid='${device.bareJid}'/></pubsub></iq>`,
    );
    await device.until(() => ofId(device, 's').length === 1);
    device.cut();
    sensor.send(publish('kept', '0'));
    await sensor.expect({ id: 'p0', type: 'result' });
    await device.resume();
    sensor.send(publish('kept', '1'));
    await device.until(() => device.items('kept').length === 2);
    sensor.send(message(device.bareJid, 'by presence'));
    await device.until(() => device.bodies().includes('by presence'));
    await Promise.all([device.leave(), sensor.close()]);
  });
});

describe('a request while the connection is cut', () => {
  test.each(['vanishes', 'is cut'])(
    'is handled once and its answer comes once, when the client %s right behind it',
    async (how) => {
      const peer = await server.client('peer');
      for (let round = 0; round < 10; round++) {
        const device = await login();
        // The creation holds the stream while it is stored; the message waits behind it.
        device.send(create(`held-${how.length}-${round}`, 'create'));
        device.send(message(peer.jid, `behind ${round}`));
        device.send(ping('ping', 'localhost'));
        if (how === 'vanishes') await device.vanish();
        else device.cut();
        await device.resume();
        await device.until(() => ofId(device, 'ping').length === 1);
        await device.ping();
        expect(ofId(device, 'create').map((stanza) => stanza.attr('type'))).toEqual(['result']);
        expect(ofId(device, 'ping')).toHaveLength(1);
        expect((await peer.message()).get('body').text()).toBe(`behind ${round}`);
        await peer.expectNothing('message');
        await device.leave();
      }
      await peer.close();
    },
  );

  test('is answered before those that are sent again behind it', async () => {
    for (let round = 0; round < 10; round++) {
      const device = await login();
      device.send(create(`first-${round}`, 'create'));
      device.send(publish(`first-${round}`, '0', 'publish'));
      await device.vanish();
      await device.resume();
      await device.until(() => ofId(device, 'publish').length === 1 && ofId(device, 'create').length === 1);
      expect(device.handled.map((stanza) => [stanza.attr('id'), stanza.attr('type')])).toEqual([
        ['create', 'result'],
        ['publish', 'result'],
      ]);
      await device.leave();
    }
  });

  test('from another user waits for the device, and is answered by it', async () => {
    const peer = await server.client('peer');
    const device = await login();
    device.send(`<presence to='${peer.jid}'/>`);
    await peer.expect({ name: 'presence', from: device.jid });
    await device.vanish();
    peer.send(ping('question', device.jid));
    await peer.expectNothing({ id: 'question' });
    await device.resume();
    await device.until(() => ofId(device, 'question').length === 1);
    device.send(`<iq type='result' id='question' to='${peer.jid}'/>`);
    await peer.expect({ id: 'question', type: 'result', from: device.jid });
    await Promise.all([device.leave(), peer.close()]);
  });
});

describe('the old connection is still open', () => {
  const ways: Via[] = ['tcp', 'tls', 'websocket'];
  test.each(ways.flatMap((from) => ways.map((to) => [from, to] as const)))(
    '%s is closed with conflict, and %s carries on',
    async (from, to) => {
      const peer = await server.client('peer');
      const device = await login({ via: from, acknowledging: 'never' });
      for (const body of numbered(30)) peer.send(message(device.jid, body));
      await device.until(() => device.bodies().length >= 10);
      const old = device.client;
      const handled = device.handled.length;
      for (const body of numbered(30, 'more')) peer.send(message(device.jid, body));
      const client = await Device.authenticated(server, { user: 'device', via: to });
      expect((await device.resumeOn(client)).name).toBe('resumed');
      await old.expectStreamError('conflict');
      expect(old.ended).toBe(true);
      await peer.ping();
      await device.ping();
      expect(handled).toBeGreaterThanOrEqual(10);
      expect(device.bodies()).toEqual([...numbered(30), ...numbered(30, 'more')]);
      // The old one's end does not harm the session: it can be resumed from the new one again.
      device.cut();
      await device.resume();
      await device.ping();
      await Promise.all([device.leave(), peer.close()]);
    },
  );

  test('nobody sees the session leave', async () => {
    const peer = await server.client('peer');
    const device = await login();
    device.send(`<presence to='${peer.jid}'/>`);
    await peer.expect({ name: 'presence', from: device.jid });
    const old = device.client;
    await device.resume();
    await old.closed;
    await device.ping();
    await peer.expectNothing('presence');
    await Promise.all([device.leave(), peer.close()]);
  });

  test('and does not read: what waits in it comes by the new one', async () => {
    const peer = await server.client('peer');
    const device = await login({ acknowledging: 'never' });
    const old = device.client;
    old.pauseReading();
    const bodies = numbered(300).map((body) => body.padEnd(10_000, 'x'));
    for (const body of bodies) peer.send(message(device.jid, body));
    await peer.ping();
    await device.resume();
    await device.until(() => device.bodies().length === bodies.length);
    await device.ping();
    expect(device.bodies()).toEqual(bodies);
    old.cut();
    await Promise.all([device.leave(), peer.close()]);
  });
});

describe('resumption is refused', () => {
  /** The client may go on: bind, and be served. */
  async function refusedAndServed(client: RawClient, previd: string, condition = 'item-not-found'): Promise<void> {
    client.send(`<resume xmlns='${NS.sm}' previd='${previd}' h='0'/>`);
    expect(conditionOf(await client.expect({ name: 'failed', ns: NS.sm }))).toEqual([condition]);
    await client.bind();
    await client.ping();
    await client.close();
  }

  test.each(['unknown', '', '1.', '0.0', '-1', '1.&amp;&lt;', 'zz.zz', '1'.repeat(3000)])(
    'of nobody: %s',
    async (id) => {
      await refusedAndServed(await authenticated(), id);
    },
  );

  test("to another user, and the owner's session stays what it was", async () => {
    const device = await login();
    device.cut();
    await refusedAndServed(await authenticated('other'), device.id);
    await device.resume();
    await device.leave();
  });

  test('to the account itself when the session was not resumable', async () => {
    const device = await login({ enable: '' });
    await refusedAndServed(await authenticated(), '');
    await device.leave();
  });

  test('after the stream was closed in order', async () => {
    const device = await login();
    await device.client.close();
    await refusedAndServed(await authenticated(), device.id);
  });

  test('after the session was replaced by another with its resource', async () => {
    const device = await login();
    const again = await server.client('device', { resource: device.jid.split('/')[1] });
    await device.client.expectStreamError('conflict');
    await refusedAndServed(await authenticated(), device.id);
    await again.close();
  });

  test('before authentication, which still may follow', async () => {
    const device = await login();
    device.cut();
    const client = await RawClient.connect(server);
    await client.open();
    client.send(`<resume xmlns='${NS.sm}' previd='${device.id}' h='0'/>`);
    expect(conditionOf(await client.expect({ name: 'failed', ns: NS.sm }))).toEqual(['unexpected-request']);
    await client.authenticate('PLAIN', 'device');
    expect((await device.resumeOn(client)).name).toBe('resumed');
    await client.close();
  });

  test('after binding, and both sessions stay what they were', async () => {
    const [device, other] = [await login(), await login()];
    device.cut();
    other.client.send(`<resume xmlns='${NS.sm}' previd='${device.id}' h='0'/>`);
    expect(conditionOf(await other.client.expect({ name: 'failed', ns: NS.sm }))).toEqual(['unexpected-request']);
    await other.ping();
    await device.resume();
    await Promise.all([device.leave(), other.client.close()]);
  });

  test.each([
    "previd='x'",
    "h='0'",
    "previd='x' h=''",
    "previd='x' h='-1'",
    "previd='x' h='1.5'",
    "previd='x' h='99999999999'",
  ])('when it is asked for wrongly: %s', async (attributes) => {
    const client = await authenticated();
    client.send(`<resume xmlns='${NS.sm}' ${attributes}/>`);
    expect(conditionOf(await client.expect({ name: 'failed', ns: NS.sm }))).toEqual(['unexpected-request']);
    await client.bind();
    await client.close();
  });

  test('with a count of more than was sent, by a stream error; the right one is still taken', async () => {
    const peer = await server.client('peer');
    const device = await login({ acknowledging: 'never' });
    for (const body of numbered(3)) peer.send(message(device.jid, body));
    await device.until(() => device.bodies().length === 3);
    device.cut();
    const mistaken = await authenticated();
    mistaken.send(`<resume xmlns='${NS.sm}' previd='${device.id}' h='4'/>`);
    const error = await mistaken.expectStreamError('undefined-condition');
    expect(error.get('handled-count-too-high').attrs).toMatchObject({ h: '4', 'send-count': '3' });
    await device.resume();
    await device.ping();
    expect(device.bodies()).toEqual(numbered(3));
    await Promise.all([device.leave(), peer.close()]);
  });
});

describe('a session that is not resumed in time', () => {
  const SHORT = "resume='true' max='1'";

  test('stays present until then; then it leaves, and nobody can have it', async () => {
    const peer = await server.client('peer');
    const device = await login({ enable: SHORT });
    device.send(`<presence to='${peer.jid}'/>`);
    await peer.expect({ name: 'presence', from: device.jid });
    await device.vanish();
    await peer.expectNothing();
    const left = await peer.expect({ name: 'presence', from: device.jid });
    expect(left.attr('type')).toBe('unavailable');
    expect(conditionOf(await device.resumeOn(await authenticated()))).toEqual(['item-not-found']);
    await device.client.bind(device.jid.split('/')[1]);
    expect(device.client.jid).toBe(device.jid);
    await Promise.all([device.leave(), peer.close()]);
  });

  test('that was resumed in between waits its whole time again', async () => {
    const peer = await server.client('peer');
    const device = await login({ enable: SHORT });
    device.send(`<presence to='${peer.jid}'/>`);
    await peer.expect({ name: 'presence', from: device.jid });
    await device.vanish();
    await device.resume();
    // Another session's end after the same time shows that the first clock would have rung.
    const clock = await login({ enable: SHORT });
    clock.send(`<presence to='${peer.jid}'/>`);
    await peer.expect({ name: 'presence', from: clock.jid });
    await clock.vanish();
    await peer.expect({ name: 'presence', type: 'unavailable', from: clock.jid });
    await device.ping();
    await peer.expectNothing();
    await Promise.all([device.leave(), peer.close()]);
  });

  test('has its messages delivered to the other resource, once, in order, unsent ones too; what is out of date is dropped', async () => {
    await server.addUsers('two');
    const peer = await server.client('peer');
    const home = await RawClient.login(server, { user: 'two', resource: 'home', available: true });
    const device = await login({ user: 'two', enable: SHORT, acknowledging: 'never' });
    await device.ping();
    const before = Date.now();
    for (const type of ['chat', 'normal', 'headline', 'error']) peer.send(message(device.jid, type, `type='${type}'`));
    await device.until(() => device.bodies().length === 4);
    const after = Date.now();
    await device.vanish();
    for (const type of ['chat', 'headline']) peer.send(message(device.jid, `late ${type}`, `type='${type}'`));
    const arrived = [await home.message(), await home.message(), await home.message()];
    expect(arrived.map((stanza) => stanza.get('body').text())).toEqual(['chat', 'normal', 'late chat']);
    // XEP-0198 §4: with the time at which they should have been delivered.
    for (const stanza of arrived) expect(stanza.get('delay').attr('from')).toBe('localhost');
    for (const stanza of arrived.slice(0, 2)) {
      const stamp = Date.parse(stanza.get('delay').attr('stamp')!);
      expect(stamp).toBeGreaterThanOrEqual(before);
      expect(stamp).toBeLessThanOrEqual(after);
    }
    await home.expectNothing('message');
    await peer.expectNothing();
    await Promise.all([home.close(), peer.close()]);
  });

  test('has what others got, too, delivered to none of them again, but to the next when all of them are gone', async () => {
    await server.addUsers('several');
    const peer = await server.client('peer');
    const low = await RawClient.login(server, { user: 'several', resource: 'low' });
    await low.sendPresence('<priority>-1</priority>');
    const home = await RawClient.login(server, { user: 'several', resource: 'home', available: true });
    const devices: Device[] = [];
    for (let i = 0; i < 2; i++) {
      const device = await login({ user: 'several', available: true, enable: SHORT, acknowledging: 'never' });
      await device.ping();
      devices.push(device);
    }
    const send = async (text: string): Promise<void> => {
      peer.send(message('several@localhost', text, `type='chat' id='${text}'`));
      for (const device of devices) await device.until(() => device.bodies().includes(text), text);
    };
    await send('for all');
    expect((await home.message()).get('body').text()).toBe('for all');
    await home.sendPresence('<priority>-1</priority>');
    await send('for two');
    for (const device of devices) {
      device.send(`<presence to='${peer.jid}'/>`);
      await peer.expect({ name: 'presence', from: device.jid });
    }
    await low.sendPresence('<priority>0</priority>');
    for (const device of devices) await device.vanish();
    for (let i = 0; i < 2; i++) await peer.expect({ name: 'presence', type: 'unavailable' });
    expect((await low.message()).get('body').text()).toBe('for two');
    await Promise.all([low, home].map((client) => client.expectNothing('message')));
    await peer.expectNothing();
    await Promise.all([low, home, peer].map((client) => client.close()));
  });

  test('returns messages and requests to their senders when nobody else is there, but no answers', async () => {
    const peer = await server.client('peer');
    await server.addUsers('alone');
    const device = await login({ user: 'alone', enable: SHORT, acknowledging: 'never' });
    device.send(`<presence to='${peer.jid}'/>`);
    await peer.expect({ name: 'presence', from: device.jid });
    await device.vanish();
    peer.send(message(device.jid, 'a', "type='chat' id='m1'"));
    peer.send(ping('i1', device.jid));
    peer.send(`<iq type='result' id='i2' to='${device.jid}'/>`);
    peer.send(message(device.jid, 'b', "id='m2'"));
    peer.send(`<presence to='${device.jid}'/>`);
    await peer.expect({ name: 'presence', type: 'unavailable' });
    for (const id of ['m1', 'i1', 'm2']) {
      const answer = await peer.next();
      expect(answer.attrs).toMatchObject({ id, type: 'error', from: device.jid, to: peer.jid });
      expect(errorOf(answer).condition).toBe('service-unavailable');
    }
    await peer.expectNothing();
    await peer.close();
  });

  test.each(['headline', 'normal'])(
    'drops its notifications of type %s: they are not for the other resource',
    async (type) => {
      const account = `sub-${type}`;
      await server.addUsers(account);
      const sensor = await server.client('peer');
      sensor.send(create(`out-${type}`, 'c', `<configure>${form({ notification_type: type })}</configure>`));
      await sensor.expect({ id: 'c', type: 'result' });
      const home = await RawClient.login(server, { user: account, resource: 'home', available: true });
      const device = await login({ user: account, enable: SHORT, acknowledging: 'never' });
      device.send(
        `<iq type='set' id='s' to='pubsub.localhost'><pubsub xmlns='${NS.pubsub}'><subscribe node='out-${type}' jid='${device.jid}'/></pubsub></iq>`,
      );
      await device.until(() => ofId(device, 's')[0]?.attr('type') === 'result', 'subscribed');
      device.send(`<presence to='${sensor.jid}'/>`);
      await sensor.expect({ name: 'presence', from: device.jid });
      device.acknowledge();
      sensor.send(publish(`out-${type}`, '0'));
      await device.until(() => device.items(`out-${type}`).length === 1);
      await device.vanish();
      sensor.send(publish(`out-${type}`, '1'));
      const before = await dropped();
      await sensor.expect({ name: 'presence', type: 'unavailable' });
      await home.expectNothing('message');
      expect((await dropped()) - before).toBe(2);
      await Promise.all([home.close(), sensor.close()]);
    },
  );
});

describe('a new session with the resource of a cut one takes its place', () => {
  async function forgetful(user: string): Promise<Device> {
    await server.addUsers(user);
    return login({ user, acknowledging: 'never', available: true });
  }

  test('and gets what waited for it, in order, once it is available', async () => {
    const peer = await server.client('peer');
    const device = await forgetful('forgetful');
    device.acknowledge();
    for (const body of numbered(10, 'sent')) peer.send(message(device.jid, body));
    await device.until(() => device.bodies().length === 10);
    await device.vanish();
    for (const body of numbered(10, 'full')) peer.send(message(device.jid, body));
    for (const body of numbered(10, 'bare')) peer.send(message(device.bareJid, body, "type='normal'"));
    await peer.ping();
    const again = await server.client('forgetful', { resource: device.jid.split('/')[1] });
    expect(again.jid).toBe(device.jid);
    await again.expectNothing();
    await again.sendPresence();
    const bodies = [...numbered(10, 'sent'), ...numbered(10, 'full'), ...numbered(10, 'bare')];
    for (const body of bodies) expect((await again.message()).get('body').text()).toBe(body);
    await peer.expectNothing();
    await Promise.all([again.close(), peer.close()]);
  });

  test('what waited goes back when it leaves without having been available', async () => {
    const peer = await server.client('peer');
    const device = await forgetful('shy');
    await device.vanish();
    peer.send(message(device.jid, 'waiting', "type='chat' id='w'"));
    await peer.ping();
    const again = await server.client('shy', { resource: device.jid.split('/')[1] });
    await again.close();
    expect(errorOf(await peer.expect({ id: 'w' })).condition).toBe('service-unavailable');
    await peer.close();
  });

  test('a request that waited is answered at once', async () => {
    const peer = await server.client('peer');
    const device = await forgetful('asked');
    device.send(`<presence to='${peer.jid}'/>`);
    await peer.expect({ name: 'presence', from: device.jid });
    await device.vanish();
    peer.send(ping('q', device.jid));
    await peer.ping();
    const again = await server.client('asked', { resource: device.jid.split('/')[1] });
    expect(errorOf(await peer.expect({ id: 'q' })).condition).toBe('service-unavailable');
    await Promise.all([again.close(), peer.close()]);
  });
});
