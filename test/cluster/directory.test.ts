import { beforeAll, expect, test } from 'vitest';
import type { SessionEntry } from '../../src/cluster/directory.js';
import type { WorkerInfo } from '../../src/cluster/supervisor.js';
import { MemoryDirectory } from '../../src/cluster/memory-directory.js';
import { build, pool, temporary, type Pool } from './pool.js';

beforeAll(build);

async function directories(workers: number): Promise<Pool> {
  const p = pool({ workers, settings: { dataDir: await temporary() } });
  await p.start();
  return p;
}

const entry = (worker: number, id: string, more: Partial<SessionEntry> = {}): SessionEntry => ({
  bare: 'a@x',
  resource: 'r',
  worker,
  id,
  available: true,
  priority: 0,
  ...more,
});

test('a bound resource is seen by every other worker when bind has resolved, also where its absence was remembered', async () => {
  const p = await directories(3);
  for (let i = 0; i < 20; i++) {
    const bare = `sensor${i}@x`;
    for (const number of [1, 2, 3]) expect(await p.ask(number, 'remote', bare)).toEqual([]);
    const binder = (i % 3) + 1;
    await p.ask(binder, 'bind', { bare, id: `s${i}`, priority: -5, available: false });
    const seen = [entry(binder, `s${i}`, { bare, priority: -5, available: false })];
    for (const number of [1, 2, 3]) {
      expect(await p.ask(number, 'remote', bare)).toEqual(number === binder ? [] : seen);
    }
  }
  expect(await p.ask(1, 'count')).toBe(20);
});

test('updates and unbinds of the holder are seen; those of a displaced session do nothing', async () => {
  const p = await directories(2);
  expect(await p.ask(1, 'bind', { bare: 'a@x', id: 'one' })).toBe(null);
  expect(await p.ask(1, 'bind', { bare: 'a@x', resource: 'q', id: 'other' })).toBe(null);
  await p.ask(1, 'update', { bare: 'a@x', id: 'one', priority: 7 });
  await expect
    .poll(() => p.ask(2, 'remote', 'a@x'))
    .toEqual([entry(1, 'other', { resource: 'q' }), entry(1, 'one', { priority: 7 })]);
  expect(await p.ask(2, 'bind', { bare: 'a@x', id: 'two' })).toEqual(entry(1, 'one', { priority: 7 }));
  await p.ask(1, 'update', { bare: 'a@x', id: 'one', priority: 9 });
  await p.ask(1, 'unbind', { bare: 'a@x', id: 'one' });
  await p.ask(1, 'bind', { bare: 'b@x', id: 'later' }); // the same shard's writes keep their order
  expect(await p.ask(1, 'remote', 'a@x')).toEqual([entry(2, 'two')]);
  expect(await p.ask(1, 'bind', { bare: 'a@x', resource: 'q', id: 'again' })).toMatchObject({ id: 'other', worker: 1 });
  await p.ask(2, 'unbind', { bare: 'a@x', id: 'two' });
  await expect.poll(() => p.ask(1, 'remote', 'a@x')).toEqual([]);
  expect(await p.ask(1, 'count')).toBe(2);
});

test('a session that another worker adopts is there for everybody, and its old holder can do it no harm', async () => {
  const p = await directories(3);
  await p.ask(1, 'bind', { bare: 'a@x', id: 'one', priority: 3 });
  expect(await p.ask(3, 'remote', 'a@x')).toEqual([entry(1, 'one', { priority: 3 })]);
  expect(await p.ask(2, 'adopt', { bare: 'a@x', id: 'one', priority: 3 })).toBe(true);
  const there = [entry(2, 'one', { priority: 3 })];
  for (const number of [1, 3]) expect(await p.ask(number, 'remote', 'a@x')).toEqual(there);
  expect(await p.ask(2, 'remote', 'a@x')).toEqual([]);
  await p.ask(1, 'update', { bare: 'a@x', id: 'one', priority: 9 });
  await p.ask(1, 'unbind', { bare: 'a@x', id: 'one' });
  await p.ask(1, 'bind', { bare: 'b@x', id: 'later' }); // the same shard's writes keep their order
  expect(await p.ask(3, 'remote', 'a@x')).toEqual(there);
  // And back, and again, each time with the right to unbind.
  expect(await p.ask(1, 'adopt', { bare: 'a@x', id: 'one' })).toBe(true);
  expect(await p.ask(2, 'remote', 'a@x')).toEqual([entry(1, 'one')]);
  await p.ask(1, 'unbind', { bare: 'a@x', id: 'one' });
  await expect.poll(() => p.ask(2, 'remote', 'a@x')).toEqual([]);
});

test('a session whose resource another one took meanwhile is not adopted', async () => {
  const p = await directories(3);
  await p.ask(1, 'bind', { bare: 'a@x', id: 'one' });
  await p.ask(3, 'bind', { bare: 'a@x', id: 'two' });
  expect(await p.ask(2, 'adopt', { bare: 'a@x', id: 'one' })).toBe(false);
  await p.ask(2, 'unbind', { bare: 'a@x', id: 'one' });
  expect(await p.ask(1, 'remote', 'a@x')).toEqual([entry(3, 'two')]);
  // Nobody has it: that is no hindrance.
  expect(await p.ask(2, 'adopt', { bare: 'b@x', id: 'three' })).toBe(true);
  expect(await p.ask(1, 'remote', 'b@x')).toEqual([entry(2, 'three', { bare: 'b@x' })]);
});

test('a session that ends while it is bound leaves no ghost', async () => {
  const p = await directories(2);
  await Promise.all(
    Array.from({ length: 50 }, (_, i) => p.ask(1 + (i % 2), 'bindAndLeave', { bare: 'a@x', id: `s${i}` })),
  );
  await expect.poll(() => p.ask(1, 'count')).toBe(0);
});

test('of simultaneous binds of one full JID exactly one survives, and every other is told to somebody', async () => {
  const p = await directories(3);
  const bares = Array.from({ length: 300 }, (_, i) => `device${i % 100}@x`);
  type Outcome = { own: SessionEntry; displaced?: SessionEntry }[];
  const outcomes = await Promise.all([1, 2, 3].map((number) => p.ask<Outcome>(number, 'bindMany', { bares }, 20_000)));
  const all = outcomes.flat();
  for (const bare of new Set(bares)) {
    const bound = all.filter(({ own }) => own.bare === bare);
    const told = bound.flatMap(({ displaced }) => (displaced ? [displaced.id] : []));
    expect(new Set(told).size).toBe(told.length);
    const survivors = bound.filter(({ own }) => !told.includes(own.id)).map(({ own }) => own);
    expect(survivors).toHaveLength(1);
    for (const number of [1, 2, 3]) {
      expect(await p.ask(number, 'remote', bare)).toEqual(survivors[0]!.worker === number ? [] : survivors);
    }
  }
  expect(await p.ask(1, 'count')).toBe(100);
});

test('a dead worker takes its entries with it: unseen at once, removed once, nobody told to kick them', async () => {
  const p = await directories(3);
  const bares = Array.from({ length: 1700 }, (_, i) => `device${i}@x`);
  await p.ask(2, 'bindMany', { bares }, 20_000);
  await p.ask(1, 'bindMany', { bares: ['mine@x'] });
  for (const bare of bares.slice(0, 50)) expect(await p.ask(3, 'remote', bare)).toHaveLength(1);
  const again = p.next('ready');
  void p.ask(2, 'exit', 9).catch(() => undefined);
  await expect.poll(() => p.ask(3, 'peers')).toEqual([1]);
  for (const bare of bares.slice(0, 100)) expect(await p.ask(3, 'remote', bare)).toEqual([]);
  expect(await p.ask(3, 'bind', { bare: bares[0], id: 'new' })).toBe(null);
  await expect.poll(() => p.ask(1, 'count')).toBe(2);
  expect(await p.ask(1, 'remote', bares[0])).toEqual([entry(3, 'new', { bare: bares[0] })]);
  await again;
  expect(await p.ask(4, 'remote', 'mine@x')).toHaveLength(1);
  expect(await p.ask(1, 'count')).toBe(2);
});

test('workers killed amid their binds leave consistent tables behind', async () => {
  const p = await directories(3);
  const workers = await p.run<WorkerInfo[]>('workers');
  const bares = Array.from({ length: 20_000 }, (_, i) => `device${i}@x`);
  const doomed = p.ask(2, 'bindMany', { bares }, 60_000).catch(() => 'dead');
  await expect.poll(() => p.ask<number>(1, 'count'), { interval: 1, timeout: 20_000 }).toBeGreaterThan(0);
  const again = p.next('ready');
  process.kill(workers[1]!.pid, 'SIGKILL');
  expect(await doomed).toBe('dead');
  await again;
  await expect.poll(() => p.ask(1, 'count'), { timeout: 20_000 }).toBe(0);
  for (const number of [1, 3, 4]) await p.ask(number, 'bindMany', { bares: bares.slice(0, 100) });
  expect(await p.ask(3, 'count')).toBe(100);
});

test('a stopped worker does not hold up the binds of others', async () => {
  const p = await directories(3);
  const [, , stopped] = await p.run<WorkerInfo[]>('workers');
  process.kill(stopped!.pid, 'SIGSTOP');
  // In less than the five seconds that an answer may take, let alone the ten until the worker is given up.
  await p.ask(1, 'bind', { bare: 'a@x', id: 'one' });
  expect(await p.ask(2, 'remote', 'a@x')).toEqual([entry(1, 'one')]);
  process.kill(stopped!.pid, 'SIGKILL');
});

test('addresses of any length and alphabet have entries of their own', async () => {
  const p = await directories(2);
  const long = 'ü'.repeat(500);
  const addresses = [
    { bare: `${long}@x`, resource: long },
    { bare: `${long}@x`, resource: `${long}1` },
    { bare: `${long}1@x`, resource: long },
    { bare: 'a@x', resource: '\u{1f600}/\u00e9 x' },
    { bare: 'a@x.y', resource: 'r' },
  ];
  for (const [i, address] of addresses.entries()) {
    expect(await p.ask(1, 'bind', { ...address, id: `s${i}` })).toBe(null);
  }
  const ids = async (bare: string): Promise<string[]> =>
    (await p.ask<SessionEntry[]>(2, 'remote', bare)).map(({ id, resource }) => `${id} ${resource}`).sort();
  expect(await ids(`${long}@x`)).toEqual([`s0 ${long}`, `s1 ${long}1`]);
  expect(await ids(`${long}1@x`)).toEqual([`s2 ${long}`]);
  expect(await ids('a@x')).toEqual(['s3 \u{1f600}/\u00e9 x']);
  for (const [i, address] of addresses.entries()) await p.ask(1, 'unbind', { ...address, id: `s${i}` });
  await expect.poll(() => p.ask(2, 'count')).toBe(0);
});

test('the directory of a lone worker displaces, updates and forgets by the same rules', async () => {
  const directory = new MemoryDirectory();
  expect(await directory.bind(entry(1, 'one'))).toBe(undefined);
  expect(await directory.bind(entry(1, 'two'))).toEqual(entry(1, 'one'));
  directory.update(entry(1, 'one', { priority: 3 }));
  directory.unbind(entry(1, 'one'));
  expect(directory.count()).toBe(1);
  expect(await directory.bind(entry(1, 'three'))).toEqual(entry(1, 'two'));
  expect(await directory.adopt(entry(1, 'two'))).toBe(false);
  expect(await directory.adopt(entry(1, 'three'))).toBe(true);
  directory.unbind(entry(1, 'three'));
  expect(directory.count()).toBe(0);
  expect(directory.remote()).toEqual([]);
});
