import { describe, expect, onTestFinished, test } from 'vitest';
import { CHANNEL, type Bus } from '../../src/cluster/bus.js';
import { inboxKey } from '../../src/cluster/hosts/keys.js';
import { clusterCounters } from '../../src/metrics/cluster.js';
import { counters } from '../../src/metrics/counters.js';
import type { RedisArgument } from '../../src/redis/redis.js';
import { slotOf } from '../../src/redis/slot.js';
import { RedisCluster, RedisServer, redisInstalled, until } from '../support/redis.js';
import { connected, host, type Host } from './hosts.js';

/** Numbers what is sent, and says what came: how many, and the first that was out of turn. */
class Counting {
  readonly seen = new Map<string, { frames: number; wrong: string | undefined }>();
  readonly events: string[] = [];
  private readonly sent = new Map<string, number>();

  watch({ bus }: Host): void {
    bus.listen(CHANNEL.notify, (from, body) => {
      const key = `${from}>${bus.self}`;
      const one = this.seen.get(key) ?? { frames: 0, wrong: undefined };
      const number = body.readUInt32LE(0);
      if (number !== one.frames) one.wrong ??= `${number} instead of ${one.frames}`;
      one.frames++;
      this.seen.set(key, one);
    });
    bus.listen(CHANNEL.resume, () => Buffer.from('here'));
    bus.onPeerUp((peer) => this.events.push(`${bus.self}: up ${peer}`));
    bus.onPeerDown((peer) => this.events.push(`${bus.self}: down ${peer}`));
  }

  async send(bus: Bus, frames: number): Promise<void> {
    for (let i = 0; i < frames; i++) {
      for (const peer of bus.peers) {
        const key = `${bus.self}>${peer}`;
        const number = this.sent.get(key) ?? 0;
        this.sent.set(key, number + 1);
        const body = Buffer.alloc(100);
        body.writeUInt32LE(number);
        bus.send(peer, CHANNEL.notify, body);
      }
      if (i % 5 === 4) await new Promise(setImmediate);
    }
  }

  /** What has to have come, when all has. */
  get due(): Record<string, { frames: number; wrong: undefined }> {
    return Object.fromEntries([...this.sent].map(([key, frames]) => [key, { frames, wrong: undefined }]));
  }

  async complete(): Promise<void> {
    await until('all frames', () => [...this.sent].every(([key, frames]) => this.seen.get(key)?.frames === frames));
    expect(Object.fromEntries(this.seen)).toEqual(this.due);
  }
}

/** One that ends when the hosts of the test have left it. */
async function start(...args: string[]): Promise<RedisServer> {
  const server = await RedisServer.start({ args });
  onTestFinished(() => server.stop());
  return server;
}

const heard = (host: Host, peer: number): Promise<string> =>
  host.bus.request(peer, CHANNEL.resume, Buffer.from('?'), 20_000).then(String);

describe.skipIf(!redisInstalled)('the bus between hosts', () => {
  test('delivers in order and once over a Redis that loses and repeats', async () => {
    const server = await start();
    const counting = new Counting();
    const all = await connected(2, { redis: server.config() }, (one) => counting.watch(one));
    let seed = 11;
    const random = (below: number): number => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % below;
    for (const { redis } of all) {
      const call = redis.call.bind(redis);
      redis.call = async (command, args, options) => {
        if (command !== 'XADD') return call(command, args, options);
        const fate = random(30);
        if (fate === 0) return 'lost';
        if (fate === 1) throw new Error('done or not');
        const outcome = await call(command, args, options);
        if (fate === 2) await call(command, args, options);
        if (fate === 3) throw new Error('done');
        return outcome;
      };
    }
    await Promise.all(all.map(({ bus }) => counting.send(bus, 1000)));
    await counting.complete();
    await Promise.all(all.map(({ bus }) => bus.barrier()));
    expect(counting.events.filter((event) => event.includes('down'))).toEqual([]);
    expect(clusterCounters.resent).toBeGreaterThan(0);
  });

  test('goes on when all connections are cut', async () => {
    const server = await start();
    const counting = new Counting();
    const all = await connected(2, { redis: server.config() }, (one) => counting.watch(one));
    for (let round = 0; round < 5; round++) {
      const sending = Promise.all(all.map(({ bus }) => counting.send(bus, 200)));
      await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await sending;
      await Promise.all(all.map(({ bus }) => bus.barrier()));
    }
    await counting.complete();
    expect(counting.events).toHaveLength(2);
  });

  test.each(['empty', 'with what it had written'])('goes on when Redis came back %s', async (how) => {
    const server = await start(...(how === 'empty' ? [] : ['--appendonly', 'yes', '--appendfsync', 'always']));
    const counting = new Counting();
    const options = { redis: server.config(), leaseSeconds: 3 };
    const all = await connected(2, options, (one) => counting.watch(one));
    const [a, b] = all as [Host, Host];
    const renewed: number[] = [];
    for (const { hosts } of all) hosts.onRenewed(async () => void renewed.push(hosts.epoch));
    const before = all.map(({ hosts }) => hosts.epoch);
    await counting.send(a.bus, 100);
    await server.restart();
    if (how === 'empty') {
      await until('both being there anew', () => renewed.length === 2 && all.every(({ bus }) => bus.peers.size === 1));
      const after = all.map(({ hosts }) => hosts.epoch);
      for (const [i, epoch] of after.entries()) expect(epoch).toBeGreaterThan(before[i]!);
      expect(counting.events.filter((event) => event === '1: down 2')).toHaveLength(1);
    } else {
      await counting.send(a.bus, 100);
      await counting.send(b.bus, 100);
      await counting.complete();
      expect(counting.events).toHaveLength(2);
      expect(renewed).toEqual([]);
    }
    await until('both hearing each other', async () => {
      const answers = await Promise.allSettled([heard(a, 2), heard(b, 1)]);
      return answers.every(({ status }) => status === 'fulfilled');
    });
    await Promise.all(all.map(({ bus }) => bus.barrier()));
    for (const { hosts, bus } of all) {
      const keys = (await server.keys()).filter((key) => key.includes(`{w${bus.self}}`));
      expect(keys).toEqual([inboxKey({ prefix: 'thrum' }, bus.self, hosts.epoch)]);
      expect(hosts.members()).toHaveLength(2);
    }
  });

  test('reads a stream whose ids went back from its beginning', async () => {
    const server = await start();
    const counting = new Counting();
    const all = await connected(2, { redis: server.config(), leaseSeconds: 6 }, (one) => counting.watch(one));
    const [a, b] = all as [Host, Host];
    await counting.send(a.bus, 10);
    await a.bus.barrier();
    const key = inboxKey(b.redis, 2, b.hosts.epoch);
    // As after a failover to a server whose clock is behind, and which had not got the last of it.
    await server.command('DEL', key);
    await server.command('XADD', key, '5-1', 'x', 'x');
    const lost = counters.drops['bus_garbled'] ?? 0;
    const call = a.redis.call.bind(a.redis);
    a.redis.call = (command, args, options) => {
      const own = command === 'XADD' && args[0] === key;
      return call(command, own ? args.map((arg) => (arg === '*' ? '6-*' : arg)) : args, options);
    };
    await counting.send(a.bus, 10);
    await counting.complete();
    expect(counting.events).toHaveLength(2);
    expect((counters.drops['bus_garbled'] ?? 0) - lost).toBeLessThanOrEqual(1);
    a.redis.call = call;
  });

  test('holds up nobody while Redis stands still for longer than the patience', async () => {
    const server = await start();
    const counting = new Counting();
    const redis = server.config({ patience_seconds: 1 });
    const leaseSeconds = 3;
    const all = await connected(2, { redis, leaseSeconds, backlogBytes: 20_000 }, (one) => counting.watch(one));
    const [a] = all as [Host];
    server.pause();
    // No lease was renewed later.
    const ended = Date.now() + leaseSeconds * 1000;
    const barrier = a.bus.barrier();
    await counting.send(a.bus, 300);
    await barrier;
    expect(a.redis.up).toBe(false);
    // 30 000 bytes wait, and nobody has to.
    expect(a.bus.congested).toBe(false);
    for (let i = 0; i < 100; i++) await a.bus.barrier();
    expect(a.redis.up).toBe(false);
    expect(a.bus.peers.size).toBe(1);
    // Longer than the lease: nobody is declared dead for what was nobody's fault.
    await until('leases that ended', () => Date.now() > ended);
    server.resume();
    await counting.complete();
    await Promise.all(all.map(({ bus }) => bus.barrier()));
    expect(counting.events).toHaveLength(2);
    expect(all.map(({ hosts }) => hosts.members().length)).toEqual([2, 2]);
  });

  test('holds up nobody for longer than the patience, though it is not known yet that Redis stands still', async () => {
    const server = await start();
    const [a] = (await connected(2, { redis: server.config({ patience_seconds: 0.5 }) })) as [Host];
    server.pause();
    a.bus.send(2, CHANNEL.notify, Buffer.alloc(4));
    await a.bus.delivered([2]);
    expect(a.redis.up).toBe(true);
    server.resume();
  });

  test('meets once when one began anew several times while the other stood still', async () => {
    const server = await start();
    let go = (): void => undefined;
    let gate = Promise.resolve();
    const counting = new Counting();
    const all = await connected(2, { redis: server.config(), backlogBytes: 20_000 }, (one) => {
      counting.watch(one);
      if (one.bus.self !== 2) return;
      const blocking = one.redis.blocking.bind(one.redis);
      one.redis.blocking = (key) => {
        const inbox = blocking(key);
        // What has come is read in several parts.
        const small = (args: readonly RedisArgument[]) => args.map((arg, i) => (args[i - 1] === 'COUNT' ? 1 : arg));
        return {
          call: (command, args) => gate.then(() => inbox.call(command, small(args))),
          close: () => inbox.close(),
        };
      };
    });
    const [a, b] = all as [Host, Host];
    gate = new Promise((resolve) => (go = resolve));
    const downs = (): number => counting.events.filter((event) => event === '1: down 2').length;
    await until('a third beginning', async () => {
      for (let i = 0; i < 5; i++) a.bus.send(2, CHANNEL.kick, Buffer.alloc(10_000));
      await new Promise(setImmediate);
      return downs() >= 3;
    });
    go();
    await until('both hearing each other', async () => {
      const answers = await Promise.allSettled([heard(a, 2), heard(b, 1)]);
      return answers.every(({ status }) => status === 'fulfilled');
    });
    const before = [...counting.events];
    await Promise.all(all.map(({ bus }) => counting.send(bus, 100)));
    await counting.complete();
    for (let i = 0; i < 20; i++) await Promise.all(all.map(({ bus }) => bus.barrier()));
    expect(counting.events).toEqual(before);
  });

  test('sends what was left when it began anew while Redis was away, though nothing more follows', async () => {
    const server = await start('--appendonly', 'yes', '--appendfsync', 'always');
    const redis = server.config({ patience_seconds: 1 });
    const got: string[] = [];
    const all = await connected(2, { redis, leaseSeconds: 10, backlogBytes: 20_000 }, ({ bus }) => {
      bus.listen(CHANNEL.kick, (_from, body) => void got.push(String(body)));
    });
    const [a] = all as [Host];
    await until('both having nothing to say', () =>
      all.every(({ hosts }) => hosts.status().peers.every(({ batches }) => batches === 0)),
    );
    await server.kill();
    await until('nobody being there', () => !a.redis.up);
    a.bus.send(2, CHANNEL.kick, Buffer.from('on its way'));
    await new Promise(setImmediate);
    for (let i = 0; i < 5; i++) a.bus.send(2, CHANNEL.notify, Buffer.alloc(10_000));
    await until('a new beginning', () => a.lines.some(({ text }) => text.includes('too far behind')));
    a.bus.send(2, CHANNEL.kick, Buffer.from('last'));
    // Nobody waits any more for what was on its way.
    await until('the end of the patience', async () => {
      const before = performance.now();
      await a.bus.barrier();
      return !a.redis.up && performance.now() - before < 1;
    });
    await server.restart();
    await until('the last', () => got.includes('last'));
  });

  test('loses nothing of a dead sender when the receiver was thought dead and comes back before others have seen to it', async () => {
    const server = await start();
    const returned: string[] = [];
    let still = false;
    let seeTo = (): void => undefined;
    const slow = new Promise<void>((resolve) => (seeTo = resolve));
    const all = await connected(3, { redis: server.config(), leaseSeconds: 6 }, ({ bus, hosts, redis }) => {
      bus.listen(CHANNEL.stanza, () => undefined);
      bus.onUndelivered(CHANNEL.stanza, (_peer, body) => void returned.push(`${bus.self}: ${String(body)}`));
      hosts.onDeparted((worker) => (worker === 1 ? slow : Promise.resolve()));
      if (bus.self !== 1) return;
      const blocking = redis.blocking.bind(redis);
      redis.blocking = (key) => {
        const inbox = blocking(key);
        let close = (): void => undefined;
        const closed = new Promise<void>((resolve) => (close = resolve));
        return {
          call: async (command, args) => {
            const reply = await inbox.call(command, args);
            if (still && key === inboxKey(redis, 1, 1)) await closed;
            return reply;
          },
          close: () => (close(), inbox.close()),
        };
      };
    });
    const [a, b, c] = all as [Host, Host, Host];
    expect(a.hosts.epoch).toBe(1);
    // It stands still: it handles nothing.
    still = true;
    c.bus.send(1, CHANNEL.stanza, Buffer.from('text'));
    await c.bus.delivered([1]);
    await c.redis.close();
    await b.departed(3);
    const cleaned = b.departed(1);
    await until('it being there again', () => a.lines.some(({ text }) => text === 'this worker is registered again'));
    seeTo();
    await cleaned;
    expect(returned).toEqual(['2: text']);
    expect((await server.keys()).filter((key) => key.includes('{w1}'))).toEqual([inboxKey(a.redis, 1, a.hosts.epoch)]);
  });

  test('drops what one sends who is dead to the cluster', async () => {
    const server = await start();
    const counting = new Counting();
    const all = await connected(3, { redis: server.config() }, (one) => counting.watch(one));
    const [a, b, c] = all as [Host, Host, Host];
    const key = inboxKey(a.redis, 1, a.hosts.epoch);
    const entries: [Buffer, [Buffer, Buffer]][] = [];
    const call = c.redis.call.bind(c.redis);
    c.redis.call = (command, args, options) => {
      if (command === 'XADD' && args[0] === key) entries.push([args[0] as never, args.slice(-2) as never]);
      return call(command, args, options);
    };
    await counting.send(c.bus, 1);
    await c.bus.barrier();
    c.redis.call = call;
    await c.hosts.leave();
    await until('its end', () => a.bus.peers.size === 1);
    const before = counters.drops['bus_dead_sender'] ?? 0;
    for (const [, [envelope, frames]] of entries) await server.command('XADD', key, '*', envelope, frames);
    await b.bus.barrier();
    await until('the batches being read', () => (counters.drops['bus_dead_sender'] ?? 0) >= before + entries.length);
    expect(counting.seen.get('3>1')).toEqual({ frames: 1, wrong: undefined });
  });
});

describe.skipIf(!redisInstalled)('leases', () => {
  test('that end are seen by all, and one alone cleans up; another when that one dies over it', async () => {
    const server = await start();
    const options = { redis: server.config(), leaseSeconds: 3 };
    const cleaned: string[] = [];
    let stuck = true;
    const all = await connected(4, options, ({ hosts, bus }) => {
      hosts.onDeparted(async (worker, epoch) => {
        cleaned.push(`${bus.self} for ${worker}:${epoch}`);
        // The first to get at it never ends, and is dead itself.
        if (!stuck) return;
        stuck = false;
        await new Promise(() => undefined);
      });
    });
    const workers = 'thrum:cluster:workers:{cluster}';
    const departed = 'thrum:cluster:departed:{cluster}';
    await server.command(
      'HSET',
      workers,
      '77',
      JSON.stringify({ ...all[0]!.hosts.members()[0], number: 77, epoch: 50 }),
    );
    await server.command('ZADD', 'thrum:cluster:leases:{cluster}', 1, '77');
    await until('a first clean-up', () => cleaned.length === 1);
    const first = Number(cleaned[0]!.split(' ')[0]);
    // As long as it renews its lease, its claim holds: for longer than the first lease would have.
    const lease = async () => Number(await server.command('ZSCORE', 'thrum:cluster:leases:{cluster}', String(first)));
    const before = await lease();
    await until('renewals', async () => (await lease()) > before + 3_500);
    expect(cleaned).toHaveLength(1);
    await all[first - 1]!.redis.close();
    await until('a second clean-up', async () => cleaned.length > 1 && (await server.command('ZCARD', departed)) === 0);
    expect(cleaned.filter((text) => text.endsWith(' for 77:50'))).toHaveLength(2);
    expect(cleaned.filter((text) => text.includes(` for ${first}:`))).toHaveLength(1);
    expect(all.filter(({ bus }) => bus.self !== first).every(({ hosts }) => !hosts.lives(77, 50))).toBe(true);
  });

  test('of a number that lives belong to one worker alone', async () => {
    const server = await start();
    const options = { redis: server.config(), number: 5 };
    const one = await host(options);
    await one.hosts.connect();
    const other = await host(options);
    await expect(other.hosts.connect()).rejects.toThrow('another worker has number 5');
    expect(one.hosts.lives(5, one.hosts.epoch)).toBe(true);
  });

  test('tell what a worker announces', async () => {
    const server = await start();
    const all = await connected(2, { redis: server.config(), leaseSeconds: 3 });
    const [a, b] = all as [Host, Host];
    await a.hosts.announce({ draining: true });
    expect(a.hosts.members().map(({ draining }) => draining)).toEqual([true, false]);
    await until('the others knowing', () => b.hosts.members().some(({ draining }) => draining));
    expect(b.bus.peers.has(1)).toBe(true);
  });

  test('are not made longer by a clock that was set back', async () => {
    const server = await start();
    const all = await connected(2, { redis: server.config(), leaseSeconds: 3 });
    const [a] = all as [Host];
    const far = Date.now() + 3_600_000;
    const row = JSON.stringify({ ...a.hosts.members()[0], number: 77, epoch: 50 });
    await server.command('HSET', 'thrum:cluster:workers:{cluster}', '77', row);
    await server.command('ZADD', 'thrum:cluster:leases:{cluster}', far, '77');
    await server.command('HSET', 'thrum:cluster:state:{cluster}', 'renewed', far - 3000);
    await until(
      'its end',
      async () => (await server.command('HEXISTS', 'thrum:cluster:workers:{cluster}', '77')) === 0,
    );
    await until(
      'nothing being left',
      async () => (await server.command('ZCARD', 'thrum:cluster:departed:{cluster}')) === 0,
    );
    expect(a.bus.peers.has(2)).toBe(true);
  });
});

describe.skipIf(!redisInstalled)('the bus between hosts on a Redis Cluster', () => {
  test('goes on while the slot of an inbox is on its way to another master, however long that takes', async () => {
    const cluster = await RedisCluster.start();
    onTestFinished(() => cluster.stop());
    const counting = new Counting();
    const all = await connected(2, { redis: cluster.config(), leaseSeconds: 10 }, (one) => counting.watch(one));
    const send = async (): Promise<void> => {
      await Promise.all(all.map(({ bus }) => counting.send(bus, 100)));
      await counting.complete();
    };
    const tag = '{w2}';
    const from = await cluster.ownerOf(tag);
    const [one, other] = (await cluster.owners()).map(({ server }) => server).filter((server) => server !== from);
    await send();
    await cluster.moveSlot(slotOf(tag), one!, send, send);
    await send();
    await cluster.moveSlot(slotOf(tag), other!, send, send);
    await send();
    expect(counting.events.filter((event) => event.includes('down'))).toEqual([]);
  });

  test('goes on when the master of an inbox dies', async () => {
    const cluster = await RedisCluster.start({ replicas: 1 });
    onTestFinished(() => cluster.stop());
    const counting = new Counting();
    const redis = cluster.config({ patience_seconds: 10 });
    const all = await connected(3, { redis, leaseSeconds: 10 }, (one) => counting.watch(one));
    await Promise.all(all.map(({ bus }) => counting.send(bus, 100)));
    const master = await cluster.ownerOf('{w2}');
    const sending = Promise.all(all.map(({ bus }) => counting.send(bus, 300)));
    await master.kill();
    await sending;
    await cluster.failedOver(master);
    await Promise.all(all.map(({ bus }) => counting.send(bus, 100)));
    await counting.complete();
    expect(counting.events.filter((event) => event.includes('down'))).toEqual([]);
    await Promise.all(all.map(({ bus }) => bus.barrier()));
  });
});
