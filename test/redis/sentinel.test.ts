import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Redis as Client } from 'ioredis';
import { defaults } from '../../src/config/config.js';
import { RedisRefused, openRedis } from '../../src/redis/open.js';
import type { Redis } from '../../src/redis/redis.js';
import { RedisServer, freePort, redisInstalled, until } from '../support/redis.js';

/** A Sentinel that decides alone. */
async function sentinel(master: RedisServer, password?: string): Promise<{ address: string; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'thrum-sentinel-'));
  const port = await freePort();
  const file = join(folder, 'sentinel.conf');
  const settings = [`sentinel monitor mymaster 127.0.0.1 ${master.port} 1`]
    .concat(['sentinel down-after-milliseconds mymaster 1000', 'sentinel failover-timeout mymaster 5000'])
    .concat([`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`]);
  if (password !== undefined) settings.push(`requirepass ${password}`, `sentinel auth-pass mymaster ${password}`);
  writeFileSync(file, `${settings.join('\n')}\n`);
  const child: ChildProcess = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const client = new Client({ port, lazyConnect: true, ...(password && { password }) });
  client.on('error', () => undefined);
  await until('the Sentinel to know the replica', async () => {
    const known = (await client.call('SENTINEL', 'replicas', 'mymaster').catch(() => [])) as unknown[];
    return known.length > 0;
  });
  client.disconnect();
  return {
    address: `127.0.0.1:${port}`,
    async stop() {
      child.kill('SIGKILL');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

describe.skipIf(!redisInstalled)('a link to the master that Sentinels know', () => {
  const closing: (() => Promise<void>)[] = [];
  let master: RedisServer;
  let address: string;
  let redis: Redis;
  beforeAll(async () => {
    master = await RedisServer.start();
    closing.push(() => master.stop());
    const replica = await RedisServer.start({ args: ['--replicaof', `127.0.0.1 ${master.port}`] });
    closing.push(() => replica.stop());
    await until('the replica', async () =>
      String(await replica.command('INFO', 'replication')).includes('master_link_status:up'),
    );
    const watching = await sentinel(master);
    closing.push(() => watching.stop());
    address = watching.address;
    redis = await openRedis({ ...defaults().redis, sentinels: [address], patience_seconds: 30 });
    closing.push(() => redis.close());
  });
  afterAll(async () => {
    for (const close of closing.reverse()) await close();
  });

  test('a name that they do not know is refused', async () => {
    const opening = openRedis({ ...defaults().redis, sentinels: [address], sentinel_master: 'other' });
    await expect(opening).rejects.toThrow(RedisRefused);
    await expect(opening).rejects.toThrow(/knows no master "other": correct redis\.sentinel_master$/);
  });

  test('a Sentinel in the place of Redis is refused', async () => {
    for (const place of [{ url: `redis://${address}` }, { nodes: [address] }])
      await expect(openRedis({ ...defaults().redis, ...place })).rejects.toThrow(
        `Redis at ${address} is a Sentinel: name it in redis.sentinels, and the master in redis.sentinel_master`,
      );
  });

  test('Sentinels may ask for the password of Redis, and for no other', async () => {
    const args = ['--requirepass', 'secret', '--masterauth', 'secret'];
    const locked = await RedisServer.start({ args });
    closing.push(() => locked.stop());
    const replica = await RedisServer.start({ args: [...args, '--replicaof', `127.0.0.1 ${locked.port}`] });
    closing.push(() => replica.stop());
    const watching = await sentinel(locked, 'secret');
    closing.push(() => watching.stop());
    const config = { ...defaults().redis, sentinels: [watching.address], password: 'secret' };
    const link = await openRedis(config);
    await link.call('SET', ['a', 'b']);
    await link.close();
    await expect(openRedis({ ...config, password: 'other' })).rejects.toThrow(/give both the same/);
    await expect(openRedis({ ...config, password: '' })).rejects.toThrow(/asks for another password than Redis/);
  });

  test('follows the replica that takes its place', async () => {
    expect(redis.kind).toBe('sentinel');
    // It is the master that is shown, not a Sentinel.
    expect((await redis.masters()).map((node) => node.address)).toEqual([master.address]);
    await redis.call('SET', ['a', '1']);
    const blocking = redis.blocking('a');
    expect(String(await blocking.call('GET', ['a']))).toBe('1');
    await until('the replica to have it', async () => Number(await redis.call('WAIT', [1, 100])) === 1);
    await master.kill();
    expect(String(await redis.call('SET', ['a', '2']))).toBe('OK');
    expect(String(await redis.call('GET', ['a']))).toBe('2');
    await until('the link', () => redis.up);
    await until('the blocking connection', () =>
      blocking.call('GET', ['a']).then(
        (reply) => String(reply) === '2',
        () => false,
      ),
    );
  });
});
