import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { thrum } from '../cli/spawn.js';
import { create, publish, storedItems, subscribe } from '../protocol/support/pubsub.js';
import { RawClient } from '../support/client.js';
import { RedisServer, redisInstalled } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { Authority } from '../tls/authority.js';
import { nextItems, numbers, startHost } from './hosts.js';

/** A Redis that lets in only who shows a certificate, and whose own is for a name, as those of a Redis Cluster mostly are. */
describe.skipIf(!redisInstalled)('a Redis behind TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'thrum-hosts-tls-'));
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const authority = new Authority();
  const [server, client] = [authority.issue({ dns: ['redis.example'] }), authority.issue({ name: 'broker' })];
  const ca = file('ca.pem', authority.issued.certificate);
  const tls = { cert: file('cert.pem', server.certificate), key: file('key.pem', server.key), ca };
  const stranger = new Authority('Another authority');
  const other = stranger.issue({ name: 'broker' });
  const settings = (): Record<string, string> => ({
    'redis.url': `rediss://${redis.address}/0`,
    'redis.ca': ca,
    'redis.server_name': 'redis.example',
    'redis.certificate': file('broker.pem', client.certificate),
    'redis.key': file('broker.key', client.key),
  });
  let redis: RedisServer;
  let plain: RedisServer;
  const hosts: TestServer[] = [];

  beforeAll(async () => {
    redis = await RedisServer.start({ tls: { ...tls, client: { cert: client.certificate, key: client.key } } });
    plain = await RedisServer.start();
  });
  afterAll(async () => {
    await Promise.all(hosts.map((host) => host.stop()));
    await Promise.all([redis?.stop(), plain?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  test('serves hosts, also when it closes their connections', async () => {
    for (const _ of [0, 1]) hosts.push(await startHost(redis, { set: settings() }));
    const [a, b] = hosts as [TestServer, TestServer];
    await a.addUsers('sensor', 'reader');
    const sensor = await RawClient.login(a, { user: 'sensor' });
    const reader = await RawClient.login(b, { user: 'reader', available: true });
    await create(sensor, 'kept', { persist_items: '1', max_items: '100', send_last_published_item: 'never' });
    await subscribe(reader, 'kept');
    const items = numbers(60);
    for (const item of items) {
      if (Number(item) % 20 === 10) await redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      sensor.send(publish('kept', item));
    }
    for (const item of items) expect((await sensor.expect({ name: 'iq', id: `p${item}` })).attr('type')).toBe('result');
    expect(await nextItems(reader, 'kept', items.length)).toEqual(items);
    expect(await storedItems(reader, 'kept')).toEqual(items);
    await Promise.all([sensor.close(), reader.close()]);
  });

  test.each<[what: string, change: () => Record<string, string>, said: RegExp]>([
    [
      'without an authority',
      () => ({ 'redis.ca': '' }),
      /is not trusted .*: name the PEM file of its authority in redis\.ca/,
    ],
    [
      'with the wrong authority',
      () => ({ 'redis.ca': file('stranger.pem', stranger.issued.certificate) }),
      /is not trusted .*: name the PEM file of its authority in redis\.ca/,
    ],
    [
      'with the wrong name',
      () => ({ 'redis.server_name': '' }),
      /is for other names \(DNS:redis\.example\): write one of them in redis\.server_name/,
    ],
    [
      'without a certificate of its own',
      () => ({ 'redis.certificate': '', 'redis.key': '' }),
      /wants a client certificate: name one in redis\.certificate and redis\.key/,
    ],
    [
      'with a certificate that Redis does not know',
      () => ({ 'redis.certificate': file('other.pem', other.certificate), 'redis.key': file('other.key', other.key) }),
      /does not take the certificate in redis\.certificate/,
    ],
    [
      'with a key of another certificate',
      () => ({ 'redis.key': file('mixed.key', other.key) }),
      /redis\.certificate and redis\.key cannot be used \(.*\): name PEM files that belong together/,
    ],
    [
      'without TLS',
      () => ({
        'redis.ca': '',
        'redis.certificate': '',
        'redis.key': '',
        'redis.server_name': '',
        'redis.url': redis.url.replace('rediss', 'redis'),
      }),
      /speaks TLS: write rediss:\/\/ instead of redis:\/\//,
    ],
    [
      'when it speaks no TLS',
      () => ({ 'redis.url': plain.url.replace('redis', 'rediss') }),
      /speaks no TLS: write redis:\/\/ instead/,
    ],
  ])('refuses a host %s, with a sentence', async (_what, change, said) => {
    const all = {
      store: 'redis',
      'c2s.port': 0,
      'c2s_tls.port': 0,
      'http.port': 0,
      'redis.patience_seconds': 1,
      ...settings(),
      ...change(),
    };
    const sets = Object.entries(all).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
    const { code, err } = await thrum(folder, ['start', '--json', ...sets]);
    expect(err).toMatch(said);
    expect(err).not.toMatch(/ {4}at /);
    expect(code).toBe(1);
  });
});
