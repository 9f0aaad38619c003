import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { MigrationLock } from '../../src/migration/lock.js';
import { openRedis } from '../../src/redis/open.js';
import type { Redis } from '../../src/redis/redis.js';
import { openStore } from '../../src/store/open.js';
import { redisInstalled, RedisServer } from '../support/redis.js';

const KEY = 'thrum:migration:{cluster}';
const SOMEBODY = JSON.stringify({ host: 'north', pid: 12, id: 'x' });

describe.skipIf(!redisInstalled)('the lock of a migration', () => {
  let server: RedisServer;
  let redis: Redis;
  let tell: ReturnType<typeof vi.fn<(what: string) => void>>;
  const stop = new AbortController();
  const patience = () => ({ signal: stop.signal, tell });
  beforeAll(async () => void (server = await RedisServer.start()));
  afterAll(() => server.stop());
  beforeEach(async () => {
    await server.flushKeys();
    redis = await openRedis(server.config());
    tell = vi.fn();
  });
  afterEach(() => redis.close());

  it('is one process', async () => {
    const lock = await MigrationLock.take(redis, patience());
    const refused = /another thrum migrate is at work on this Redis: process \d+ on /;
    await Promise.all([
      expect(MigrationLock.take(redis, patience())).rejects.toThrow(refused),
      expect(MigrationLock.takeToRead(redis, patience())).rejects.toThrow(refused),
    ]);
    expect(lock.lost.aborted).toBe(false);
    await lock.release();
    expect(await server.keys()).toEqual([]);
    const next = await MigrationLock.take(redis, patience());
    await next.release();
  });

  it('ends by itself when its holder died', async () => {
    await server.command('SET', KEY, SOMEBODY, 'PX', 1000);
    await (await MigrationLock.takeToRead(redis, patience()))!.release();
    await server.command('SET', KEY, SOMEBODY, 'PX', 1000);
    const lock = await MigrationLock.take(redis, patience());
    await lock.release();
    expect(tell.mock.calls.flat()).toEqual(
      Array(2).fill(expect.stringMatching(/process 12 on north, or died over it/)),
    );
  });

  it('keeps everybody from that Redis who is no migration', async () => {
    const open = (migrating: boolean) => openStore({ kind: 'redis', path: '', redis, durability: 'commit', migrating });
    const lock = await MigrationLock.takeToRead(redis, patience());
    await expect(open(false)).rejects.toThrow(
      /thrum migrate is at work on this Redis: process \d+ on .*; wait for its end$/,
    );
    await (await open(true)).close();
    await lock!.release();
    await (await open(false)).close();
  });

  it('is done without where Redis is full and only to be read', async () => {
    await server.command('CONFIG', 'SET', 'maxmemory', 1);
    onTestFinished(async () => void (await server.command('CONFIG', 'SET', 'maxmemory', 0)));
    expect(await MigrationLock.takeToRead(redis, patience())).toBeUndefined();
    expect(tell.mock.calls).toEqual([
      [expect.stringMatching(/^hosts are not kept from starting on this Redis.*\(OOM /)],
    ]);
  });

  it('tells its holder that it was lost', async () => {
    const lock = await MigrationLock.take(redis, patience());
    const lost = new Promise((resolve) => lock.lost.addEventListener('abort', resolve));
    await server.command('SET', KEY, SOMEBODY);
    await lost;
    expect((lock.lost.reason as Error).message).toContain('process 12 on north');
    await lock.release();
    expect(await server.keys()).toEqual([KEY]);
  });
});
