import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseMetrics } from '../support/prometheus.js';
import { errorOf, RawClient, type XmlElement } from '../support/client.js';
import { startServer, type ServerOptions, type TestServer } from '../support/server.js';
import { Device, message, numbered } from './support/device.js';
import { create, itemIds, publish, SERVICE, subscribe } from './support/pubsub.js';

const OUTBOX = 1024 * 1024;
/** More than the kernel keeps for a socket whose other end does not read, and the outbox behind it. */
const FLOOD = 16 * 1024 * 1024;
const SIZE = 60_000;
const PAYLOAD = 'x'.repeat(SIZE);
const COUNT = Math.ceil(FLOOD / SIZE);

const start = (set: ServerOptions['set'] = {}) =>
  startServer({ set: { 'limits.enabled': false, 'limits.outbox_bytes': OUTBOX, ...set } });

async function metric(server: TestServer, name: string, labels: Record<string, string> = {}): Promise<number> {
  return parseMetrics(await (await server.fetch('/metrics')).text()).value(name, labels) ?? 0;
}
const drops = (server: TestServer, reason: string) => metric(server, 'thrum_drops_total', { reason });

/** Item ids of a node's notifications as they come. */
function watched(client: RawClient, node: string): string[] {
  const seen: string[] = [];
  client.watcher = (element: XmlElement) => {
    if (element.child('event')?.child('items')?.attr('node') === node) seen.push(...itemIds(element));
  };
  return seen;
}

/** Publishes some at a time, no faster than the sensor gets its results and `reader`, if any, its notifications. */
async function flood(sensor: RawClient, nodes: string[], count = COUNT, reader?: RawClient): Promise<void> {
  const window = 4;
  for (let i = 0; i < count + window; i++) {
    if (i < count) sensor.send(publish(nodes[i % nodes.length]!, String(i), `p${i}`, PAYLOAD));
    if (i < window) continue;
    await sensor.expect({ id: `p${i - window}`, type: 'result' });
    await reader?.event();
  }
}

describe('a reader that does not read, beside one that does', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await start();
  });
  afterAll(() => server.stop());

  test('costs the other nothing, and itself the oldest readings; those that it gets are in order and the newest', async () => {
    const sensor = await server.client('sensor');
    const slow = await server.client('slow', { available: true });
    const fast = await server.client('fast', { available: true });
    await create(sensor, 'flood', { persist_items: '0' });
    for (const client of [slow, fast]) await subscribe(client, 'flood');
    const [bySlow, byFast] = [watched(slow, 'flood'), watched(fast, 'flood')];
    slow.pauseReading();
    await flood(sensor, ['flood'], COUNT, fast);
    await fast.ping();
    expect(byFast).toEqual(numbered(COUNT));
    const dropped = await drops(server, 'oldest');
    expect(dropped).toBeGreaterThan(0);
    expect(await metric(server, 'thrum_outbox_bytes')).toBeLessThanOrEqual(OUTBOX + SIZE);
    slow.resumeReading();
    await slow.ping();
    expect(bySlow).toHaveLength(COUNT - dropped);
    expect(bySlow).toEqual([...bySlow].sort((a, b) => Number(a) - Number(b)));
    expect(bySlow.at(-1)).toBe(String(COUNT - 1));
    expect(await metric(server, 'thrum_outbox_bytes')).toBe(0);
    await Promise.all([sensor, slow, fast].map((client) => client.close()));
  });

  test.each(['without', 'with'])(
    'loses no message by that: what it did not get goes back to the sender (%s stream management)',
    async (management) => {
      const peer = await server.client('peer');
      const bounced: string[] = [];
      peer.watcher = (element) => {
        if (element.attr('type') !== 'error') return;
        expect(errorOf(element).condition).toBe('service-unavailable');
        bounced.push(element.attr('id')!);
        peer.unread.length = 0;
      };
      const slow = await server.client(`slow-${management}`);
      const delivered: string[] = [];
      if (management === 'with') {
        await Device.over(slow, { user: '', acknowledging: 'never', enable: '' });
      }
      slow.pauseReading();
      const watcher = slow.watcher;
      slow.watcher = (element) => {
        watcher?.(element);
        if (element.name === 'message') delivered.push(element.attr('id')!);
      };
      for (let i = 0; i < COUNT; i++) {
        peer.send(message(slow.jid, PAYLOAD, `type='chat' id='${i}'`));
        if (i % 16 === 15) await peer.ping();
      }
      await peer.ping();
      slow.resumeReading();
      await slow.expectStreamError('resource-constraint');
      await peer.ping();
      expect(delivered.length).toBeGreaterThan(0);
      expect(delivered).toEqual(numbered(delivered.length));
      // The kernel took some that the client never acknowledged: with stream management those go back, too.
      expect(bounced).toEqual(numbered(COUNT).slice(management === 'with' ? 0 : delivered.length));
      await peer.close();
    },
  );

  test('that is away: a queue that is full ends the session, and all in it goes back, the last one included', async () => {
    const peer = await server.client('peer');
    const device = await Device.login(server, { user: 'slow', acknowledging: 'never' });
    await device.vanish();
    const errors: XmlElement[] = [];
    peer.watcher = (element) => {
      if (element.attr('type') === 'error') errors.push(element);
    };
    const count = Math.ceil(OUTBOX / SIZE) + 2;
    for (let i = 0; i < count; i++) peer.send(message(device.jid, PAYLOAD, `type='chat' id='${i}'`));
    await peer.ping();
    expect(errors.map((error) => error.attr('id'))).toEqual(numbered(count));
    const client = await Device.authenticated(server, { user: 'slow' });
    expect((await device.resumeOn(client)).name).toBe('failed');
    await Promise.all([client.close(), peer.close()]);
  });

  test('of readings, when it resumes, gets what is left once, in order', async () => {
    const sensor = await server.client('sensor');
    const device = await Device.login(server, { user: 'slow', available: true, acknowledging: 'never' });
    await create(sensor, 'resumed', { persist_items: '0' });
    const stanza = `<iq type='set' id='s' to='${SERVICE}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='resumed' jid='${device.bareJid}'/></pubsub></iq>`;
    device.send(stanza);
    await device.until(() => device.handled.some((element) => element.attr('id') === 's'));
    await device.vanish();
    const before = await drops(server, 'oldest');
    await flood(sensor, ['resumed'], 100);
    const dropped = (await drops(server, 'oldest')) - before;
    expect(dropped).toBeGreaterThan(0);
    await device.resume();
    await device.ping();
    expect(device.items('resumed')).toEqual(numbered(100).slice(dropped));
    await Promise.all([device.leave(), sensor.close()]);
  });

  test.each(['tcp', 'tls', 'websocket'] as const)(
    'gets all that is queued, over %s, without being asked again',
    async (via) => {
      const large = await start({ 'limits.outbox_bytes': 4 * FLOOD });
      try {
        const peer = await large.client('peer');
        const slow = await large.client('slow', { via });
        const bodies: string[] = [];
        slow.watcher = (element) => bodies.push(element.child('body')?.text().replace(PAYLOAD, '') ?? element.name);
        slow.pauseReading();
        for (const body of numbered(COUNT)) peer.send(message(slow.jid, body + PAYLOAD));
        await peer.ping();
        slow.resumeReading();
        await slow.expect((element) => element.child('body')?.text() === `${COUNT - 1}${PAYLOAD}`);
        expect(bodies).toEqual(numbered(COUNT));
        await Promise.all([peer.close(), slow.close()]);
      } finally {
        await large.stop();
      }
    },
  );

  test('over WebSocket it is the same', async () => {
    const sensor = await server.client('sensor');
    const slow = await server.client('slow', { available: true, via: 'websocket' });
    await create(sensor, 'framed', { persist_items: '0' });
    await subscribe(slow, 'framed');
    const seen = watched(slow, 'framed');
    slow.pauseReading();
    const before = await drops(server, 'oldest');
    await flood(sensor, ['framed']);
    const dropped = (await drops(server, 'oldest')) - before;
    expect(dropped).toBeGreaterThan(0);
    slow.resumeReading();
    await slow.ping();
    expect(seen).toHaveLength(COUNT - dropped);
    expect(seen).toEqual([...seen].sort((a, b) => Number(a) - Number(b)));
    expect(seen.at(-1)).toBe(String(COUNT - 1));
    await Promise.all([sensor.close(), slow.close()]);
  });
});

test('keep_latest leaves the newest reading of every node', async () => {
  const server = await start({ slow_reader: 'keep_latest' });
  try {
    const sensor = await server.client('sensor');
    const slow = await server.client('slow', { available: true });
    const nodes = numbered(5, 'n');
    for (const node of nodes) {
      await create(sensor, node, { persist_items: '0' });
      await subscribe(slow, node);
    }
    const seen: string[] = [];
    slow.watcher = (element) => {
      if (element.child('event')?.child('items') !== undefined) seen.push(...itemIds(element));
    };
    slow.pauseReading();
    await flood(sensor, nodes);
    expect(await drops(server, 'superseded')).toBeGreaterThan(0);
    slow.resumeReading();
    await slow.ping();
    for (const index of nodes.keys()) {
      const own = seen.filter((id) => Number(id) % nodes.length === index);
      expect(own).toEqual([...own].sort((a, b) => Number(a) - Number(b)));
      const published = numbered(COUNT).filter((id) => Number(id) % nodes.length === index);
      expect(own.at(-1)).toBe(published.at(-1));
    }
    await Promise.all([sensor.close(), slow.close()]);
  } finally {
    await server.stop();
  }
});

test('disconnect cuts it with resource-constraint, and it may resume', async () => {
  const server = await start({ slow_reader: 'disconnect' });
  try {
    const sensor = await server.client('sensor');
    await server.addUsers('slow');
    const device = await Device.login(server, { user: 'slow', acknowledging: 'always' });
    await create(sensor, 'flood', { persist_items: '0' });
    device.send(
      `<iq type='set' id='s' to='${SERVICE}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='flood' jid='${device.jid}'/></pubsub></iq>`,
    );
    await device.until(() => device.handled.some((element) => element.attr('id') === 's'));
    device.client.pauseReading();
    for (let i = 0; ; i++) {
      await flood(sensor, ['flood'], 50);
      if ((await metric(server, 'thrum_stream_errors_total', { condition: 'resource-constraint' })) > 0) break;
      expect(i).toBeLessThan(COUNT / 50);
    }
    device.client.resumeReading();
    await device.client.expectStreamError('resource-constraint');
    await device.resume();
    await device.ping();
    const items = device.items('flood').map(Number);
    expect(items).toEqual([...items].sort((a, b) => a - b));
    await Promise.all([device.leave(), sensor.close()]);
  } finally {
    await server.stop();
  }
});
