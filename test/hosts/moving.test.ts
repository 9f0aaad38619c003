import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Device, message, numbered } from '../protocol/support/device.js';
import { metric } from '../protocol/support/metrics.js';
import { Sensor, create, pubsub } from '../protocol/support/pubsub.js';
import { NS, RawClient, type Via } from '../support/client.js';
import { redisInstalled, RedisServer } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { startHost } from './hosts.js';

describe.skipIf(!redisInstalled)('sessions of several hosts', () => {
  let redis: RedisServer;
  let a: TestServer;
  let b: TestServer;
  const running: TestServer[] = [];
  beforeAll(async () => void (redis = await RedisServer.start()));
  afterAll(() => redis?.stop());
  beforeEach(async () => {
    await redis.command('FLUSHALL');
    const host = async (name: string) => {
      const server = await startHost(redis, {
        workers: 2,
        set: {
          'cluster.host': name,
          'cluster.advertise': `${name}.example:5222`,
          'cluster.lease_seconds': 30,
          'redis.patience_seconds': 30,
          'sm.request_every': 20,
          'shutdown.grace_seconds': 30,
        },
      });
      running.push(server);
      return server;
    };
    [a, b] = await Promise.all([host('a'), host('b')]);
    await a.addUsers('device', 'peer', 'sensor', 'owner');
  });
  afterEach(async () => {
    // Those that did start, where another did not.
    await Promise.all(running.splice(0).map((server) => server.stop()));
  });

  const authenticated = (host: TestServer, via: Via = 'tcp') => Device.authenticated(host, { user: 'device', via });

  async function resumeAt(device: Device, host: TestServer, via: Via = 'tcp'): Promise<void> {
    expect((await device.resumeOn(await authenticated(host, via))).name).toBe('resumed');
  }

  /** A device at the first host that is subscribed to a node, and a sensor at the other that publishes to it. */
  async function subscribed(via: Via = 'tcp') {
    const owner = await RawClient.login(b, { user: 'owner' });
    await create(owner, 'node', { publish_model: 'open' });
    const device = await Device.login(a, { user: 'device', available: true, via });
    const subscribe = pubsub(`<subscribe node='node' jid='${device.bareJid}'/>`);
    device.send(`<iq type='set' id='s' to='pubsub.localhost'>${subscribe}</iq>`);
    await device.until(() => device.handled.some((stanza) => stanza.attr('id') === 's'), 'subscribed');
    const peer = await RawClient.login(b, { user: 'peer' });
    const sensor = new Sensor(await RawClient.login(b, { user: 'sensor' }), 'node');
    return { device, peer, sensor, owner };
  }

  async function allCame(device: Device, sensor: Sensor, bodies: string[]): Promise<void> {
    sensor.stop();
    await sensor.done;
    const items = numbered(sensor.acknowledged.length);
    expect(new Set(sensor.acknowledged)).toEqual(new Set(items));
    await device.until(() => device.items('node').length >= items.length, 'all items');
    await device.until(() => device.bodies().length >= bodies.length, 'all messages');
    await device.ping();
    expect(device.items('node')).toEqual(items);
    expect(device.bodies()).toEqual(bodies);
    await device.leave();
  }

  test('a client resumes at another host and back while both live: each stanza once, in order', async () => {
    const { device, peer, sensor } = await subscribed();
    expect(device.enabled.attr('location')).toBe('a.example:5222');
    let sent = 0;
    for (const [index, host] of [b, a, b, b, a].entries()) {
      await sensor.reached(200 * (index + 1));
      const old = device.client;
      // Now and then it comes back before its old connection is known to be dead.
      if (index % 2 === 0) device.cut();
      for (let i = 0; i < 20; i++) peer.send(message(device.jid, `${sent++}`));
      await resumeAt(device, host);
      await old.closed;
    }
    expect(await metric(b, 'thrum_sessions_moved_total', { outcome: 'in' })).toBe(2);
    expect(await metric(a, 'thrum_sessions_moved_total', { outcome: 'in' })).toBe(2);
    await allCame(device, sensor, numbered(sent));
  });

  test.each([
    ['starttls', 'see-other-host', 'b.example:5222'],
    ['tcp', 'see-other-host', 'b.example:5222'],
    ['tls', 'system-shutdown', ''],
    ['websocket', 'system-shutdown', ''],
  ] as const)('a host closes: a client over %s is told %s, and misses nothing', async (via, condition, where) => {
    const { device, peer, sensor } = await subscribed(via);
    await sensor.reached(300);
    for (const body of numbered(20)) peer.send(message(device.jid, body));
    a.expectEnd();
    a.signal('SIGTERM');
    const error = await device.client.expectStreamError(condition);
    expect(error.elements(condition, NS.streamErrors).map((element) => element.text())).toEqual([where]);
    device.cut();
    for (const body of numbered(20, 'late')) peer.send(message(device.jid, body));
    await resumeAt(device, b, via);
    await sensor.reached(900);
    expect(await a.ended).toEqual({ code: 0, signal: null });
    await allCame(device, sensor, [...numbered(20), ...numbered(20, 'late')]);
  });
});
