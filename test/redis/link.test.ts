import { randomBytes } from 'node:crypto';
import { type AddressInfo, connect, createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openRedis } from '../../src/redis/open.js';
import { type CallOptions, type Redis, RedisUnavailable, type Script } from '../../src/redis/redis.js';
import { RedisCluster, RedisServer, redisInstalled, until } from '../support/redis.js';

const APPEND: Script = { name: 'append', source: `return redis.call('RPUSH', KEYS[1], unpack(ARGV))` };

const text = (reply: unknown): unknown =>
  Array.isArray(reply) ? reply.map(text) : reply === null ? null : String(reply);

describe.skipIf(!redisInstalled)('a link to a single Redis', () => {
  let server: RedisServer;
  let redis: Redis;
  beforeAll(async () => {
    server = await RedisServer.start({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    redis = await openRedis(server.config());
  });
  afterAll(async () => {
    await redis.close();
    await server.stop();
  });
  afterEach(() => until('the link', () => redis.up));

  test('carries any bytes, in keys and in arguments', async () => {
    const bytes = randomBytes(1000);
    await redis.call('SET', ['küche/😀', bytes]);
    expect(await redis.call('GET', [Buffer.from('küche/😀')])).toEqual(bytes);
    await redis.call('HSET', ['h', bytes, 'ÿ', 'n', 17]);
    expect(await redis.call('HKEYS', ['h'])).toEqual(expect.arrayContaining([bytes, Buffer.from('n')]));
    expect(text(await redis.call('HMGET', ['h', bytes, 'n']))).toEqual(['ÿ', '17']);
    expect(await redis.call('SET', ['empty', ''])).toEqual(Buffer.from('OK'));
    expect(await redis.call('GET', ['empty'])).toEqual(Buffer.alloc(0));
    expect(await redis.call('GET', ['nothing'])).toBeNull();
  });

  test('applies what is called in order in that order, also when scripts are new to the server', async () => {
    await server.command('SCRIPT', 'FLUSH');
    const calls = Array.from({ length: 500 }, (_, n) =>
      n % 3 === 0 ? redis.call('RPUSH', ['list', n]) : redis.run(APPEND, ['list'], [n]),
    );
    await Promise.all(calls);
    const list = text(await redis.call('LRANGE', ['list', 0, -1])) as string[];
    expect(list.map(Number).sort((a, b) => a - b)).toEqual(calls.map((_, n) => n));
    await redis.call('DEL', ['list']);
    await Promise.all(Array.from({ length: 500 }, (_, n) => redis.run(APPEND, ['list'], [n])));
    expect(text(await redis.call('LRANGE', ['list', 0, -1]))).toEqual(calls.map((_, n) => String(n)));
  });

  test('tells errors of the command itself at once', async () => {
    await expect(redis.call('HSET', ['list', 'a', 'b'])).rejects.toThrow(/WRONGTYPE/);
    await expect(redis.run({ name: 'bad', source: 'this is no Lua' }, ['x'], [])).rejects.toThrow(/compiling/);
  });

  test('waits over a restart; what was done is not lost', async () => {
    await redis.call('DEL', ['kept']);
    const states: boolean[] = [];
    redis.onState((up) => states.push(up));
    await redis.call('RPUSH', ['kept', 'before']);
    await server.kill();
    const waiting = ['a', 'b', 'c'].map((value) => redis.run(APPEND, ['kept'], [value]));
    await until('the link to notice', () => !redis.up);
    await server.restart();
    await Promise.all(waiting);
    expect(text(await redis.call('LRANGE', ['kept', 0, -1]))).toEqual(['before', 'a', 'b', 'c']);
    await until('the link', () => redis.up);
    expect(states).toEqual([false, true]);
  });

  test('gives up after the patience, and goes on afterwards', async () => {
    await server.kill();
    await expect(redis.call('GET', ['x'], { patienceMs: 100 })).rejects.toThrow(RedisUnavailable);
    await expect(redis.call('GET', ['x'], { patienceMs: 0 })).rejects.toThrow(RedisUnavailable);
    expect(redis.up).toBe(false);
    await server.restart();
    await until('the link', () => redis.up);
    expect(await redis.call('GET', ['nothing'])).toBeNull();
  });

  test('who is about to end waits so long in all, for what is under way and for what comes', async () => {
    const hasty = await openRedis(server.config({ patience_seconds: 300 }));
    try {
      const forsaken = new Promise<void>((resolve) => hasty.onForsaken(resolve));
      hasty.hasten(300_000);
      await server.kill();
      const first = hasty.call('SET', ['hasty', 1]);
      await server.restart();
      await first;
      await server.kill();
      await until('the link to notice', () => !hasty.up);
      const second = expect(hasty.call('GET', ['hasty'])).rejects.toThrow(RedisUnavailable);
      hasty.hasten(50);
      await second;
      await forsaken;
      await expect(hasty.call('GET', ['hasty'])).rejects.toThrow(RedisUnavailable);
      await server.restart();
      await until('the link', () => hasty.up);
      expect(hasty.forsaken).toBe(false);
      expect(await hasty.call('GET', ['nothing'])).toBeNull();
    } finally {
      await hasty.close();
    }
  });

  test('a server that stands still is away; what it was sent before is done once, before what follows', async () => {
    await redis.call('DEL', ['still']);
    server.pause();
    const waiting = ['a', 'b'].map((value) => redis.run(APPEND, ['still'], [value], { patienceMs: 20_000 }));
    await until('the link to notice', () => !redis.up);
    waiting.push(redis.run(APPEND, ['still'], ['c'], { patienceMs: 20_000 }));
    server.resume();
    await Promise.all(waiting);
    const list = text(await redis.call('LRANGE', ['still', 0, -1])) as string[];
    expect(list.slice(-3)).toEqual(['a', 'b', 'c']);
    // Those of the first connection were killed with it, or all done before.
    expect(['a,b,c', 'a,b,a,b,c', 'a,a,b,c']).toContain(list.join());
  });

  test('a script whose answer is lost is another one from then on, where its caller wants that', async () => {
    let loses = false;
    // Takes bytes to the server and back, but for one answer.
    const between = createServer((client) => {
      const socket = connect(server.port, '127.0.0.1');
      client.on('error', () => undefined).on('close', () => socket.destroy());
      socket.on('error', () => undefined).on('close', () => client.destroy());
      client.pipe(socket);
      socket.on('data', (bytes) => {
        if (!loses) return void client.write(bytes);
        loses = false;
        client.destroy();
      });
    });
    await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve));
    const { port } = between.address() as AddressInfo;
    const lossy = await openRedis(server.config({ url: `redis://127.0.0.1:${port}/0` }));
    const count: Script = { name: 'count', source: `return redis.call('INCRBY', KEYS[1], ARGV[1])` };
    const look: Script = { name: 'look', source: `return {redis.call('GET', KEYS[1]), KEYS[2], ARGV[1]}` };
    const asked: string[] = [];
    const ask = (onAgain: NonNullable<CallOptions['onAgain']>): Promise<unknown> => {
      loses = true;
      return lossy.run(count, ['counted'], [5], { onAgain });
    };
    const instead = () => ({ script: look, keys: ['counted', 'counted too'], args: ['again'] });
    expect(text(await ask(instead))).toEqual(['5', 'counted too', 'again']);
    expect(await ask(() => void asked.push('again'))).toBe(15);
    expect(asked).toEqual(['again']);
    await lossy.close();
    await new Promise((resolve) => between.close(resolve));
  });

  test('connections that are killed hurt nobody', async () => {
    const running = (async () => {
      for (let n = 0; n < 300; n++) await redis.call('SET', ['n', n]);
    })();
    for (let n = 0; n < 5; n++) await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await running;
    expect(text(await redis.call('GET', ['n']))).toBe('299');
  });

  test('waits where the memory is full or the server is a replica for the moment', async () => {
    for (const [broken, mended] of [
      [
        ['CONFIG', 'SET', 'maxmemory', '1'],
        ['CONFIG', 'SET', 'maxmemory', '0'],
      ],
      [
        ['REPLICAOF', '127.0.0.1', '1'],
        ['REPLICAOF', 'NO', 'ONE'],
      ],
    ] as const) {
      await server.command(broken[0], ...broken.slice(1));
      const waiting = redis.call('SET', ['full', 'x']);
      const script = redis.run(APPEND, ['fuller'], ['x']);
      await until('the link to notice', () => !redis.up);
      await server.command(mended[0], ...mended.slice(1));
      expect(text(await waiting)).toBe('OK');
      await script;
      await until('the link', () => redis.up);
    }
  });

  test('blocks on connections of their own, which come back by themselves', async () => {
    const blocking = redis.blocking('stream');
    const read = () => blocking.call('XREAD', ['BLOCK', 20_000, 'STREAMS', 'stream', '0']);
    const answer = read();
    expect(await redis.call('PING', ['x'])).toEqual(Buffer.from('x'));
    await redis.call('XADD', ['stream', '1-1', 'a', 'b']);
    expect(text(await answer)).toEqual([['stream', [['1-1', ['a', 'b']]]]]);
    const broken = blocking.call('XREAD', ['BLOCK', 20_000, 'STREAMS', 'stream', '$']);
    await until('the blocked client', async () =>
      String(await server.command('INFO', 'clients')).includes('blocked_clients:1'),
    );
    await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await expect(broken).rejects.toThrow(RedisUnavailable);
    await until('the connection', () =>
      read().then(
        () => true,
        () => false,
      ),
    );
    blocking.close();
    await expect(read()).rejects.toThrow(RedisUnavailable);
  });

  test('its master is the server', async () => {
    const [master, ...others] = await redis.masters();
    expect(others).toEqual([]);
    expect(master!.address).toBe(server.address);
    expect(String(await master!.call('INFO', ['server']))).toContain('redis_version');
    // Nobody waits for ever for one that stands still, though nothing else is asked of it.
    server.pause();
    await expect(master!.call('INFO', ['server'])).rejects.toThrow(RedisUnavailable);
    server.resume();
    await until('the link', () => redis.up);
  });
});

describe.skipIf(!redisInstalled)('a link to a Redis Cluster', () => {
  let cluster: RedisCluster;
  let redis: Redis;
  beforeAll(async () => {
    cluster = await RedisCluster.start({ masters: 3, replicas: 1 });
    redis = await openRedis(cluster.config({ patience_seconds: 30 }));
  });
  afterAll(async () => {
    await redis?.close();
    await cluster?.stop();
  });
  afterEach(() => until('the link', () => redis.up));

  test('finds every key, and keeps the order in each slot', async () => {
    const tags = Array.from({ length: 50 }, (_, n) => `list:{${n}}`);
    const calls: Promise<unknown>[] = [];
    for (let n = 0; n < 20; n++) for (const key of tags) calls.push(redis.run(APPEND, [key], [n]));
    await Promise.all(calls);
    for (const key of tags)
      expect(text(await redis.call('LRANGE', [key, 0, -1]))).toEqual(Array.from({ length: 20 }, (_, n) => String(n)));
    expect(await cluster.keys()).toEqual([...tags].sort());
    const masters = await redis.masters();
    expect(masters.map(({ address }) => address).sort()).toEqual(cluster.nodes.slice(0, 3).sort());
    for (const master of masters) expect(Number(await master.call('DBSIZE', []))).toBeGreaterThan(0);
    await cluster.flushKeys();
  });

  test('follows a slot that moves while it is written', async () => {
    const { slotOf } = await import('../../src/redis/slot.js');
    const key = 'moving:{slot}';
    const from = await cluster.ownerOf(key);
    const to = (await cluster.owners()).map(({ server }) => server).find((server) => server !== from)!;
    const written: Promise<unknown>[] = [];
    const write = async () => {
      const n = written.length;
      written.push(redis.run(APPEND, [key], [n]), redis.call('SET', [`other${n}:{slot}`, n]));
      await Promise.all(written);
    };
    await write();
    await cluster.moveSlot(slotOf(key), to, write);
    await write();
    expect(text(await redis.call('LRANGE', [key, 0, -1]))).toEqual(['0', '2', '4']);
    expect(await cluster.ownerOf(key)).toBe(to);
    expect((await cluster.keys()).length).toBe(4);
    await cluster.flushKeys();
  });

  test('follows a replica that takes the place of its master', async () => {
    const keys = Array.from({ length: 30 }, (_, n) => `over:{${n}}`);
    const victim = await cluster.ownerOf(keys[0]!);
    const blocking = redis.blocking(keys[0]!);
    await blocking.call('SET', [keys[0]!, 'x']);
    await victim.kill();
    await Promise.all(keys.map((key) => redis.call('SET', [key, 'y'])));
    expect(await cluster.ownerOf(keys[0]!)).not.toBe(victim);
    for (const key of keys) expect(text(await redis.call('GET', [key]))).toBe('y');
    await until('the blocking connection', () =>
      blocking.call('GET', [keys[0]!]).then(
        (reply) => String(reply) === 'y',
        () => false,
      ),
    );
    await until('the link', () => redis.up);
    await victim.restart();
    await cluster.agreed();
  });
});
