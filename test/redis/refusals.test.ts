import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Config } from '../../src/config/config.js';
import { defaults } from '../../src/config/config.js';
import { RedisRefused, openRedis } from '../../src/redis/open.js';
import { RedisCluster, RedisServer, type RedisOptions, redisInstalled } from '../support/redis.js';
import { Authority } from '../tls/authority.js';

const refusal = async (config: Config['redis']): Promise<string> => {
  const error = await openRedis({ ...config, patience_seconds: 1 }).then(
    (redis) => redis.close().then(() => new Error('it was opened')),
    (refused: Error) => refused,
  );
  expect(error).toBeInstanceOf(RedisRefused);
  return error.message;
};

const started = async (options?: RedisOptions): Promise<RedisServer> => {
  const server = await RedisServer.start(options);
  onTestFinished(() => server.stop());
  return server;
};

test('an address that is none is refused', async () => {
  const redis = defaults().redis;
  for (const url of ['localhost:6379', 'http://localhost', 'redis://h/x'])
    expect(await refusal({ ...redis, url })).toMatch(/^redis\.url is not an address of Redis: write redis:\/\//);
  expect(await refusal({ ...redis, nodes: ['host'] })).toMatch(
    /^redis\.nodes: "host" is not an address: write host:port/,
  );
  expect(await refusal({ ...redis, sentinels: ['h:0'] })).toMatch(/^redis\.sentinels: "h:0" is not an address/);
});

test('a host that is not there is refused', async () => {
  const redis = defaults().redis;
  expect(await refusal({ ...redis, url: 'redis://127.0.0.1:1' })).toMatch(
    /^There is no Redis at 127\.0\.0\.1:1 \(.*ECONNREFUSED.*\): start it, or correct redis\.url$/,
  );
  expect(await refusal({ ...redis, url: 'redis://nowhere.invalid' })).toMatch(
    /^There is no host nowhere\.invalid \(E.*\): start it, or correct redis\.url$/,
  );
  expect(await refusal({ ...redis, nodes: ['127.0.0.1:1'] })).toMatch(/correct redis\.nodes$/);
  expect(await refusal({ ...redis, sentinels: ['127.0.0.1:1'] })).toMatch(/redis\.sentinels/);
});

/** A server that answers everything with that. */
const answering = async (text: string): Promise<string> => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => socket.write(text));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
};

test('a server that is no Redis is refused', async () => {
  const at = await answering('HTTP/1.1 400 Bad Request\r\n\r\n');
  expect(await refusal({ ...defaults().redis, url: `redis://${at}` })).toBe(
    `What answers at ${at} is no Redis: correct redis.url`,
  );
});

test('a Redis that is too old is refused', async () => {
  const info = '# Server\r\nredis_version:5.0.14\r\n';
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      if (String(bytes).includes('INFO')) socket.write(`$${info.length}\r\n${info}\r\n`);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as { port: number };
  expect(await refusal({ ...defaults().redis, url: `redis://127.0.0.1:${port}` })).toBe(
    `Redis at 127.0.0.1:${port} is 5.0.14: upgrade it to 6.2 or later`,
  );
});

describe.skipIf(!redisInstalled)('a Redis that will not do is refused:', () => {
  test('passwords', async () => {
    const server = await started({ args: ['--requirepass', 'secret'] });
    expect(await refusal(server.config())).toMatch(/asks for a password: set redis\.password/);
    expect(await refusal(server.config({ password: 'wrong' }))).toBe(
      'Redis does not know the password: correct redis.password (or THRUM_REDIS_PASSWORD)',
    );
    expect(await refusal(server.config({ username: 'thrum', password: 'secret' }))).toMatch(
      /^Redis does not know user "thrum" or the password/,
    );
    expect(await refusal(server.config({ username: 'thrum' }))).toMatch(/set redis\.password too/);
    const redis = await openRedis(server.config({ password: 'secret' }));
    await redis.call('SET', ['a', 'b']);
    await redis.close();
    const named = await openRedis(server.config({ url: `redis://default:secret@${server.address}/3` }));
    expect(await named.call('GET', ['a'])).toBeNull();
    await named.close();
    const open = await started();
    expect(await refusal(open.config({ password: 'secret' }))).toMatch(
      /asks for no password: leave redis\.password empty/,
    );
  });

  test('memory that is made free by throwing data away', async () => {
    const server = await started({ args: ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'] });
    expect(await refusal(server.config())).toMatch(/maxmemory-policy allkeys-lru\): set it to noeviction$/);
    await server.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await (await openRedis(server.config())).close();
  });

  test('replicas, and databases that are not there', async () => {
    const server = await started();
    expect(await refusal(server.config({ url: `redis://${server.address}/99` }))).toMatch(
      /^Redis has no database 99 .*: write another number at the end of redis\.url$/,
    );
    await server.command('REPLICAOF', '127.0.0.1', '1');
    expect(await refusal(server.config())).toMatch(/is a replica: name its master \(127\.0\.0\.1:1\) in redis\.url/);
  });

  test('Sentinels that are none, or speak no TLS', async () => {
    const server = await started();
    expect(await refusal(server.config({ sentinels: [server.address] }))).toMatch(
      /is no Sentinel: name Sentinels in redis\.sentinels/,
    );
    expect(await refusal(server.config({ url: 'rediss://localhost', sentinels: [server.address] }))).toBe(
      `The Sentinel at ${server.address} speaks no TLS: write redis:// instead of rediss:// in redis.url`,
    );
  });

  test('users who may not do what a script does', async () => {
    const server = await started();
    await server.command('ACL', 'SETUSER', 'few', 'on', '>secret', '~thrum:*', '+@all', '-xadd');
    const redis = await openRedis(server.config({ username: 'few', password: 'secret' }));
    onTestFinished(() => redis.close());
    const script = { name: 'add', source: "return redis.call('XADD', KEYS[1], '*', 'a', 'b')" };
    await expect(redis.run(script, ['thrum:a'], [])).rejects.toThrow(
      /allows this user too little .*: give it \+@all on the keys of redis\.prefix$/,
    );
  });

  test('clusters that are none, and the reverse', async () => {
    const server = await started();
    expect(await refusal(server.config({ nodes: [server.address] }))).toBe(
      `Redis at ${server.address} is not part of a cluster: name it in redis.url, and leave redis.nodes empty`,
    );
    const cluster = await RedisCluster.start();
    onTestFinished(() => cluster.stop());
    const [first, node] = cluster.servers as [RedisServer, RedisServer];
    expect(await refusal(node.config())).toMatch(/is part of a cluster: name some of its nodes in redis\.nodes \(/);
    await cluster.servers[2]!.command('CONFIG', 'SET', 'maxmemory', '100mb');
    await cluster.servers[2]!.command('CONFIG', 'SET', 'maxmemory-policy', 'volatile-ttl');
    expect(await refusal(cluster.config({ nodes: [node.address] }))).toMatch(
      new RegExp(`^Redis at ${cluster.servers[2]!.address} throws data away`),
    );
    await cluster.servers[2]!.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await first.command('CONFIG', 'SET', 'requirepass', 'secret');
    expect(await refusal(cluster.config({ nodes: [node.address] }))).toMatch(
      new RegExp(`^Redis at ${first.address} asks for a password`),
    );
  });

  test('a cluster with slots that nobody serves', async () => {
    const server = await started({ args: ['--cluster-enabled', 'yes'] });
    expect(await refusal(server.config({ nodes: [server.address] }))).toBe(
      'Redis is not ready (slots that nobody serves): bring the masters back that are missing, or have others serve their slots',
    );
  });

  test('not a cluster of which one node is not there, nor its name', async () => {
    const cluster = await RedisCluster.start();
    onTestFinished(() => cluster.stop());
    const nodes = ['nowhere.invalid:6379', '127.0.0.1:1', cluster.servers[1]!.address];
    await (await openRedis(cluster.config({ nodes }))).close();
  });
});

describe.skipIf(!redisInstalled)('with TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'thrum-redis-tls-'));
  const tls = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem'), ca: join(folder, 'ca.pem') };
  let server: RedisServer;
  beforeAll(async () => {
    const ca = new Authority();
    const issued = ca.issue({ dns: ['localhost'] });
    writeFileSync(tls.cert, issued.certificate);
    writeFileSync(tls.key, issued.key);
    writeFileSync(tls.ca, ca.issued.certificate);
    server = await RedisServer.start({ tls });
  });
  afterAll(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const config = (settings: Partial<Config['redis']> = {}) =>
    server.config({ url: `rediss://localhost:${server.port}/0`, ca: tls.ca, ...settings });

  test('Redis is reached', async () => {
    const redis = await openRedis(config());
    await redis.call('SET', ['a', 'b']);
    expect(await redis.call('GET', ['a'])).toEqual(Buffer.from('b'));
    const blocking = redis.blocking('a');
    expect(await blocking.call('GET', ['a'])).toEqual(Buffer.from('b'));
    await redis.close();
  });

  test('what does not fit is refused', async () => {
    expect(await refusal(config({ ca: '' }))).toMatch(
      /is not trusted .*: name the PEM file of its authority in redis\.ca$/,
    );
    expect(await refusal(config({ ca: join(folder, 'nothing') }))).toMatch(
      /^redis\.ca: ".*" cannot be read \(ENOENT\)/,
    );
    expect(await refusal(config({ url: `redis://localhost:${server.port}` }))).toMatch(/speaks TLS: write rediss:\/\//);
    const plain = await started();
    expect(await refusal(config({ url: `rediss://localhost:${plain.port}` }))).toMatch(
      /speaks no TLS: write redis:\/\//,
    );
    const strict = await started({ tls, args: ['--tls-auth-clients', 'yes'] });
    expect(await refusal(config({ url: `rediss://localhost:${strict.port}` }))).toMatch(
      /wants a client certificate: .*, or set tls-auth-clients no there$/,
    );
  });
});
