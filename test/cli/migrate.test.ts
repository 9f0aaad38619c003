import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openPlace } from '../../src/cli/places.js';
import { defaults } from '../../src/config/config.js';
import { digest } from '../../src/migration/digest.js';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.js';
import { openRedis } from '../../src/redis/open.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { fill } from '../migration/stores.js';
import { redisInstalled, RedisCluster, RedisServer } from '../support/redis.js';
import { TestServer } from '../support/server.js';
import { ended, start, thrum } from './spawn.js';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'thrum-migrate-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const forever = new AbortController().signal;
const lmdb = (dataDir = folder) => LmdbStore.open({ path: join(dataDir, 'store'), durability: 'commit' });

async function used<T>(store: Store, work: (store: Store) => Promise<T>): Promise<T> {
  return work(store).finally(() => store.close());
}
const digestOf = (store: Store) => used(store, (opened) => digest(opened, () => undefined, forever));

describe.skipIf(!redisInstalled)('thrum migrate', () => {
  let redis: RedisServer;
  beforeAll(async () => void (redis = await RedisServer.start()));
  afterAll(() => redis.stop());
  beforeEach(() => redis.command('FLUSHALL'));

  const place = () => ['--set', `data_dir=${folder}`, '--set', `redis.url=${redis.url}`];
  const args = (from: string, to: string, ...more: string[]) => [
    ...['migrate', '--from', from, '--to', to, ...place()],
    ...more,
  ];
  const run = (from: string, to: string, ...more: string[]) => thrum(folder, args(from, to, ...more));

  /** Works on what the migration made in Redis. */
  async function inRedis<T>(work: (store: Store) => Promise<T>): Promise<T> {
    const link = await openRedis(redis.config());
    const store = await openStore({ kind: 'redis', path: '', durability: 'commit', redis: link });
    return used(store, work).finally(() => link.close());
  }

  it('moves a store to Redis and back, and proves it', async () => {
    await used(lmdb(), (store) => fill(store));
    const before = await digestOf(lmdb());
    const there = await run('lmdb', 'redis');
    expect(there.err).toMatch(/copying: +100 % +in 0:\d\d +1\u202f201 accounts, 72 nodes, /);
    expect(there.code).toBe(0);
    expect(there.out).toContain('both sides hold the same');
    expect(there.out).toMatch(new RegExp(`items .* ${before.items.sum.slice(0, 16)} .* same`));
    expect(existsSync(join(folder, 'migration.json'))).toBe(false);
    expect(await inRedis((store) => digest(store, () => undefined, forever))).toEqual(before);

    rmSync(join(folder, 'store'), { recursive: true });
    const back = await run('redis', 'lmdb');
    expect(back.code).toBe(0);
    expect(await digestOf(lmdb())).toEqual(before);
    // What clients know the server by goes along.
    const secret = (await redis.command('HGET', 'thrum:cluster:meta:{cluster}', 'secret')) as Buffer;
    expect(readFileSync(join(folder, 'sasl.secret'), 'utf8').trim()).toBe(secret.toString('hex'));
    const again = await run('redis', 'lmdb', '--verify-only');
    expect(again).toMatchObject({ code: 0 });
  });

  /** A Redis that is full before all is in it: the migration waits there, and cannot come to its end. */
  async function tooSmall(): Promise<void> {
    const memory = String(await redis.command('INFO', 'memory'));
    const used = Number(/^used_memory:(\d+)/m.exec(memory)![1]);
    await redis.command('CONFIG', 'SET', 'maxmemory', used + 4 * 2 ** 20);
  }
  const largeEnough = () => redis.command('CONFIG', 'SET', 'maxmemory', 0);
  const patient = ['--set', 'redis.patience_seconds=300'];
  const large = { accounts: 1500, nodes: 50, items: 6000 };

  interface Checkpoint {
    copied: boolean;
    counts: { accounts: number };
  }
  const checkpoint = () => JSON.parse(readFileSync(join(folder, 'migration.json'), 'utf8')) as Checkpoint;
  /** Until it has moved something. */
  async function moving(child: ReturnType<typeof start>): Promise<void> {
    while (!existsSync(join(folder, 'migration.json')) || checkpoint().counts.accounts === 0) {
      if (child.exitCode !== null) throw new Error('the migration ended before it moved anything');
      await pause(5);
    }
  }

  it('goes on after kill -9 in the middle', async () => {
    await used(lmdb(), (store) => fill(store, large));
    await tooSmall();
    const child = start(folder, args('lmdb', 'redis', ...patient));
    const over = ended(child);
    await moving(child);
    child.kill('SIGKILL');
    await over;
    await largeEnough();
    expect(checkpoint().copied).toBe(false);
    // Nobody takes half of it for the whole.
    const half = /A migration from .* to Redis .* was not finished: run its command again/;
    const settings = ['--set', 'store=redis', ...place()];
    const host = await thrum(folder, ['start', '--set', 'c2s.port=0', '--set', 'c2s_tls.port=off', ...settings]);
    expect(host).toMatchObject({ code: 1, err: expect.stringMatching(half) });
    expect(await thrum(folder, ['user', 'list', ...settings])).toMatchObject({ err: expect.stringMatching(half) });
    const { code, err, out } = await run('lmdb', 'redis');
    expect(err).not.toContain('counting');
    expect(out).toContain('both sides hold the same');
    expect(code).toBe(0);
  });

  it('is alone: no other one fills that Redis, or reads it, meanwhile', async () => {
    await used(lmdb(), (store) => fill(store, large));
    const others = ['second', 'third'].map((name) => join(folder, name)) as [string, string];
    for (const other of others) mkdirSync(other);
    await used(lmdb(others[0]), (store) => fill(store, { accounts: 2, nodes: 1, items: 1 }));
    await tooSmall();
    const child = start(folder, args('lmdb', 'redis', ...patient));
    const over = ended(child);
    await moving(child);
    const busy = /another thrum migrate is at work on this Redis: process (\d+) on \S+\n +→ wait for its end/;
    const at = (dataDir: string) => ['--set', `data_dir=${dataDir}`];
    for (const { code, err } of [
      await run('lmdb', 'redis', ...at(others[0])),
      await run('redis', 'lmdb', ...at(others[1])),
    ]) {
      expect(err).toMatch(busy);
      expect(busy.exec(err)![1]).toBe(String(child.pid));
      expect(code).toBe(1);
    }
    await largeEnough();
    expect((await over).code).toBe(0);
    expect(await redis.command('EXISTS', 'thrum:migration:{cluster}')).toBe(0);
    expect(await run('redis', 'lmdb', ...at(others[1]))).toMatchObject({ code: 0 });
  });

  it('ends in order at Ctrl-C, and says how to go on', async () => {
    await used(lmdb(), (store) => fill(store, large));
    await tooSmall();
    const child = start(folder, args('lmdb', 'redis', ...patient));
    const over = ended(child);
    await moving(child);
    child.kill('SIGINT');
    await largeEnough();
    const { code, err } = await over;
    expect(err).toMatch(/stopped before all was copied\n +→ run the same command again: it goes on from there/);
    expect(code).toBe(130);
    expect(checkpoint().copied).toBe(false);
    expect(existsSync(join(folder, 'control.sock'))).toBe(false);
    expect(await run('lmdb', 'redis')).toMatchObject({ code: 0 });
  });

  it('names the first difference, with exit code 1', async () => {
    await used(lmdb(), (store) => fill(store, { accounts: 10, nodes: 5, items: 50 }));
    expect(await run('lmdb', 'redis')).toMatchObject({ code: 0 });
    await inRedis(async ({ items }) => {
      // The last one, so that it stays where it is.
      const [item] = await items.latest('big', 1);
      await items.publish('big', { ...item!, payload: Buffer.from('<forged/>') }, 1e6);
    });
    const { code, out, err } = await run('lmdb', 'redis', '--verify-only');
    expect(code).toBe(1);
    expect(out).toMatch(/accounts .* same\n/);
    expect(out).toMatch(/items .* DIFFERENT/);
    expect(err).toContain('the item big-0 of the node big has another payload, publisher or date in Redis at');
  });

  it('refuses what would go wrong, with a sentence and a remedy', async () => {
    const refused = async (from: string, to: string, sentence: RegExp, ...more: string[]) => {
      const { code, err, out } = await run(from, to, ...more);
      expect(err).toMatch(sentence);
      expect(out).toBe('');
      expect(code).toBeGreaterThan(0);
    };
    await refused('lmdb', 'lmdb', /--from and --to are the same store/);
    await refused('memory', 'redis', /The memory store is gone with its process: choose lmdb or redis/);
    await refused('lmdb', 'redis', /there is no store in .*\n +→ name its folder/);
    await refused('redis', 'lmdb', /there is nothing of a broker under "thrum:" in this Redis\n +→ correct redis\.url/);
    await used(lmdb(), (store) => fill(store, { accounts: 2, nodes: 1, items: 1 }));
    await refused(
      'lmdb',
      'redis',
      /redis\.url/,
      '--set',
      'redis.url=redis://127.0.0.1:1',
      '--set',
      'redis.patience_seconds=1',
    );
    mkdirSync(join(folder, 'migration.json'));
    await refused('lmdb', 'redis', /^thrum: EISDIR: .*\n +→ run the same command again/);
    rmdirSync(join(folder, 'migration.json'));
    expect(await run('lmdb', 'redis')).toMatchObject({ code: 0 });
    await refused(
      'lmdb',
      'redis',
      /is not empty: it has 3 accounts and 3 nodes\n +→ a migration only fills an empty.*; --verify-only/,
    );
    await refused(
      'lmdb',
      'redis',
      /domain "localhost", and this host has "example\.org"/,
      '--set',
      'domain=example.org',
    );
    const far = String(Date.now() + 1e9);
    await redis.command('HSET', 'thrum:cluster:workers:{cluster}', '4096', JSON.stringify({ host: 'north' }));
    await redis.command('ZADD', 'thrum:cluster:leases:{cluster}', far, '4096');
    await refused('redis', 'lmdb', /brokers run on this Redis: north\n +→ stop them first/);
  });

  it('keeps brokers, and commands that write, from the Redis that it reads', async () => {
    await used(lmdb(), (store) => fill(store, { accounts: 2, nodes: 1, items: 1 }));
    expect(await run('lmdb', 'redis')).toMatchObject({ code: 0 });
    const source = await openPlace(
      { ...defaults(), data_dir: folder, redis: redis.config() },
      'redis',
      'read',
      forever,
    );
    const busy = {
      code: 1,
      err: expect.stringMatching(/thrum migrate is at work on this Redis: process .*wait for its end\n/),
    };
    const settings = ['--set', 'store=redis', ...place()];
    const ports = ['--set', 'c2s.port=0', '--set', 'c2s_tls.port=off', '--set', 'http.port=off'];
    expect(await thrum(folder, ['start', ...ports, ...settings])).toMatchObject(busy);
    expect(await thrum(folder, ['user', 'add', 'ann', '--generate', ...settings])).toMatchObject(busy);
    await source.close();
    expect(await thrum(folder, ['user', 'add', 'ann', '--generate', ...settings])).toMatchObject({ code: 0 });
  });

  it('does not move a store that a broker uses, and no broker starts meanwhile', async () => {
    const server = await TestServer.start({ dataDir: folder });
    const { code, err } = await run('lmdb', 'redis');
    await server.stop();
    expect(err).toMatch(/another broker is running on .*\n +→ stop it first/);
    expect(code).toBe(1);
  });
});

describe.skipIf(!redisInstalled)('thrum migrate to a cluster', () => {
  let cluster: RedisCluster;
  beforeAll(async () => void (cluster = await RedisCluster.start({ masters: 3, replicas: 0 })));
  afterAll(() => cluster.stop());

  it('fills all of its masters', async () => {
    await used(lmdb(), (store) => fill(store, { accounts: 300, nodes: 60, items: 300 }));
    const nodes = cluster.config().nodes.join(', ');
    const { code, out, err } = await thrum(folder, [
      ...[
        'migrate',
        '--from',
        'lmdb',
        '--to',
        'redis',
        '--set',
        `data_dir=${folder}`,
        '--set',
        `redis.nodes=[${nodes}]`,
      ],
    ]);
    expect(err).toContain('copying:');
    expect(out).toContain('both sides hold the same');
    expect(code).toBe(0);
    for (const server of cluster.servers) expect(Number(await server.command('DBSIZE'))).toBeGreaterThan(10);
  });
});
