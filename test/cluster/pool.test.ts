import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { WorkerInfo } from '../../src/cluster/supervisor.js';
import { build, pool, temporary } from './pool.js';

beforeAll(build);

const gone = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
};
type Seen = Record<number, { frames: number; wrong: string | null }>;

test('workers start, know each other, and answer the supervisor and are answered', async () => {
  const p = pool({ workers: 3, settings: { a: [1] } });
  const workers = await p.start();
  expect(workers.map(({ slot, number, ready }) => ({ slot, number, ready }))).toEqual(
    [0, 1, 2].map((slot) => ({ slot, number: slot + 1, ready: { slot } })),
  );
  expect(await p.ask(1, 'peers')).toEqual(expect.arrayContaining([2, 3]));
  expect(await p.ask(2, 'toSupervisor', { x: 'ü' })).toEqual({ body: { x: 'ü' }, slot: 1 });
  expect(await p.ask(1, 'request', { peer: 3, text: 'ab' })).toBe('abab');
  expect(await p.run('askAll', { name: 'seen' })).toEqual([{}, {}, {}]);
  await expect(p.ask(1, 'nonsense')).rejects.toThrow("nobody handles 'nonsense'");
  await expect(p.ask(99, 'seen')).rejects.toThrow('worker 99 is dead');
  await expect(p.ask(1, 'block', 300, 50)).rejects.toThrow("worker 1 does not answer 'block'");
});

test('order holds between processes under load, both ways', async () => {
  const p = pool({ workers: 3 });
  await p.start();
  const frames = 20_000;
  await Promise.all([1, 2, 3].map((number) => p.ask(number, 'burst', { frames, size: 300 }, 30_000)));
  for (const number of [1, 2, 3]) await p.ask(number, 'barrier');
  for (const number of [1, 2, 3]) {
    const seen = await p.ask<Seen>(number, 'seen');
    expect(Object.values(seen)).toEqual([
      { frames, wrong: null },
      { frames, wrong: null },
    ]);
  }
});

test('a lone worker has no socket, no peers and barriers that cost nothing', async () => {
  const p = pool({ workers: 1 });
  await p.start();
  expect(await p.ask(1, 'peers')).toEqual([]);
  await p.ask(1, 'burst', { frames: 10 });
  await p.ask(1, 'barrier');
  expect(await p.ask(1, 'counters')).toMatchObject({ busFramesOut: 0 });
});

test('a worker killed mid-stream leaves the others in order, and its successor is a new peer', async () => {
  const p = pool({ workers: 3 });
  const workers = await p.start();
  const bursts = [1, 3].map((number) => p.ask(number, 'burst', { frames: 20_000, perTick: 10 }, 30_000));
  const doomed = p.ask(2, 'burst', { frames: 1_000_000, perTick: 10 }, 60_000).catch((error: Error) => error.message);
  await p.ask(2, 'counters');
  const again = p.next('ready');
  process.kill(workers[1]!.pid, 'SIGKILL');
  expect(await doomed).toBe('worker 2 is dead');
  await Promise.all(bursts);
  const [successor] = (await again) as [WorkerInfo];
  expect(successor).toMatchObject({ slot: 1, number: 4 });
  for (const number of [1, 3]) {
    expect(await p.ask(number, 'peers')).toEqual(expect.arrayContaining([4 - number, 4]));
    const seen = await p.ask<Seen>(number, 'seen');
    for (const { wrong } of Object.values(seen)) expect(wrong).toBe(null);
    expect(seen[4 - number]!.frames).toBe(20_000);
  }
  expect((await p.run<WorkerInfo[]>('workers')).map(({ number }) => number)).toEqual([1, 4, 3]);
});

test('a stopped worker holds up nobody: it is cut, killed and replaced', async () => {
  const p = pool({ workers: 3 });
  const workers = await p.start();
  process.kill(workers[2]!.pid, 'SIGSTOP');
  const exit = p.next('exit');
  const again = p.next('ready');
  // The bound of 4 MiB is passed twice over: cut without waiting for the stall bound.
  await p.ask(1, 'burst', { frames: 100, size: 100_000, perTick: 1, heedless: true });
  await p.ask(1, 'barrier');
  expect((await p.ask<Seen>(2, 'seen'))[1]).toEqual({ frames: 100, wrong: null });
  expect(await exit).toEqual([expect.objectContaining({ number: 3 }), null, 'SIGKILL']);
  expect(await again).toEqual([expect.objectContaining({ slot: 2, number: 4 })]);
  await p.ask(4, 'barrier');
  expect((await p.ask<boolean[]>(1, 'congestion')).slice(0, 2)).toEqual([true, false]);
});

test.each([
  ['throws', 'crash', 'crash as asked'],
  ['rejects without a handler', 'reject', 'rejection as asked'],
])('a worker that %s is logged, ends with code 1 and is replaced', async (_what, op, text) => {
  const p = pool({ workers: 2 });
  await p.start();
  const exit = p.next('exit');
  const again = p.next('ready');
  await p.ask(1, op);
  expect(await exit).toEqual([expect.objectContaining({ number: 1 }), 1, null]);
  await again;
  const lines = await p.run<{ msg: string; stack?: string }[]>('log');
  expect(lines[0]).toMatchObject({ msg: text, stack: expect.stringContaining('worker.mjs') });
  expect(lines[1]!.msg).toBe(`worker died: ${text}`);
});

test('a worker that cannot start again is tried with growing pauses and reported', async () => {
  const p = pool({ workers: 2, settings: { crashAfterFirst: true } });
  await p.start();
  const failing = p.next('failing');
  await p.ask(2, 'exit', 7).catch(() => undefined);
  expect(await failing).toEqual([1, 'worker 1 exited with code 3']);
  const lines = await p.run<{ msg: string; restartInMs?: number; level: number }[]>('log');
  const waits = lines.flatMap(({ restartInMs }) => restartInMs ?? []);
  expect(waits).toHaveLength(3);
  for (const [i, wait] of waits.entries()) {
    expect(wait).toBeGreaterThanOrEqual(50 * 2 ** i);
    expect(wait).toBeLessThanOrEqual(100 * 2 ** i);
  }
  expect(lines.at(-1)).toMatchObject({ level: 50, msg: 'worker died 3 times in a row: worker 1 exited with code 3' });
  expect(await p.ask(1, 'peers')).toEqual([]);
});

test('a worker that cannot start fails the start with its text, and no process stays', async () => {
  const p = pool({ workers: 3, settings: { failSlot: 1 } });
  await expect(p.start()).rejects.toThrow('port 5222 is in use');
  expect(await p.run('workers')).toEqual([]);
});

test.each([
  [{ settings: { throwAtStart: true } }, 'the store is locked'],
  [{ entry: '/nowhere/worker.mjs' }, 'exited with code 1'],
])('a start that ends in an exception or without a word is told: %j', async (options, text) => {
  await expect(pool(options).start()).rejects.toThrow(text);
});

test('stop drains all workers before any leaves the bus, and they end with code 0', async () => {
  const directory = await temporary();
  const diary = join(directory, 'diary');
  const runDirectory = join(directory, 'run');
  const p = pool({ workers: 2, runDirectory, settings: { diary, drainMs: 50, burstAtDrain: 1000 } });
  await p.start();
  expect(existsSync(join(runDirectory, '1.sock'))).toBe(true);
  const exit = p.next('exit');
  await p.run('stop');
  expect((await exit).slice(1)).toEqual([0, null]);
  const lines = readFileSync(diary, 'utf8').trim().split('\n').sort();
  const saw = 'saw [{"frames":1000,"wrong":null}]';
  expect(lines).toEqual([0, 1].flatMap((slot) => [`${slot} drain`, `${slot} drained`, `${slot} ${saw}`]));
  expect(existsSync(runDirectory)).toBe(false);
});

test('a drain that takes longer than grace and margin is ended', async () => {
  const p = pool({ workers: 2, graceSeconds: 0, settings: { drainMs: 600_000 } });
  const workers = await p.start();
  await p.run('stop');
  for (const { pid } of workers) expect(gone(pid)).toBe(true);
  const lines = await p.run<{ msg: string }[]>('log');
  expect(lines.map(({ msg }) => msg)).toEqual(['worker did not drain', 'worker did not drain']);
});

test('reload reaches every worker, and its first error is told', async () => {
  const diary = join(await temporary(), 'diary');
  const p = pool({ settings: { diary } });
  await p.start();
  await p.run('reload');
  expect(readFileSync(diary, 'utf8').trim().split('\n').sort()).toEqual(['0 reload', '1 reload']);
  const bad = pool({ settings: { reloadError: 'certificate expired' } });
  await bad.start();
  await expect(bad.run('reload')).rejects.toThrow('certificate expired');
});

test('a worker sent SIGTERM drains and is replaced at once; the group signals of a terminal are left to the primary', async () => {
  const p = pool({});
  const workers = await p.start();
  process.kill(workers[0]!.pid, 'SIGINT');
  process.kill(workers[0]!.pid, 'SIGHUP');
  const exit = p.next('exit');
  const again = p.next('ready');
  process.kill(workers[0]!.pid, 'SIGTERM');
  expect(await exit).toEqual([expect.objectContaining({ number: 1 }), 0, null]);
  expect(await again).toEqual([expect.objectContaining({ slot: 0, number: 3 })]);
  expect(await p.run('log')).toEqual([]);
});

test('when the supervisor is killed, workers drain and end, and leave no socket', async () => {
  const directory = await temporary();
  const diary = join(directory, 'diary');
  const runDirectory = join(directory, 'run');
  const p = pool({ runDirectory, settings: { diary, drainMs: 20 } });
  const workers = await p.start();
  process.kill(p.pid, 'SIGKILL');
  await expect.poll(() => workers.every(({ pid }) => gone(pid)), { timeout: 5000 }).toBe(true);
  const lines = readFileSync(diary, 'utf8').trim().split('\n').sort();
  expect(lines).toEqual([0, 1].flatMap((slot) => [`${slot} drain`, `${slot} drained`]));
  expect(existsSync(runDirectory)).toBe(false);
});
