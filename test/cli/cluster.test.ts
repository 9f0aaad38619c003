import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { clusterTable } from '../../src/cli/render/cluster-table.js';
import type { ClusterReading } from '../../src/cli/cluster-reading.js';
import type { Member } from '../../src/cluster/hosts/hosts.js';
import { inboxKey } from '../../src/cluster/hosts/keys.js';
import { redisInstalled, RedisCluster, RedisServer, until } from '../support/redis.js';
import { TestServer } from '../support/server.js';
import { thrum } from './spawn.js';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'thrum-cluster-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const status = (...args: string[]) => thrum(folder, ['cluster', 'status', '--set', 'store=redis', ...args]);

const META = ['format', '1', 'cluster', 'fleet', 'domain', 'example.org'];

function member(number: number, facts: Partial<Member> = {}): Member {
  const started = Date.now() - 3_600_000;
  return {
    number,
    epoch: 1,
    host: 'north',
    pool: 'north-1',
    advertise: '',
    slot: 0,
    pid: 100,
    version: '0.1.0',
    started,
    draining: false,
    ...facts,
  };
}

describe.skipIf(!redisInstalled)('thrum cluster status', () => {
  let redis: RedisServer;
  beforeAll(async () => void (redis = await RedisServer.start()));
  afterAll(() => redis.stop());
  beforeEach(() => redis.command('FLUSHALL'));
  const at = () => ['--set', `redis.url=${redis.url}`];

  /** A worker as it shows itself in Redis. */
  async function enter(worker: Member, leaseLeft: number): Promise<void> {
    await redis.command('HSET', 'thrum:cluster:meta:{cluster}', ...META);
    await redis.command('HSET', 'thrum:cluster:workers:{cluster}', String(worker.number), JSON.stringify(worker));
    await redis.command('ZADD', 'thrum:cluster:leases:{cluster}', Date.now() + leaseLeft, String(worker.number));
  }

  it('shows workers by host, their leases, sessions and what waits for them', async () => {
    await enter(member(4097, { host: 'south', epoch: 12, draining: true }), 600_000);
    await enter(member(2, { slot: 1, pid: 102, epoch: 9 }), -5);
    await enter(member(1, { epoch: 8 }), 600_000);
    await enter(member(3, { slot: 2 }), 200_000);
    for (let i = 0; i < 5; i++) await redis.command('SADD', 'thrum:held:{d017}:1', `ann@example.org/${i}`);
    await redis.command('SADD', 'thrum:held:{d003}:1', 'bob@example.org/x');
    await redis.command('SADD', 'thrum:held:{d017}:4097', 'eve@example.org/x');
    const old = Date.now() - 2000;
    for (const n of [0, 1, 2])
      await redis.command('XADD', inboxKey({ prefix: 'thrum' }, 4097, 12), `${old}-${n}`, 'f', 'frames');
    await redis.command('ZADD', 'thrum:cluster:departed:{cluster}', 0, '7:3');

    const { code, out, err } = await status(...at());
    expect(err).toBe('');
    expect(code).toBe(0);
    expect(out).toContain('fleet serves example.org: 2 hosts, 4 workers, 7 sessions\n');
    expect(out).toMatch(/^north +0 +1 +8 +100 +0\.1\.0 +1:00:\d\d +\d+\.\d s +6 +0 +0 ms +0 B +serves$/m);
    expect(out).toMatch(/^north +1 +2 +9 +102 .* over +0 .* dead$/m);
    expect(out).toMatch(/^north +2 +3 +1 +100 .* silent$/m);
    expect(out).toMatch(/^south +0 +4097 +12 .* 3 .* ms +\S+ K?B +drains$/m);
    expect(out).toContain('sessions in 128 shards: at least 0, median 0, at most 6 (shard 17)');
    expect(out).toMatch(/a single Redis\nmaster .*\n127\.0\.0\.1:\d+ +\d+\.\d+\.\d+ +/);
    expect(out).toContain('1 dead worker still to be cleaned up after');

    const json = JSON.parse((await status(...at(), '--json')).out) as ClusterReading;
    expect(json.missing).toEqual([]);
    expect(json.workers!.map(({ number, sessions, state }) => [number, sessions, state])).toEqual([
      [1, 6, 'serves'],
      [2, 0, 'dead'],
      [3, 0, 'silent'],
      [4097, 1, 'drains'],
    ]);
    expect(json.workers![3]!.inbox!.entries).toBe(3);
    expect(json.workers![3]!.inbox!.age).toBeGreaterThanOrEqual(2000);
    expect(json.shards).toEqual({ count: 128, unknown: 0, min: 0, median: 0, max: 6, hottest: 17 });
    expect(json.redis.masters).toHaveLength(1);
  });

  it('leaves out what matters less where the terminal is narrow', async () => {
    await enter(member(1, { host: 'north-1.example.org', epoch: 8 }), 600_000);
    const reading = JSON.parse((await status(...at(), '--json')).out) as ClusterReading;
    const heads = (columns?: number) => clusterTable(reading, columns).split('\n')[2]!.split(/ +/);
    expect(heads()).toHaveLength(13);
    expect(heads(100)).toEqual(heads().filter((head) => !['bytes', 'number'].includes(head)));
    for (const line of clusterTable(reading, 80).split('\n').slice(2, 4)) expect(line.length).toBeLessThanOrEqual(80);
    expect(heads(10)).toEqual(['host', 'worker', 'epoch', 'lease', 'sessions', 'inbox', 'state']);
  });

  it('does not read what another version has written', async () => {
    await enter(member(1), 600_000);
    await redis.command('HSET', 'thrum:cluster:meta:{cluster}', 'format', '99');
    await redis.command('HSET', 'thrum:cluster:workers:{cluster}', '1', 'in another way');
    const { code, out, err } = await status(...at());
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(
      /^thrum: the keys under "thrum:" in this Redis have format 99, and this Thrum knows 1: run the/,
    );
  });

  it("does not read what is not Thrum's", async () => {
    await redis.command('SET', 'others:cluster:meta:{cluster}', 'x');
    const { code, out, err } = await status(...at(), '--set', 'redis.prefix=others');
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toBe(
      `thrum: Redis at ${redis.address} has something else under a key of Thrum's (WRONGTYPE at others:cluster:meta:{cluster}): ` +
        'set another redis.prefix, or remove that key\n',
    );
  });

  it('says what is wrong in a sentence', async () => {
    const nothing = await status(...at());
    expect(nothing).toMatchObject({ code: 1, out: '' });
    expect(nothing.err).toMatch(/there is no cluster under "thrum:" in this Redis\n +→ start a host/);
    const away = await status('--set', 'redis.url=redis://127.0.0.1:1', '--set', 'redis.patience_seconds=1');
    expect(away).toMatchObject({ code: 1, out: '' });
    expect(away.err).toMatch(/^thrum: .*127\.0\.0\.1:1.*redis\.url/);
  });
});

describe.skipIf(!redisInstalled)('thrum cluster status on a Redis Cluster', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await RedisCluster.start();
    const meta = await cluster.ownerOf('{cluster}');
    await meta.command('HSET', 'thrum:cluster:meta:{cluster}', ...META);
  });
  afterAll(() => cluster.stop());
  const shown = (...args: string[]) => status('--set', `redis.nodes=[${cluster.nodes.join(', ')}]`, ...args);
  const read = async () => JSON.parse((await shown('--json')).out) as ClusterReading;

  it('shows every master', async () => {
    const { out, code } = await shown();
    expect(code).toBe(0);
    expect(out).toContain('fleet serves example.org: 0 hosts, 0 workers, 0 sessions');
    for (const node of cluster.nodes) expect(out).toContain(node);
  });

  it('shows what can be read while a master is gone, and says what cannot', async () => {
    const home = await cluster.ownerOf('{cluster}');
    const gone = cluster.servers.find((server) => server !== home)!;
    for (const number of [1, 2, 3, 4, 5, 6, 7, 8]) {
      const worker = member(number, { host: `host-${number}` });
      await home.command('HSET', 'thrum:cluster:workers:{cluster}', String(number), JSON.stringify(worker));
      await home.command('ZADD', 'thrum:cluster:leases:{cluster}', Date.now() + 600_000, String(number));
    }
    const tags = Array.from({ length: 128 }, (_, i) => `{d${String(i).padStart(3, '0')}}`);
    const owners = new Map<string, RedisServer>();
    for (const tag of tags) {
      owners.set(tag, await cluster.ownerOf(tag));
      await owners.get(tag)!.command('SADD', `thrum:held:${tag}:1`, 'ann@example.org/x');
    }
    const lost = tags.filter((tag) => owners.get(tag) === gone).length;
    const inboxes = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((number) => cluster.ownerOf(`{w${number}}`)));
    const unheard = inboxes.filter((server) => server === gone).length;
    expect(lost * unheard).toBeGreaterThan(0);

    // As Redis does by default: no key is served while one slot is not.
    await gone.kill();
    const others = cluster.servers.filter((server) => server !== gone);
    const state = (what: string) =>
      until(`a cluster that is ${what}`, async () => {
        const infos = await Promise.all(others.map((server) => server.command('CLUSTER', 'INFO')));
        return infos.every((info) => String(info).includes(`cluster_state:${what}`));
      });
    await state('fail');
    const refusing = await shown();
    expect(refusing.code).toBe(1);
    expect(refusing.out).toMatch(new RegExp(`^${home.address} +\\d`, 'm'));
    expect(refusing.err).toContain(`the master ${gone.address} cannot be reached`);
    expect(refusing.err).toMatch(
      new RegExp(`the master ${home.address} does not show its keys \\(.*CLUSTERDOWN.*\\); hosts and workers`),
    );

    for (const server of others) await server.command('CONFIG', 'SET', 'cluster-require-full-coverage', 'no');
    await state('ok');
    const { code, out, err } = await shown();
    expect(code).toBe(1);
    expect(out).toContain(`fleet serves example.org: 8 hosts, 8 workers, at least ${128 - lost} sessions\n`);
    expect(out.match(/ \? +\? ms|\? +\? +\? +serves/g)).toHaveLength(unheard);
    expect(out).toContain(`sessions in ${128 - lost} of 128 shards: at least 1, median 1, at most 1`);
    expect(out).toMatch(new RegExp(`^${gone.address} +cannot be reached$`, 'm'));
    expect(err).toContain(
      `the master ${gone.address} cannot be reached; sessions of ${lost} shards of the directory are not known; what waits for ${unheard} worker`,
    );
    const json = await read();
    expect(json.workers!.filter(({ inbox }) => inbox === null)).toHaveLength(unheard);
    expect(json.shards!.unknown).toBe(lost);
    expect(json.redis.unreachable).toEqual([gone.address]);

    await gone.restart();
    await cluster.agreed();
    expect((await shown()).code).toBe(0);

    // What there is of hosts lies on the one that is gone.
    await home.kill();
    const blind = await shown();
    expect(blind.code).toBe(1);
    expect(blind.out).toMatch(new RegExp(`^${home.address} +cannot be reached$`, 'm'));
    expect(blind.err).toContain(`the master ${home.address} cannot be reached; hosts and workers, and so their`);
    expect(await read()).toMatchObject({ cluster: null, workers: null, shards: null });
  });
});

describe('thrum cluster status without a cluster', () => {
  it('tells of the one host that runs here', async () => {
    const server = await TestServer.start({ workers: 2 });
    const at = ['cluster', 'status', '--set', `data_dir=${server.dataDir}`];
    const { out, code } = await thrum(folder, at);
    const json = JSON.parse((await thrum(folder, [...at, '--json'])).out) as { workers: number[] };
    await server.stop();
    expect(out).toContain(`one host serves localhost: supervisor ${server.pid}, workers ${server.workers.join(', ')}`);
    expect(json.workers).toEqual(server.workers);
    expect(code).toBe(0);
  });
  it('says that there is none', async () => {
    const { err, code } = await thrum(folder, ['cluster', 'status', '--set', `data_dir=${folder}`]);
    expect(err).toMatch(
      /store: lmdb makes no cluster, and no broker runs on .*\n +→ hosts make a cluster with store: redis/,
    );
    expect(code).toBe(1);
  });
});
