import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { NS, type XmlElement } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { Device, message, numbered, type DeviceOptions } from './support/device.js';
import { metric } from './support/metrics.js';
import { authenticatedAt, clientAt, deviceAt, liveWorkers } from './support/places.js';
import { Sensor, create } from './support/pubsub.js';

let server: TestServer;
beforeAll(async () => {
  server = await startServer({
    workers: 3,
    set: { 'limits.enabled': false, 'sm.request_every': 20, 'log.level': 'debug', 'shutdown.grace_seconds': 30 },
  });
});
afterAll(() => server.stop());

/** Stopped by a test. */
let stopped: number | undefined;
afterEach(() => {
  if (stopped !== undefined) proceed();
});
function stop(worker: number): void {
  stopped = worker;
  process.kill(worker, 'SIGSTOP');
}
function proceed(): void {
  process.kill(stopped!, 'SIGCONT');
  stopped = undefined;
}

const conditionOf = (failed: XmlElement) => failed.elements(undefined, NS.stanzaErrors).map((child) => child.name);
let accounts = 0;
const account = (name: string) => `${name}${accounts++}`;
const readyLines = () => server.log.filter((line) => line.includes('worker is ready')).length;

/** Asks one worker to end, as an operator does; another takes its place. Resolves when that one serves. */
async function recycle(worker: number, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  const before = readyLines();
  process.kill(worker, signal);
  let seen = 0;
  await server.logged((line) => line.includes('worker is ready') && ++seen > before, 60_000);
}

/** The next line of that text. */
function next(text: string): Promise<string> {
  const before = server.log.length;
  let at = 0;
  return server.logged((line) => at++ >= before && line.includes(text), 30_000);
}

/** The client is told to come back, and its session waits. */
async function sentAway(device: Device): Promise<void> {
  await device.client.closed;
  expect(device.client.unread.filter((element) => element.name === 'error').map(String)).toEqual([
    expect.stringContaining('system-shutdown'),
  ]);
  device.cut();
}

async function subscriber(worker: number, node: string, options: Partial<DeviceOptions> = {}): Promise<Device> {
  const device = await deviceAt(server, worker, { user: account('subscriber'), available: true, ...options });
  device.send(
    `<iq type='set' id='subscribe' to='pubsub.localhost'><pubsub xmlns='${NS.pubsub}'><subscribe node='${node}' jid='${device.bareJid}'/></pubsub></iq>`,
  );
  await device.until(() => device.handled.some((stanza) => stanza.attr('id') === 'subscribe'), 'subscribed');
  return device;
}

describe('a worker closes: its sessions go to others, and each stanza comes once and in order', () => {
  test.each([1, 20])('readings that are published meanwhile (%i sessions)', async (count) => {
    const [old, other] = liveWorkers(server) as [number, number];
    const node = account('node');
    const owner = await clientAt(server, other, { user: account('owner') });
    await create(owner, node, { publish_model: 'open' });
    const devices: Device[] = [];
    for (let i = 0; i < count; i++) devices.push(await subscriber(old, node));
    const came = await metric(server, 'thrum_sessions_moved_total', { outcome: 'in' });
    const sensor = new Sensor(await clientAt(server, other, { user: account('sensor') }), node);
    await sensor.reached(300);
    const recycled = recycle(old);
    await Promise.all(
      devices.map(async (device) => {
        await sentAway(device);
        await device.resume();
      }),
    );
    await sensor.reached(2000);
    await recycled;
    sensor.stop();
    await sensor.done;
    const items = numbered(sensor.acknowledged.length);
    expect(new Set(sensor.acknowledged)).toEqual(new Set(items));
    for (const device of devices) {
      await device.until(() => device.items(node).length >= items.length, 'all items');
      await device.ping();
      expect(device.items(node)).toEqual(items);
    }
    expect((await metric(server, 'thrum_sessions_moved_total', { outcome: 'in' })) - came).toBe(count);
    await Promise.all([owner.close(), ...devices.map((device) => device.leave())]);
  });

  test('messages both ways, and readings from each worker, the closing one too', async () => {
    const workers = liveWorkers(server);
    const node = account('node');
    const owner = await clientAt(server, workers[1]!, { user: account('owner') });
    await create(owner, node, { publish_model: 'open' });
    const device = await subscriber(workers[0]!, node);
    const peers: Device[] = [];
    for (const worker of workers) peers.push(await deviceAt(server, worker, { user: account('peer') }));
    const total = 600;
    const moved = (async () => {
      await device.until(() => device.bodies().length > 200, 'begun');
      const recycled = recycle(workers[0]!);
      await Promise.all(
        [device, peers[0]!].map(async (one) => {
          await sentAway(one);
          await one.resume();
        }),
      );
      await recycled;
    })();
    for (let i = 0; i < total; i++) {
      for (const [index, peer] of peers.entries()) {
        peer.send(message(device.jid, `${index} ${i}`));
        peer.send(message(device.bareJid, `bare ${index} ${i}`));
        device.send(message(peer.jid, `${i}`));
      }
      // At the pace of the slowest.
      const seen = () => device.bodies().filter((body) => body.startsWith('0 ')).length;
      if (i % 20 === 19) {
        await device.until(() => seen() > i - 20, `message ${i}`);
        await peers[0]!.until(() => peers[0]!.bodies().length > i - 20, `answer ${i}`);
      }
    }
    await moved;
    await device.until(
      () => device.bodies().length >= total * 6,
      () => `${device.bodies().length} messages`,
    );
    await device.ping();
    for (const index of peers.keys()) {
      const of = (prefix: string) => device.bodies().filter((body) => body.startsWith(prefix));
      expect(of(`${index} `)).toEqual(numbered(total, `${index} `));
      expect(of(`bare ${index} `)).toEqual(numbered(total, `bare ${index} `));
    }
    for (const peer of peers) {
      await peer.until(() => peer.bodies().length >= total, 'all at the peer');
      await peer.ping();
      expect(peer.bodies()).toEqual(numbered(total));
    }
    await Promise.all([owner.close(), device.leave(), ...peers.map((peer) => peer.leave())]);
  });
});

test('a client comes back to another worker while that of its session dies: it is told that the session is gone', async () => {
  const [old, other] = liveWorkers(server) as [number, number];
  const device = await deviceAt(server, old, { user: account('device') });
  const neighbour = await deviceAt(server, other, { user: account('neighbour') });
  const client = await authenticatedAt(server, { at: other }, { user: device.bareJid.split('@')[0]! });
  stop(old);
  const resumed = device.resumeOn(client);
  // What was sent before has been read when it has answered a neighbour twice.
  await neighbour.ping();
  await neighbour.ping();
  const restarted = next('worker is ready');
  process.kill(old, 'SIGKILL');
  stopped = undefined;
  const failed = await resumed;
  expect(failed.name).toBe('failed');
  expect(conditionOf(failed)).toEqual(['item-not-found']);
  await restarted;
  client.cut();
  await neighbour.leave();
});

describe('in the middle of a move', () => {
  const FIRST = 50;

  /**
   * The worker of a device's session closes while a third one stands still, which has to be heard before a session may go: it has begun to
   * come to the worker in between, and gets no further. Messages for it are under way.
   */
  async function halfway() {
    const workers = liveWorkers(server);
    const peers: Device[] = [];
    for (const worker of workers) peers.push(await deviceAt(server, worker, { user: account('peer') }));
    const number = (index: number) => Number.parseInt(peers[index]!.id, 36);
    // Sessions go to the others by turns, the one with the lowest number first.
    const [to, third] = number(1) < number(2) ? [1, 2] : [2, 1];
    const device = await deviceAt(server, workers[0]!, {
      user: account('device'),
      available: true,
      acknowledging: 'never',
    });
    await peers[0]!.leave();
    const neighbour = peers[to]!;
    const user = device.bareJid.split('@')[0]!;
    for (const body of numbered(FIRST)) neighbour.send(message(device.jid, body));
    await device.until(() => device.bodies().length === FIRST, 'the first messages');
    // Made before, since one of three connections would get no answer then.
    const home = await clientAt(server, workers[to]!, { user, resource: 'home', available: true });
    const client = await authenticatedAt(server, { at: workers[to]! }, { user });
    const coming = next('a session is coming');
    stop(workers[third]!);
    const recycled = recycle(workers[0]!);
    await sentAway(device);
    await coming;
    return { old: workers[0]!, to: workers[to]!, device, neighbour, client, home, user, recycled };
  }

  async function allCame(device: Device, bodies: string[]): Promise<void> {
    await device.until(() => device.bodies().length >= bodies.length, 'all messages');
    await device.ping();
    expect(device.bodies()).toEqual(bodies);
    await device.leave();
  }

  test('the client comes back: it waits until the session has come, and gets what came meanwhile', async () => {
    const { device, neighbour, client, home, recycled } = await halfway();
    const resumed = device.resumeOn(client);
    for (const body of numbered(20, 'late')) neighbour.send(message(device.jid, body));
    await neighbour.ping();
    expect(client.unread).toEqual([]);
    proceed();
    expect((await resumed).name).toBe('resumed');
    await recycled;
    await allCame(device, [...numbered(FIRST), ...numbered(20, 'late')]);
    await home.expectNothing('message');
    await Promise.all([home.close(), neighbour.leave()]);
  });

  test('the old worker is killed: the client is told that its session is gone, and messages find another way, once', async () => {
    const { old, device, neighbour, client, home, recycled } = await halfway();
    const resumed = device.resumeOn(client);
    for (const body of numbered(20, 'late')) neighbour.send(message(device.jid, body));
    await neighbour.ping();
    process.kill(old, 'SIGKILL');
    const failed = await resumed;
    expect(failed.name).toBe('failed');
    expect(conditionOf(failed)).toEqual(['item-not-found']);
    proceed();
    for (const body of numbered(20, 'late')) expect((await home.message()).get('body').text()).toBe(body);
    await home.expectNothing('message');
    await recycled;
    await client.bind(device.jid.split('/')[1]);
    await client.sendPresence();
    neighbour.send(message(client.jid, 'again'));
    await client.message({ body: 'again' });
    await client.expectNothing('message');
    await Promise.all([client.close(), home.close(), neighbour.leave()]);
  });

  test('the new worker is killed: the session stays, and goes to another', async () => {
    const { to, device, user, recycled } = await halfway();
    const restarted = next('worker is ready');
    process.kill(to, 'SIGKILL');
    proceed();
    await restarted;
    await recycled;
    const client = await Device.authenticated(server, { user });
    expect((await device.resumeOn(client)).name).toBe('resumed');
    await allCame(device, numbered(FIRST));
  });
});
