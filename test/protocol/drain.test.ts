import { afterEach, describe, expect, test } from 'vitest';
import { RawClient, type Via, type XmlElement } from '../support/client.js';
import { startServer, type ServerOptions, type TestServer } from '../support/server.js';
import { Device, message, numbered } from './support/device.js';
import { authenticatedAt, clientAt, deviceAt, liveWorkers } from './support/places.js';
import { create, itemIds, publish, storedItems, subscribe } from './support/pubsub.js';

let server: TestServer | undefined;
afterEach(async () => {
  // Only a failed test leaves one.
  await server?.kill();
  await server?.removeFolder();
});

async function start(options: ServerOptions = {}): Promise<TestServer> {
  return (server = await startServer({ ...options, set: { 'limits.enabled': false, ...options.set } }));
}

/** Asks the server to end; resolves when it has, with nothing left behind. */
async function ended(running: TestServer): Promise<void> {
  expect(await running.ended).toEqual({ code: 0, signal: null });
  await running.removeFolder();
  server = undefined;
}

function terminate(running: TestServer, signal: NodeJS.Signals = 'SIGTERM'): void {
  running.expectEnd();
  running.signal(signal);
}

const PADDING = 'x'.repeat(100_000);
/** A body without its padding. */
const short = (body: string) => body.replace(PADDING, '');

/** Bodies of the messages as they come. */
function bodiesOf(client: RawClient): string[] {
  const bodies: string[] = [];
  client.watcher = (element: XmlElement) => {
    if (element.name === 'message' && element.attr('type') !== 'error') bodies.push(short(element.get('body').text()));
  };
  return bodies;
}

describe.each(['SIGTERM', 'SIGINT'] as const)('%s', (signal) => {
  test('closes every stream in order, on every transport and in every state, and ends with 0, however often it comes', async () => {
    const running = await start({ workers: signal === 'SIGTERM' ? 2 : 1 });
    const ways: Via[] = ['tcp', 'starttls', 'tls', 'websocket'];
    const clients: RawClient[] = [];
    await running.addUsers('a');
    for (const via of ways) clients.push(await RawClient.login(running, { user: 'a', via, available: true }));
    const opened = await RawClient.connect(running);
    await opened.open();
    clients.push(opened, await Device.authenticated(running, { user: 'a' }));
    terminate(running, signal);
    running.signal(signal);
    for (const client of clients) {
      await client.closed;
      expect(client.ended).toBe(true);
      expect(client.unread.filter((element) => element.name === 'error')).toEqual([]);
    }
    await ended(running);
  });
});

test('what is queued is delivered first, to a slow reader too', async () => {
  const running = await start({
    workers: 2,
    set: { 'limits.outbox_bytes': 64 * 1024 * 1024, 'shutdown.grace_seconds': 20 },
  });
  const [first, second] = liveWorkers(running) as [number, number];
  const peer = await clientAt(running, first, { user: 'peer' });
  const readers = [
    await clientAt(running, first, { user: 'a' }),
    await clientAt(running, second, { user: 'b' }),
    await RawClient.login(running, { user: 'a', via: 'websocket' }),
    await RawClient.login(running, { user: 'a', via: 'tls' }),
  ];
  const seen = readers.map(bodiesOf);
  for (const reader of readers) reader.pauseReading();
  const bodies = numbered(60);
  for (const reader of readers) for (const body of bodies) peer.send(message(reader.jid, body + PADDING));
  await peer.ping();
  // A round trip through the other worker's sessions, so that nothing is on its way between the two.
  const echo = await clientAt(running, second, { user: 'c' });
  peer.send(message(echo.jid, 'there'));
  await echo.message({ body: 'there' });
  terminate(running);
  await peer.closed;
  for (const reader of readers) reader.resumeReading();
  for (const [index, reader] of readers.entries()) {
    await reader.closed;
    expect(seen[index]).toEqual(bodies);
    expect(reader.ended).toBe(true);
  }
  await ended(running);
});

test('a session whose socket is at another worker gets what is queued, and its end', async () => {
  const running = await start({ workers: 2, set: { 'limits.outbox_bytes': 64 * 1024 * 1024 } });
  const [home, other] = liveWorkers(running) as [number, number];
  const peer = await clientAt(running, home, { user: 'peer' });
  const device = await deviceAt(running, home, { user: 'device', acknowledging: 'never' });
  device.cut();
  const client = await authenticatedAt(running, { at: other }, { user: 'device' });
  expect((await device.resumeOn(client)).name).toBe('resumed');
  client.pauseReading();
  const bodies = numbered(60);
  for (const body of bodies) peer.send(message(device.jid, body + PADDING));
  await peer.ping();
  terminate(running);
  await peer.closed;
  client.resumeReading();
  await client.closed;
  expect(device.bodies().map(short)).toEqual(bodies);
  expect(client.ended).toBe(true);
  expect(client.unread.filter((element) => element.name === 'error')).toEqual([]);
  await ended(running);
});

test('publishes that were sent before are answered or not kept, and those answered are there after a restart', async () => {
  const running = await start({ workers: 2 });
  const { dataDir } = running;
  const sensor = await running.client('sensor');
  const desk = await running.client('desk', { available: true });
  await create(sensor, 'n', { max_items: 'max' });
  await subscribe(desk, 'n');
  const answered: string[] = [];
  const notified: string[] = [];
  sensor.watcher = (element) => {
    if (element.attr('type') === 'result') answered.push(element.attr('id')!.slice(1));
  };
  desk.watcher = (element) => {
    if (element.child('event')?.child('items') !== undefined) notified.push(...itemIds(element));
  };
  for (const item of numbered(300)) sensor.send(publish('n', item));
  await sensor.expect({ id: 'p0', type: 'result' });
  terminate(running);
  await Promise.all([sensor.closed, desk.closed]);
  expect(await running.ended).toEqual({ code: 0, signal: null });
  expect(answered).toEqual(numbered(answered.length));
  expect(notified.slice(0, answered.length)).toEqual(answered);

  const again = await start({ dataDir });
  const reader = await RawClient.login(again, { user: 'desk' });
  const stored = await storedItems(reader, 'n');
  expect(stored.slice(0, answered.length)).toEqual(answered);
  await reader.close();
  terminate(again);
  await again.ended;
  await running.removeFolder();
  server = undefined;
});

test('who does not read is cut when the grace ends and holds up nobody; who comes meanwhile is turned away', async () => {
  const running = await start({ set: { 'shutdown.grace_seconds': 1, 'limits.outbox_bytes': 64 * 1024 * 1024 } });
  const peer = await running.client('peer');
  const deaf = await running.client('deaf');
  const other = await running.client('other');
  deaf.pauseReading();
  for (const body of numbered(150)) peer.send(message(deaf.jid, body + PADDING));
  await peer.ping();
  terminate(running);
  await Promise.all([peer.closed, other.closed]);
  expect([peer.ended, other.ended]).toEqual([true, true]);
  await expect(RawClient.connect(running).then((client) => client.open())).rejects.toThrow();
  await expect(RawClient.connect(running, { via: 'websocket' })).rejects.toThrow();
  await ended(running);
  deaf.resumeReading();
  await deaf.closed;
  expect(deaf.ended).toBe(false);
});

test('who takes all but does not close its side is told no error, and holds up nobody', async () => {
  const running = await start({ set: { 'shutdown.grace_seconds': 1 } });
  const client = await running.client('a', { via: 'tcp' });
  client.pauseReading();
  terminate(running);
  await ended(running);
  client.resumeReading();
  await client.closed;
  expect(client.unread.filter((element) => element.name === 'error')).toEqual([]);
  expect(client.ended).toBe(true);
});
