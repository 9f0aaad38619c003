import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DIALECT } from '../../src/cluster/hosts/envelope.js';
import type { Member } from '../../src/cluster/hosts/hosts.js';
import type { WorkerInfo } from '../../src/cluster/supervisor.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';
import { build, pool, type Pool } from './pool.js';

type Seen = Record<number, { frames: number; wrong: string | null }>;

describe.skipIf(!redisInstalled)('workers of many hosts', () => {
  let server: RedisServer;
  beforeAll(async () => {
    build();
    server = await RedisServer.start();
  });
  afterAll(() => server?.stop());
  beforeEach(() => server.flushKeys());

  const enter = async (workers: number, settings: object = {}): Promise<{ host: Pool; numbers: number[] }> => {
    const host = pool({ workers, settings: { redis: server.config({ patience_seconds: 2 }), ...settings } });
    const started = await host.start();
    return { host, numbers: started.map(({ number }) => number) };
  };
  const events = (host: Pool, number: number): Promise<string[]> => host.ask(number, 'events');
  const cleanings = async (): Promise<string[]> =>
    ((await server.command('LRANGE', 'cleanings', 0, -1)) as Buffer[]).map(String);
  const departed = (): Promise<unknown> => server.command('ZCARD', 'thrum:cluster:departed:{cluster}');
  /** Keys that are of one worker. */
  const traces = async (number: number): Promise<string[]> => {
    const keys = (await server.keys()).filter((key) => key.includes(`{w${number}}`));
    const rows = (await server.command('HKEYS', 'thrum:cluster:workers:{cluster}')) as Buffer[];
    return [...keys, ...rows.map(String).filter((row) => row === String(number))];
  };

  test('know each other at once, and frames between them keep their order under load', async () => {
    const a = await enter(2);
    const b = await enter(2);
    const all = [...a.numbers, ...b.numbers];
    expect(new Set(all).size).toBe(4);
    for (const { host, numbers } of [a, b]) {
      for (const number of numbers) {
        expect(await host.ask(number, 'peers')).toEqual(all.filter((one) => one !== number).sort((x, y) => x - y));
        expect(await host.ask<unknown[]>(number, 'members')).toHaveLength(4);
      }
    }
    const frames = 5_000;
    const bursts = [a, b].flatMap(({ host, numbers }) =>
      numbers.map((number) => host.ask(number, 'burst', { frames }, 60_000)),
    );
    await Promise.all(bursts);
    for (const { host, numbers } of [a, b]) for (const number of numbers) await host.ask(number, 'barrier');
    for (const { host, numbers } of [a, b]) {
      for (const number of numbers) {
        const seen = Object.values(await host.ask<Seen>(number, 'seen'));
        expect(seen).toEqual([1, 2, 3].map(() => ({ frames, wrong: null })));
      }
    }
    expect(await a.host.ask(a.numbers[0]!, 'request', { peer: b.numbers[1], text: 'ü' })).toBe('ü');
  });

  test('are refused beside others that would not understand them, who go on, and start when those are gone', async () => {
    const a = await enter(1);
    const state = 'thrum:cluster:state:{cluster}';
    expect(String(await server.command('HGET', state, 'dialect'))).toBe(String(DIALECT));
    await server.command('HSET', state, 'dialect', DIALECT + 1);
    const [{ host: name, version }] = (await a.host.ask(a.numbers[0]!, 'members')) as [Member];
    const told = await enter(1).catch(({ message }: Error) => message);
    expect(told).toMatch(/cannot work side by side.*stop all of them, then start them with this version/);
    expect(told).toContain(`${name} (${version})`);
    expect(await a.host.ask<unknown[]>(a.numbers[0]!, 'members')).toHaveLength(1);
    const inboxes = (await server.keys()).filter((key) => key.startsWith('thrum:inbox:'));
    expect(inboxes).toEqual([expect.stringContaining(`{w${a.numbers[0]}}`)]);
    await a.host.run('stop');
    const b = await enter(1);
    expect(String(await server.command('HGET', state, 'dialect'))).toBe(String(DIALECT));
    await b.host.run('stop');
  });

  test('are refused while a migration is under way, and start after it', async () => {
    const migration = 'thrum:migration:{cluster}';
    await server.command('SET', migration, JSON.stringify({ host: 'north', pid: 12 }));
    await expect(enter(1)).rejects.toThrow(
      'thrum migrate is at work on this Redis: process 12 on north; wait for its end',
    );
    await server.command('DEL', migration);
    const a = await enter(1);
    await a.host.run('stop');
  });

  test('leave nothing behind when they end in order, and the others know at once', async () => {
    const a = await enter(1, { leaseSeconds: 60 });
    const b = await enter(2, { leaseSeconds: 60 });
    await b.host.run('stop');
    await until('both being gone', async () => (await a.host.ask<number[]>(a.numbers[0]!, 'peers')).length === 0);
    for (const number of b.numbers) expect(await traces(number)).toEqual([]);
    expect(await departed()).toBe(0);
    const ups = b.numbers.map((number) => `up ${number}`);
    const downs = b.numbers.map((number) => `down ${number}`);
    expect((await events(a.host, a.numbers[0]!)).sort()).toEqual([...downs, ...ups].sort());
    await a.host.run('stop');
    expect((await server.keys()).filter((key) => !/:(epoch|numbers|state):/.test(key))).toEqual([]);
  });

  test('leave nothing in their inboxes when all is read, acknowledgements alone neither', async () => {
    const a = await enter(1);
    const b = await enter(1);
    const [from] = a.numbers as [number];
    const [to] = b.numbers as [number];
    const inbox = async ({ host, numbers: [n] }: typeof a): Promise<string> =>
      `thrum:inbox:${await host.ask<number>(n!, 'epoch')}:{w${n}}`;
    const [there, here] = [await inbox(a), await inbox(b)];
    const empty = async (): Promise<boolean> =>
      (await server.command('XLEN', there)) === 0 && (await server.command('XLEN', here)) === 0;
    const last = async (): Promise<string> =>
      String(((await server.command('XINFO', 'STREAM', there)) as unknown[])[7]);
    await b.host.ask(to, 'barrier');
    await until('empty inboxes', empty);
    const before = await last();
    await a.host.ask(from, 'burst', { frames: 1, perTick: 1 });
    await until('an acknowledgement', async () => (await last()) !== before);
    await until('empty inboxes', empty);
  });

  test('clean up once after one that was killed with its whole host', async () => {
    const a = await enter(2);
    const b = await enter(2);
    const doomed = await enter(1);
    const [dead] = doomed.numbers as [number];
    const epoch = await doomed.host.ask<number>(dead, 'epoch');
    const [{ pid }] = (await doomed.host.run<WorkerInfo[]>('workers')) as [WorkerInfo];
    // The supervisor first, so that nobody tells of the death.
    process.kill(doomed.host.pid, 'SIGKILL');
    process.kill(pid, 'SIGKILL');
    await until('the death being cleaned up after', async () => (await cleanings()).length > 0);
    await until('nothing being left', async () => (await departed()) === 0);
    expect(await traces(dead)).toEqual([]);
    expect(await cleanings()).toEqual([`${dead}:${epoch}`]);
    for (const { host, numbers } of [a, b]) {
      for (const number of numbers) {
        await until('everybody knowing', async () => (await events(host, number)).includes(`down ${dead}`));
        expect(await host.ask(number, 'peers')).not.toContain(dead);
        await host.ask(number, 'barrier');
      }
    }
  });

  test('are told by its pool when one dies, long before its lease ends', async () => {
    const a = await enter(1, { leaseSeconds: 300 });
    const b = await enter(2, { leaseSeconds: 300 });
    const [dead] = b.numbers as [number];
    const epoch = await b.host.ask<number>(dead, 'epoch');
    const again = b.host.next('ready');
    const [{ pid }] = (await b.host.run<WorkerInfo[]>('workers')) as [WorkerInfo];
    process.kill(pid, 'SIGKILL');
    await until('a clean-up', async () => (await cleanings()).length > 0);
    expect(await cleanings()).toEqual([`${dead}:${epoch}`]);
    await until('nothing being left', async () => (await departed()) === 0);
    expect(await traces(dead)).toEqual([]);
    const [{ number }] = (await again) as [WorkerInfo];
    await until('the news', async () => {
      const peers = await a.host.ask<number[]>(a.numbers[0]!, 'peers');
      return !peers.includes(dead) && peers.includes(number);
    });
  });

  test('clean up after a lone worker of a host when its successor is there', async () => {
    const a = await enter(1, { leaseSeconds: 300 });
    const [dead] = a.numbers as [number];
    const again = a.host.next('ready');
    const [{ pid }] = (await a.host.run<WorkerInfo[]>('workers')) as [WorkerInfo];
    process.kill(pid, 'SIGKILL');
    await again;
    await until('a clean-up', async () => (await cleanings()).length > 0);
    await until('nothing being left', async () => (await traces(dead)).length === 0);
  });

  test('take one that stood still for longer than its lease for dead, and meet it anew', async () => {
    const a = await enter(2);
    const b = await enter(1);
    const [still] = b.numbers as [number];
    const [first] = a.numbers as [number];
    const epoch = await b.host.ask<number>(still, 'epoch');
    const [{ pid }] = (await b.host.run<WorkerInfo[]>('workers')) as [WorkerInfo];
    process.kill(pid, 'SIGSTOP');
    // What nobody will ever take holds up nobody.
    await a.host.ask(first, 'burst', { frames: 100, to: [still] });
    expect(await a.host.ask<number>(first, 'barrier', undefined, 30_000)).toBeGreaterThan(0);
    await until('a clean-up', async () => (await cleanings()).length > 0);
    process.kill(pid, 'SIGCONT');
    await until('its return', async () => (await b.host.ask<number>(still, 'epoch')) > epoch);
    await until('all meeting it', async () => {
      for (const number of a.numbers) if (!(await a.host.ask<number[]>(number, 'peers')).includes(still)) return false;
      return (await b.host.ask<number[]>(still, 'peers')).length === 2;
    });
    expect(await cleanings()).toEqual([`${still}:${epoch}`]);
    const now = await b.host.ask<number>(still, 'epoch');
    expect(await events(a.host, first)).toEqual(
      expect.arrayContaining([`up ${still}`, `down ${still}`, `up ${still}`]),
    );
    await until('what is its own being written', async () => (await events(b.host, still)).includes(`renewed ${now}`));
    // No more than what Redis had handed out already.
    expect((await b.host.ask<Seen>(still, 'seen'))[first]?.frames ?? 0).toBeLessThan(100);
    expect(await a.host.ask(first, 'request', { peer: still, text: 'there?' })).toBe('there?');
    await until('the inbox of the former epoch being gone', async () => (await traces(still)).length === 2);
  });

  /** Numbers of frames, by worker. */
  type Numbers = Record<number, number[]>;
  const upTo = (count: number, from = 0): number[] => Array.from({ length: count - from }, (_, i) => from + i);

  test('get back what one that is killed had not handled, in order, sent or not', async () => {
    const a = await enter(1);
    const b = await enter(1, { backlogBytes: 64 << 20 });
    const [from] = a.numbers as [number];
    const [to] = b.numbers as [number];
    await a.host.ask(from, 'stanzas', { to, frames: 20 });
    await until('all being confirmed', async () => {
      const { peers } = await a.host.ask<{ peers: { batches: number }[] }>(from, 'status');
      return peers[0]!.batches === 0;
    });
    const [{ pid }] = (await b.host.run<WorkerInfo[]>('workers')) as [WorkerInfo];
    process.kill(pid, 'SIGSTOP');
    // More than may lie in an inbox.
    await a.host.ask(from, 'stanzas', { to, from: 20, frames: 1980, perTick: 1 });
    process.kill(pid, 'SIGKILL');
    await until('its end', async () => (await events(a.host, from)).includes(`down ${to}`));
    expect((await a.host.ask<Numbers>(from, 'back'))[to]).toEqual(upTo(2000, 20));
    // Down it was by then, and dead.
    expect((await events(a.host, from)).filter((event) => event === `back ${to} false false`)).toHaveLength(1980);
  });

  test('see to what lies in the inbox of one that is killed with the sender, one of them and once', async () => {
    // Nobody may notice before they are killed.
    const long = { leaseSeconds: 8 };
    const [a, b, c] = [await enter(1, long), await enter(1, long), await enter(2, long)];
    const [from] = a.numbers as [number];
    const [to] = b.numbers as [number];
    const others = c.numbers;
    const pids = await Promise.all(
      [a, b].map(async ({ host }) => ((await host.run<WorkerInfo[]>('workers')) as [WorkerInfo])[0].pid),
    );
    process.kill(pids[1]!, 'SIGSTOP');
    await a.host.ask(from, 'stanzas', { to, frames: 500 });
    // One that lives has sent something there, too, and gets that back itself.
    await c.host.ask(others[0]!, 'stanzas', { to, frames: 7 });
    await Promise.all([a.host.ask(from, 'landed', to), c.host.ask(others[0]!, 'landed', to)]);
    for (const host of [a.host, b.host]) process.kill(host.pid, 'SIGKILL');
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await until('nothing being left', async () => (await traces(to)).length === 0 && (await traces(from)).length === 0);
    const back = await Promise.all(others.map((number) => c.host.ask<Numbers>(number, 'back')));
    const all = back.map((one) => one[to] ?? []);
    expect(all[0]!.length + all[1]!.length).toBe(507);
    const own = all[0]!.slice(0, 7);
    expect(own).toEqual(upTo(7));
    expect([...all[0]!.slice(7), ...all[1]!]).toEqual(upTo(500));
  });

  test('get back what one did not handle that stood still and is there again; that one leaves it', async () => {
    const a = await enter(1);
    const b = await enter(1);
    const [from] = a.numbers as [number];
    const [to] = b.numbers as [number];
    const epoch = await b.host.ask<number>(to, 'epoch');
    const [{ pid }] = (await b.host.run<WorkerInfo[]>('workers')) as [WorkerInfo];
    process.kill(pid, 'SIGSTOP');
    await a.host.ask(from, 'stanzas', { to, frames: 300, perTick: 5 });
    await until('its end', async () => (await events(a.host, from)).includes(`down ${to}`));
    process.kill(pid, 'SIGCONT');
    await until('its return', async () => (await b.host.ask<number>(to, 'epoch')) > epoch);
    await until('both meeting', async () => (await a.host.ask<number[]>(from, 'peers')).includes(to));
    await a.host.ask(from, 'stanzas', { to, from: 300, frames: 5 });
    await a.host.ask(from, 'barrier', undefined, 30_000);
    expect((await a.host.ask<Numbers>(from, 'back'))[to]).toEqual(upTo(300));
    expect((await b.host.ask<Numbers>(to, 'handled'))[from]).toEqual(upTo(305, 300));
  });

  test('get back what had no room in the inbox of one that is too far behind, and that one handles the rest', async () => {
    const small = { leaseSeconds: 60, backlogBytes: 4 << 20 };
    const a = await enter(1, small);
    const b = await enter(1, small);
    const [from] = a.numbers as [number];
    const [to] = b.numbers as [number];
    const [{ pid }] = (await b.host.run<WorkerInfo[]>('workers')) as [WorkerInfo];
    await b.host.ask(to, 'stanzas', { to: from, frames: 5 });
    process.kill(pid, 'SIGSTOP');
    await a.host.ask(from, 'stanzas', { to, frames: 1451, perTick: 1 });
    await until('the gap', async () => (await events(a.host, from)).includes(`down ${to}`));
    const back = (await a.host.ask<Numbers>(from, 'back'))[to]!;
    expect((await events(a.host, from)).filter((event) => event === `back ${to} false true`)).toHaveLength(back.length);
    process.kill(pid, 'SIGCONT');
    const up = async (): Promise<number> => (await events(b.host, to)).filter((event) => event === `up ${from}`).length;
    await until('both meeting anew', async () => (await up()) === 2);
    await a.host.ask(from, 'barrier', undefined, 30_000);
    const handled = (await b.host.ask<Numbers>(to, 'handled'))[from]!;
    expect(handled.length).toBeGreaterThan(0);
    expect([...handled, ...back].sort((x, y) => x - y)).toEqual(upTo(1451));
    // So it is with what had perhaps not left the one that stood still before the other began anew.
    const there = (await a.host.ask<Numbers>(from, 'handled'))[to] ?? [];
    const here = (await b.host.ask<Numbers>(to, 'back'))[from] ?? [];
    expect([...there, ...here]).toEqual(upTo(5));
  });

  test('get again what was deleted from the inbox of one that stood still, and leave what comes twice', async () => {
    const a = await enter(1, { leaseSeconds: 60 });
    const b = await enter(1, { leaseSeconds: 60 });
    const [from] = a.numbers as [number];
    const [to] = b.numbers as [number];
    const key = `thrum:inbox:${await b.host.ask<number>(to, 'epoch')}:{w${to}}`;
    const [{ pid }] = (await b.host.run<WorkerInfo[]>('workers')) as [WorkerInfo];
    const length = async (): Promise<number> => (await server.command('XLEN', key)) as number;
    await b.host.ask(to, 'barrier');
    process.kill(pid, 'SIGSTOP');
    await server.command('XTRIM', key, 'MAXLEN', 0);
    await a.host.ask(from, 'burst', { frames: 400, perTick: 10 });
    await until('batches in the inbox', async () => (await length()) >= 4);
    const entries = (await server.command('XRANGE', key, '-', '+')) as [Buffer, [Buffer, Buffer]][];
    // The last again at the end, and the first not at all.
    const [, [envelope, frames]] = entries.at(-1)!;
    await server.command('XADD', key, '*', envelope, frames);
    await server.command('XDEL', key, String(entries[0]![0]), String(entries[2]![0]));
    process.kill(pid, 'SIGCONT');
    await a.host.ask(from, 'barrier', undefined, 30_000);
    expect((await b.host.ask<Seen>(to, 'seen'))[from]).toEqual({ frames: 400, wrong: null });
    expect(await events(b.host, to)).toEqual([`up ${from}`]);
    expect(await a.host.ask(from, 'counters')).toMatchObject({ gaps: 0, resent: expect.any(Number) as number });
  });

  test('meet anew when too much was on the way to one that stood still, and say how many frames were lost', async () => {
    const small = { leaseSeconds: 60, backlogBytes: 1 << 20 };
    const a = await enter(1, small);
    const b = await enter(1, small);
    const [from] = a.numbers as [number];
    const [to] = b.numbers as [number];
    const [{ pid }] = (await b.host.run<WorkerInfo[]>('workers')) as [WorkerInfo];
    process.kill(pid, 'SIGSTOP');
    // In one tick, so that congestion holds up nothing.
    await a.host.ask(from, 'shout', { frames: 30, size: 100_000, perTick: 1000 }).catch(() => undefined);
    await until('the gap', async () => (await events(a.host, from)).length === 3);
    expect(await events(a.host, from)).toEqual([`up ${to}`, `down ${to}`, `up ${to}`]);
    const { gaps, framesLost } = await a.host.ask<{ gaps: number; framesLost: number }>(from, 'counters');
    expect(gaps).toBe(1);
    // All that were not read, and what the bus itself had to say.
    expect(framesLost).toBeGreaterThan(20);
    expect(framesLost).toBeLessThan(35);
    const lines = await a.host.ask<{ msg: string; peer: number; frames: number }[]>(from, 'log');
    expect(lines.at(-1)).toMatchObject({
      msg: expect.stringContaining('lost') as string,
      peer: to,
      frames: framesLost,
    });
    process.kill(pid, 'SIGCONT');
    await until('both meeting anew', async () => (await events(b.host, to)).length === 3);
    expect(await events(b.host, to)).toEqual([`up ${from}`, `down ${from}`, `up ${from}`]);
    await a.host.ask(from, 'barrier');
    await b.host.ask(to, 'barrier');
    expect(await events(a.host, from)).toHaveLength(3);
  });
});
