import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RedisServer, redisInstalled } from '../support/redis.js';
import { startHost } from './hosts.js';
import { thrum } from '../cli/spawn.js';

describe.skipIf(!redisInstalled)('a host that must not start', () => {
  let redis: RedisServer;
  const folder = mkdtempSync(join(tmpdir(), 'thrum-start-'));
  const starting = (...settings: string[]) => {
    const all = ['store=redis', `redis.url=${redis.url}`, 'c2s.port=0', 'c2s_tls.port=0', 'http.port=0', ...settings];
    return thrum(folder, ['start', '--json', ...all.flatMap((setting) => ['--set', setting])]);
  };
  beforeAll(async () => {
    redis = await RedisServer.start();
    const host = await startHost(redis);
    await host.stop();
  });
  afterAll(async () => {
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test.each([
    ['on the keys of another cluster', ['cluster.name=other'], ['cluster.name', '"thrum"', '"other"', 'redis.prefix']],
    ['for another domain', ['domain=example.org'], ['domain', '"localhost"', '"example.org"']],
    ['without a Redis', ['redis.url=redis://127.0.0.1:1', 'redis.patience_seconds=1'], ['127.0.0.1:1', 'redis.url']],
  ])('%s says what to change', async (_what, settings, words) => {
    const { code, err } = await starting(...settings);
    expect(code).toBe(1);
    for (const word of words) expect(err).toContain(word);
    expect(err).not.toMatch(/ {4}at /);
  });

  test('as a user of Redis who may do too little says what that one needs', async () => {
    await redis.command('ACL', 'SETUSER', 'low', 'on', '>pw', '~*', '+@read', '+ping', '+info');
    const { code, err } = await starting('redis.username=low', 'redis.password=pw');
    expect(code).toBe(1);
    expect(err).toMatch(
      /cannot start: Redis at .* allows this user too little \(NOPERM.*\): give it \+@all on the keys of redis.prefix\n/,
    );
  });

  test.each(['meta', 'leases'])('on a Redis where others use the key %s says what to change', async (name) => {
    const key = `not-${name}:cluster:${name}:{cluster}`;
    await redis.command('SET', key, 'x');
    const { code, err } = await starting(`redis.prefix=not-${name}`);
    expect(code).toBe(1);
    expect(err).toMatch(/cannot start: Redis at .* has something else under a key of Thrum's \(WRONGTYPE at not-/);
    expect(err).toContain(key);
    expect(err).toMatch(/: set another redis\.prefix, or remove that key\n/);
    expect(err).not.toMatch(/ {4}at /);
  });

  test.each([
    ['is full', ['maxmemory', '1'], [], /\(OOM .*\): raise maxmemory there, or remove what is not needed\n/],
    [
      'misses replicas',
      ['min-replicas-to-write', '1'],
      [],
      /\(NOREPLICAS .*\): bring its replicas back, or lower min-/,
    ],
    [
      'has fewer replicas than asked for',
      [],
      ['redis.replicas=1'],
      /\(UNREPLICATED .*\): .*, or lower redis\.replicas\n/,
    ],
  ])('on a Redis that %s says what to change', async (_what, setting, settings, sentence) => {
    const [name, value] = setting;
    const set = (to: string) => (name === undefined ? undefined : redis.command('CONFIG', 'SET', name, to));
    await set(value!);
    const { code, err } = await starting('redis.prefix=fresh', 'redis.patience_seconds=1', ...settings);
    await set('0');
    expect(code).toBe(1);
    expect(err).toMatch(sentence);
  });

  test('on keys of another format names the two', async () => {
    await redis.command('HSET', 'thrum:cluster:meta:{cluster}', 'format', '99');
    const { code, err } = await starting();
    expect(code).toBe(1);
    expect(err).toMatch(/format 99.*knows 1/);
  });
});
