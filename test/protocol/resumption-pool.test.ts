import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NS, PASSWORD, RawClient, type Via, type XmlElement } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { burst } from './support/burst.js';
import { Device, message, numbered, type DeviceOptions } from './support/device.js';
import { metric } from './support/metrics.js';
import { authenticatedAt, clientAt, deviceAt, liveWorkers, placed, workerOf } from './support/places.js';

const PLAIN = btoa(`\0device\0${PASSWORD}`);
const OUTBOX = 32 * 1024 * 1024;
let server: TestServer;
beforeAll(async () => {
  server = await startServer({
    workers: 3,
    set: { 'limits.enabled': false, 'sm.request_every': 20, 'limits.outbox_bytes': OUTBOX },
  });
  await server.addUsers('device', 'peer', 'other');
});
afterAll(() => server.stop());

const conditionOf = (failed: XmlElement) => failed.elements(undefined, NS.stanzaErrors).map((child) => child.name);
const WAYS: Via[] = ['tcp', 'tls', 'websocket', 'starttls'];

let devices = 0;
/** A device whose session is at the first worker. */
const deviceAtHome = (options: Partial<DeviceOptions> = {}) =>
  deviceAt(server, home(), { user: 'device', resource: `d${devices++}`, ...options });
const home = () => liveWorkers(server)[0]!;
const elsewhere = (device: Device, via: Via = 'tcp') =>
  authenticatedAt(server, { notAt: home() }, { user: userOf(device), via });
const userOf = (device: Device) => device.jid.split('@')[0]!;

async function moved(device: Device, via: Via = 'tcp'): Promise<void> {
  expect((await device.resumeOn(await elsewhere(device, via))).name).toBe('resumed');
}

/** Resumes at the home of the session and at other workers by turns. */
function wandering(server: TestServer, ways: Via[]): (device: Device, cut: number) => Promise<void> {
  let first: number | undefined;
  return async (device, cut) => {
    first ??= Number(server.workers[Number.parseInt(device.id, 36) - 1]);
    const where = cut % 3 === 0 ? { at: first } : { notAt: first };
    const client = await authenticatedAt(server, where, { user: userOf(device), via: ways[cut % ways.length]! });
    expect((await device.resumeOn(client)).name).toBe('resumed');
  };
}

describe('a device that comes back to other workers has each stanza once, in order', () => {
  test.each([11, 12])('messages both ways and readings (seed %i)', async (seed) => {
    const cuts = await burst(server, { seed, messages: 400, items: 150, resume: wandering(server, ['tcp']) });
    expect(cuts).toBeGreaterThan(5);
  });

  test('over every transport', async () => {
    const cuts = await burst(server, {
      seed: 13,
      messages: 300,
      items: 100,
      between: 60,
      resume: wandering(server, WAYS),
    });
    expect(cuts).toBeGreaterThan(5);
  });

  test('cut after almost every stanza', async () => {
    await burst(server, { seed: 14, messages: 40, items: 20, between: 3, resume: wandering(server, ['tcp']) });
  });

  test.each(['tcp', 'websocket'] as const)('with stanzas of 200 kB over %s', async (via) => {
    const seed = via === 'tcp' ? 15 : 16;
    await burst(server, {
      seed,
      messages: 30,
      size: 200_000,
      between: 10,
      resume: wandering(server, [via]),
      login: { via },
    });
  });

  test('in a pool of two', async () => {
    const pair = await startServer({ workers: 2, set: { 'limits.enabled': false, 'sm.request_every': 20 } });
    try {
      await burst(pair, {
        seed: 17,
        messages: 200,
        items: 100,
        between: 40,
        resume: wandering(pair, ['tcp', 'websocket']),
      });
    } finally {
      await pair.stop();
    }
  });
});

test('resumption takes nothing away from what was said before it and is not written yet, at any worker', async () => {
  const resumed = () => metric(server, 'thrum_sessions_resumed_total');
  // Answers that the client does not read, more than the kernel holds for it.
  const ids = numbered(2000, 'r'.repeat(8000));
  const register = ids.map((id) => `<iq type='get' id='${id}'><query xmlns='jabber:iq:register'/></iq>`);
  const header = `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.streams}' to='localhost' version='1.0'>`;
  const auth = `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${PLAIN}</auth>`;
  // Connections go to the workers in turns.
  for (const _ of liveWorkers(server)) {
    const device = await deviceAtHome();
    device.cut();
    const before = await resumed();
    const socket = connect(server.c2s, server.host);
    const resume = `<resume xmlns='${NS.sm}' previd='${device.id}' h='0'/>`;
    socket.write([header, ...register, auth, header, resume].join(''));
    while ((await resumed()) === before);
    const parts: string[] = [''];
    for await (const chunk of socket.setEncoding('latin1')) {
      parts.push(String(chunk));
      if (parts.slice(-2).join('').includes('<resumed ')) break;
    }
    const text = parts.join('');
    const order = ['<mechanisms', ids[0]!, ids.at(-1)!, '<success', '<bind', '<resumed '].map((part) =>
      text.indexOf(part),
    );
    expect(order).not.toContain(-1);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  }
});

describe('a session whose socket is at another worker', () => {
  test.each(WAYS)('is served as at home, over %s', async (via) => {
    const peer = await server.client('peer');
    const device = await deviceAtHome({ via });
    device.cut();
    await moved(device, via);
    device.send(message(peer.jid, 'hello'));
    expect((await peer.message()).attr('from')).toBe(device.jid);
    peer.send(message(device.jid, 'hello too'));
    await device.until(() => device.bodies().length === 1);
    await device.ping();
    expect(await device.serverCount()).toBe(2);
    await Promise.all([device.leave(), peer.close()]);
    expect(device.client.ended).toBe(true);
  });

  test('what follows <resume/> at once arrives, however much it is', async () => {
    const peer = await server.client('peer');
    for (const via of ['tcp', 'websocket'] as const) {
      const device = await deviceAtHome();
      device.cut();
      const client = await elsewhere(device, via);
      const resumed = device.resumeOn(client);
      const bodies = numbered(25).map((body) => body.padEnd(10_000, 'x'));
      for (const body of bodies) client.send(message(peer.jid, body));
      expect((await resumed).name).toBe('resumed');
      for (const body of bodies) expect((await peer.message()).get('body').text()).toBe(body);
      await client.close();
    }
    await peer.close();
  });

  test("goes by the namespaces that its own stream's header declares (RFC 6120 §4.8)", async () => {
    const peer = await server.client('peer');
    const device = await deviceAtHome();
    device.cut();
    const client = await placed(
      server,
      (worker) => worker !== home(),
      async () => {
        const client = await RawClient.connect(server);
        await client.open();
        client.write(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${PLAIN}</auth>`);
        await client.expect('success');
        client.begin(
          `<stream:stream xmlns:stream='${NS.streams}' xmlns='${NS.client}' xmlns:x='urn:x?a&amp;b' version='1.0'>`,
        );
        await client.expect('features');
        return client;
      },
    );
    expect((await device.resumeOn(client)).name).toBe('resumed');
    client.write(`<message to='${peer.jid}'><x:note/></message>`);
    const note = (await peer.message()).get('note');
    expect([note.name, note.ns]).toEqual(['note', 'urn:x?a&b']);
    await client.close();
  });

  test('ends for good with </stream:stream>', async () => {
    const peer = await server.client('peer');
    const device = await deviceAtHome();
    device.send(`<presence to='${peer.jid}'/>`);
    device.cut();
    await moved(device);
    await device.client.close();
    expect(device.client.ended).toBe(true);
    await peer.expect({ name: 'presence', type: 'unavailable', from: device.jid });
    expect(conditionOf(await device.resumeOn(await elsewhere(device)))).toEqual(['item-not-found']);
    await peer.close();
  });

  test.each([
    ['not-well-formed', '<a></b>'],
    ['undefined-condition', `<a xmlns='${NS.sm}' h='99'/>`],
    ['unsupported-stanza-type', "<unheard-of xmlns='urn:example'/>"],
  ])('ends with the stream error that is due: %s', async (condition, xml) => {
    const device = await deviceAtHome();
    device.cut();
    await moved(device);
    device.client.write(xml);
    await device.client.expectStreamError(condition);
  });

  test('that does not read gets all when it reads again, and costs nobody else anything', async () => {
    const peer = await clientAt(server, liveWorkers(server)[1]!, { user: 'peer' });
    const device = await deviceAtHome({ acknowledging: 'never' });
    device.cut();
    await moved(device);
    device.client.pauseReading();
    const bodies = numbered(150).map((body) => body.padEnd(100_000, 'x'));
    for (const body of bodies) peer.send(message(device.jid, body));
    await peer.ping();
    await peer.expectNothing();
    device.client.resumeReading();
    await device.until(() => device.bodies().length === bodies.length, 'all came');
    await device.ping();
    expect(device.bodies()).toEqual(bodies);
    await Promise.all([device.leave(), peer.close()]);
  });

  test('that does not read can be cut, and its client gets the rest over another', async () => {
    const peer = await server.client('peer');
    const device = await deviceAtHome({ acknowledging: 'never' });
    device.cut();
    await moved(device);
    device.client.pauseReading();
    const bodies = numbered(100).map((body) => body.padEnd(100_000, 'x'));
    for (const body of bodies) peer.send(message(device.jid, body));
    await peer.ping();
    device.cut();
    await moved(device);
    await device.until(() => device.bodies().length === bodies.length, 'all came');
    await device.ping();
    expect(device.bodies()).toEqual(bodies);
    await Promise.all([device.leave(), peer.close()]);
  });

  test('is replaced by a new session with its resource, at any worker', async () => {
    for (const worker of liveWorkers(server)) {
      const device = await deviceAtHome();
      device.cut();
      await moved(device);
      const again = await clientAt(server, worker, { user: 'device', resource: device.jid.split('/')[1] });
      await device.client.expectStreamError('conflict');
      expect(again.jid).toBe(device.jid);
      await again.close();
    }
  });

  test('is replaced by a new session with its resource, at any worker, that gets what waited, in order', async () => {
    const peer = await server.client('peer');
    for (const worker of liveWorkers(server)) {
      const device = await deviceAtHome({ acknowledging: 'never', available: true });
      device.acknowledge();
      device.cut();
      const bodies = numbered(100).map((body) => body.padEnd(10_000, 'x'));
      for (const body of bodies) peer.send(message(device.jid, body));
      await peer.ping();
      const again = await clientAt(server, worker, { user: 'device', resource: device.jid.split('/')[1] });
      await again.sendPresence();
      for (const body of bodies) expect((await again.message()).get('body').text()).toBe(body);
      await peer.expectNothing();
      await again.close();
    }
    await peer.close();
  });

  test('leaves in time when it is cut for good', async () => {
    const peer = await server.client('peer');
    const device = await deviceAtHome({ enable: "resume='true' max='1'" });
    device.send(`<presence to='${peer.jid}'/>`);
    await peer.expect({ name: 'presence', from: device.jid });
    device.cut();
    await moved(device);
    await device.ping();
    device.cut();
    peer.send(message(device.jid, 'too late', "type='chat' id='m'"));
    await peer.expect({ name: 'presence', type: 'unavailable', from: device.jid });
    await peer.expect({ id: 'm', type: 'error' });
    expect(conditionOf(await device.resumeOn(await elsewhere(device)))).toEqual(['item-not-found']);
    await peer.close();
  });
});

describe('the old connection is still open', () => {
  test.each([
    ['at home, the new one elsewhere', 0, 1],
    ['elsewhere, the new one at home', 1, 0],
    ['elsewhere, the new one at a third', 1, 2],
    ['elsewhere, the new one there too', 1, 1],
  ])('%s: it is closed with conflict, and the new one carries on', async (_case, from, to) => {
    const peer = await server.client('peer');
    const device = await deviceAtHome({ acknowledging: 'never' });
    const workers = liveWorkers(server);
    const at = (index: number) => authenticatedAt(server, { at: workers[index]! }, { user: 'device' });
    if (from !== 0) {
      device.cut();
      await device.resumeOn(await at(from));
    }
    for (const body of numbered(50)) peer.send(message(device.jid, body));
    await device.until(() => device.bodies().length >= 10);
    const old = device.client;
    for (const body of numbered(50, 'more')) peer.send(message(device.jid, body));
    expect((await device.resumeOn(await at(to))).name).toBe('resumed');
    await old.expectStreamError('conflict');
    expect(old.ended).toBe(true);
    await peer.ping();
    await device.ping();
    expect(device.bodies()).toEqual([...numbered(50), ...numbered(50, 'more')]);
    await Promise.all([device.leave(), peer.close()]);
  });
});

describe('resumption is refused at every worker', () => {
  test("of unknown sessions, of numbers of no worker, and of another user's session", async () => {
    const device = await deviceAtHome();
    device.cut();
    const number = device.id.split('.')[0]!;
    for (const worker of liveWorkers(server)) {
      for (const [user, id] of [
        ['device', `${number}.unknown`],
        ['device', '9z.unknown'],
        ['other', device.id],
      ] as const) {
        const client = await authenticatedAt(server, { at: worker }, { user });
        client.send(`<resume xmlns='${NS.sm}' previd='${id}' h='0'/>`);
        expect(conditionOf(await client.expect({ name: 'failed', ns: NS.sm }))).toEqual(['item-not-found']);
        await client.bind();
        await client.ping();
        await client.close();
      }
    }
    await moved(device);
    await device.leave();
  });

  test('with a count of more than was sent; the right one is still taken', async () => {
    const device = await deviceAtHome();
    device.cut();
    const mistaken = await elsewhere(device);
    mistaken.send(`<resume xmlns='${NS.sm}' previd='${device.id}' h='5'/>`);
    const error = await mistaken.expectStreamError('undefined-condition');
    expect(error.get('handled-count-too-high').attrs).toMatchObject({ h: '5', 'send-count': '0' });
    await moved(device);
    await device.leave();
  });
});

describe('a worker dies', () => {
  const kill = async (pid: number): Promise<void> => {
    const restarted = server.log.filter((line) => line.includes('worker is ready')).length;
    process.kill(pid, 'SIGKILL');
    let seen = 0;
    await server.logged((line) => line.includes('worker is ready') && ++seen > restarted);
  };

  test('that had the socket: the session waits, and is resumed with nothing lost', async () => {
    const peer = await clientAt(server, home(), { user: 'peer' });
    const device = await deviceAtHome({ acknowledging: 'never' });
    device.cut();
    await moved(device);
    for (const body of numbered(20)) peer.send(message(device.jid, body));
    await device.until(() => device.bodies().length >= 5);
    const worker = workerOf(server, device.client);
    for (const body of numbered(20, 'more')) peer.send(message(device.jid, body));
    const { client } = device;
    await kill(worker);
    await client.closed;
    for (const body of numbered(20, 'late')) peer.send(message(device.jid, body));
    await moved(device);
    await peer.ping();
    await device.ping();
    expect(device.bodies()).toEqual([...numbered(20), ...numbered(20, 'more'), ...numbered(20, 'late')]);
    await Promise.all([device.leave(), peer.close()]);
  });

  test('that had the session: its client is cut, told item-not-found, and can bind anew', async () => {
    const device = await deviceAtHome();
    device.cut();
    await moved(device);
    const survivor = await clientAt(server, workerOf(server, device.client), { user: 'peer' });
    const { client, jid } = device;
    await kill(home());
    await client.closed;
    const back = await Device.authenticated(server, { user: 'device' });
    expect(conditionOf(await device.resumeOn(back))).toEqual(['item-not-found']);
    await back.bind(jid.split('/')[1]);
    expect(back.jid).toBe(jid);
    survivor.send(message(jid, 'still there'));
    await back.message({ body: 'still there' });
    await Promise.all([back.close(), survivor.close()]);
  });
});
