import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RedisServer, redisInstalled } from '../support/redis.js';
import { thrum as run, type Ended } from './spawn.js';

describe.skipIf(!redisInstalled)('without a broker, on a store in Redis,', () => {
  const folder = mkdtempSync(join(tmpdir(), 'thrum-cli-redis-'));
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
    writeFileSync(join(folder, 'thrum.yaml'), `store: redis\nredis:\n  url: ${server.url}\n`);
  });
  afterAll(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const thrum = (args: string): Promise<Ended> => run(folder, args.split(' '));

  test('an untouched Redis is told from an empty one', async () => {
    const { code, err } = await thrum('user list');
    expect(code).toBe(1);
    expect(err).toContain('there is nothing of a broker under "thrum:" in this Redis');
    expect(await server.keys()).toEqual([]);
  });

  test('accounts are made, listed and removed', async () => {
    expect((await thrum('user add ann --generate')).code).toBe(0);
    expect((await thrum('user add ann --generate')).err).toContain('ann@localhost exists already');
    expect((await thrum('user list')).out).toContain('ann@localhost');
    expect((await thrum('user passwd ann --generate')).code).toBe(0);
    expect((await thrum('node list')).out).toContain('no nodes');
    expect((await thrum('user remove ann --yes')).out).toContain('removed');
    // That somebody was removed is remembered for a while.
    expect((await server.keys()).filter((key) => !key.startsWith('thrum:done-'))).toEqual([
      'thrum:cluster:meta:{cluster}',
    ]);
  });

  test('what running brokers must hear of is left to them', async () => {
    await thrum('user add bob --generate');
    const end = Date.now() + 3_600_000;
    await server.command('ZADD', 'thrum:cluster:leases:{cluster}', end, 7);
    await server.command('HSET', 'thrum:cluster:workers:{cluster}', 7, JSON.stringify({ host: 'north' }));
    const { code, err } = await thrum('user remove bob --yes');
    expect(code).toBe(1);
    expect(err).toContain('brokers that must hear of it run on this Redis: north');
    expect((await thrum('user list')).out).toContain('bob@localhost');
  });

  test('a Redis that is not there is said in a sentence', async () => {
    const { code, err } = await thrum('user list --set redis.url=redis://127.0.0.1:1 --set redis.patience_seconds=1');
    expect(code).toBe(1);
    expect(err).toContain('There is no Redis at 127.0.0.1:1');
    expect(err).not.toContain('\n    at ');
  });
});
