import { describe, expect, test } from 'vitest';
import type { Directory, Entries, SessionEntry } from '../../src/cluster/directory.js';

/** Workers that share a directory. */
export interface Workers {
  /** Of the workers 1, 2, 3 … */
  directories: Directory[];
  /** That worker is dead; resolves when the others know, and one of them was asked to sweep. */
  kill(worker: number): Promise<void>;
}

export const entry = (worker: number, id: string, more: Partial<SessionEntry> = {}): SessionEntry => ({
  bare: 'a@x',
  resource: 'r',
  worker,
  id,
  available: true,
  priority: 0,
  ...more,
});

export async function seen(directory: Directory, bare: string): Promise<Entries> {
  const entries = await directory.remote(bare);
  return [...entries].sort((a, b) => (a.resource < b.resource ? -1 : 1));
}

const KEEP = { replace: false, room: Infinity };

/** What every directory of several workers must do. `open` gives an empty one. */
export function directoryConforms(name: string, open: (workers: number) => Promise<Workers>): void {
  describe(`${name} conforms`, () => {
    test('a bound resource is seen by every other worker when bind has resolved, also where its absence was remembered', async () => {
      const { directories } = await open(3);
      for (let i = 0; i < 20; i++) {
        const bare = `sensor${i}@x`;
        for (const directory of directories) expect(await seen(directory, bare)).toEqual([]);
        const binder = (i % 3) + 1;
        const bound = entry(binder, `s${i}`, { bare, priority: -5, available: false });
        await directories[binder - 1]!.bind(bound);
        for (const number of [1, 2, 3]) {
          expect(await seen(directories[number - 1]!, bare)).toEqual(number === binder ? [] : [bound]);
        }
      }
      await expect.poll(() => directories[0]!.count(), { timeout: 10_000 }).toBe(20);
    });

    test('a change is seen by every other worker when update has resolved; that of a displaced session is none', async () => {
      const { directories } = await open(2);
      const [one, two] = directories as [Directory, Directory];
      expect(await one.bind(entry(1, '1.one'))).toBe(undefined);
      expect(await one.bind(entry(1, '1.other', { resource: 'q' }))).toBe(undefined);
      for (const priority of [7, -128, 127, 0, 5]) {
        const available = priority > 0;
        await one.update(entry(1, '1.one', { priority, available }));
        expect(await seen(two, 'a@x')).toEqual([
          entry(1, '1.other', { resource: 'q' }),
          entry(1, '1.one', { priority, available }),
        ]);
      }
      expect(await two.bind(entry(2, '2.two'))).toEqual(entry(1, '1.one', { priority: 5 }));
      await one.update(entry(1, '1.one', { priority: 9 }));
      one.unbind(entry(1, '1.one'));
      expect(await one.bind(entry(1, '1.again', { resource: 'q' }))).toMatchObject({ id: '1.other', worker: 1 });
      expect(await seen(one, 'a@x')).toEqual([entry(2, '2.two')]);
      two.unbind(entry(2, '2.two'));
      await expect.poll(() => seen(one, 'a@x')).toEqual([]);
      expect(await seen(two, 'a@x')).toEqual([entry(1, '1.again', { resource: 'q' })]);
    });

    test('a session that came after many changes in one tick is as the last of them says', async () => {
      const { directories } = await open(2);
      const [one, two] = directories as [Directory, Directory];
      const bound = one.bind(entry(1, '1.one', { available: false }));
      for (let priority = 0; priority < 50; priority++) void one.update(entry(1, '1.one', { priority }));
      await bound;
      await one.update(entry(1, '1.one', { priority: 50 }));
      expect(await seen(two, 'a@x')).toEqual([entry(1, '1.one', { priority: 50 })]);
    });

    test('where resources are not replaced the first has it, on every worker', async () => {
      const { directories } = await open(3);
      const [one, two, three] = directories as [Directory, Directory, Directory];
      expect(await one.bind(entry(1, '1.one'), KEEP)).toBe(undefined);
      expect(await two.bind(entry(2, '2.one'), KEEP)).toBe('taken');
      await two.update(entry(2, '2.one', { priority: 9 }));
      two.unbind(entry(2, '2.one'));
      expect(await seen(three, 'a@x')).toEqual([entry(1, '1.one')]);
      const all = await Promise.all(
        directories.flatMap((directory, i) =>
          Array.from({ length: 20 }, (_, n) => directory.bind(entry(i + 1, `${i + 1}.${n}`, { bare: 'b@x' }), KEEP)),
        ),
      );
      expect(all.filter((outcome) => outcome === undefined)).toHaveLength(1);
      expect(all.filter((outcome) => outcome === 'taken')).toHaveLength(59);
      one.unbind(entry(1, '1.one'));
      expect(await one.bind(entry(1, '1.next'), KEEP)).toBe(undefined);
      one.unbind(entry(1, '1.next'));
      await expect.poll(() => two.bind(entry(2, '2.next'), KEEP)).toBe(undefined);
    });

    test('an account has no more sessions than it may have, unless one replaces another', async () => {
      const { directories } = await open(2);
      const [one, two] = directories as [Directory, Directory];
      const session = (worker: number, n: number, id = n) => entry(worker, `${worker}.${id}`, { resource: `r${n}` });
      expect(await one.bind(session(1, 1), { replace: true, room: 3 })).toBe(undefined);
      expect(await one.bind(session(1, 2), { replace: true, room: 2 })).toBe(undefined);
      expect(await two.bind(session(2, 3), { replace: true, room: 3 })).toBe(undefined);
      expect(await two.bind(session(2, 4), { replace: true, room: 2 })).toBe('too-many');
      expect(await one.bind(session(1, 4), { replace: true, room: 1 })).toBe('too-many');
      expect(await two.bind(session(2, 1), { replace: true, room: 2 })).toEqual(session(1, 1));
      expect(await seen(one, 'a@x')).toEqual([session(2, 1), session(2, 3)]);
      expect(await seen(two, 'a@x')).toEqual([session(1, 2)]);
    });

    test('a session that another worker adopts is there for everybody, and its old holder can do it no harm', async () => {
      const { directories } = await open(3);
      const [one, two, three] = directories as [Directory, Directory, Directory];
      await one.bind(entry(1, '1.s'));
      expect(await seen(three, 'a@x')).toEqual([entry(1, '1.s')]);
      expect(await two.adopt(entry(2, '1.s', { priority: 3 }))).toBe(true);
      expect(await seen(three, 'a@x')).toEqual([entry(2, '1.s', { priority: 3 })]);
      one.unbind(entry(1, '1.s'));
      await one.bind(entry(1, '1.t', { resource: 'later' }));
      expect(await seen(three, 'a@x')).toEqual([
        entry(1, '1.t', { resource: 'later' }),
        entry(2, '1.s', { priority: 3 }),
      ]);
      await three.bind(entry(3, '3.new'));
      expect(await one.adopt(entry(1, '1.s'))).toBe(false);
      expect(await seen(one, 'a@x')).toEqual([entry(3, '3.new')]);
    });

    test('a session that ends while it is bound leaves no ghost', async () => {
      const { directories } = await open(2);
      await Promise.all(
        Array.from({ length: 50 }, async (_, i) => {
          const directory = directories[i % 2]!;
          const own = entry((i % 2) + 1, `${(i % 2) + 1}.${i}`);
          const bound = directory.bind(own);
          directory.unbind(own);
          await bound;
        }),
      );
      for (const directory of directories) await expect.poll(() => seen(directory, 'a@x')).toEqual([]);
      await expect.poll(() => directories[0]!.count(), { timeout: 10_000 }).toBe(0);
    });

    test('of simultaneous binds of one full JID exactly one survives, and every other is told to somebody', async () => {
      const { directories } = await open(3);
      const outcomes = await Promise.all(
        Array.from({ length: 600 }, async (_, i) => {
          const worker = (i % 3) + 1;
          const own = entry(worker, `${worker}.${i}`, { bare: `device${i % 50}@x` });
          return { own, displaced: await directories[worker - 1]!.bind(own) };
        }),
      );
      for (let n = 0; n < 50; n++) {
        const bare = `device${n}@x`;
        const bound = outcomes.filter(({ own }) => own.bare === bare);
        const told = bound.flatMap(({ displaced }) => (typeof displaced === 'object' ? [displaced.id] : []));
        expect(new Set(told).size).toBe(told.length);
        const survivors = bound.filter(({ own }) => !told.includes(own.id)).map(({ own }) => own);
        expect(survivors).toHaveLength(1);
        for (const worker of [1, 2, 3]) {
          const elsewhere = survivors.filter((survivor) => survivor.worker !== worker);
          expect(await seen(directories[worker - 1]!, bare)).toEqual(elsewhere);
        }
      }
    });

    test('a dead worker takes its entries with it: unseen at once, removed once, nobody told to kick them', async () => {
      const { directories, kill } = await open(3);
      const [one, two, three] = directories as [Directory, Directory, Directory];
      const bares = Array.from({ length: 700 }, (_, i) => `device${i}@x`);
      await Promise.all(bares.map((bare, i) => two.bind(entry(2, `2.${i}`, { bare }))));
      await one.bind(entry(1, '1.mine', { bare: bares[5]!, resource: 'mine' }));
      for (const bare of bares.slice(0, 50)) expect(await three.remote(bare)).not.toEqual([]);
      await kill(2);
      for (const bare of bares.slice(10, 60)) expect(await seen(three, bare)).toEqual([]);
      expect(await seen(three, bares[5]!)).toEqual([entry(1, '1.mine', { bare: bares[5]!, resource: 'mine' })]);
      expect(await three.bind(entry(3, '3.new', { bare: bares[0]! }), { replace: false, room: 1 })).toBe(undefined);
      expect(await seen(one, bares[0]!)).toEqual([entry(3, '3.new', { bare: bares[0]! })]);
      await expect.poll(() => one.count(), { timeout: 10_000 }).toBe(2);
    });

    test('addresses of any length and alphabet have entries of their own', async () => {
      const { directories } = await open(2);
      const [one, two] = directories as [Directory, Directory];
      const long = 'ü'.repeat(500);
      const addresses = [
        { bare: `${long}@x`, resource: long },
        { bare: `${long}@x`, resource: `${long}1` },
        { bare: `${long}1@x`, resource: long },
        { bare: 'a@x', resource: '\u{1f600}/\u00e9 x' },
        { bare: 'a@x.y', resource: 'r' },
        { bare: '{d001}:a{b}@x', resource: '{c} / ]' },
        { bare: 'a%*?[b-c]@x', resource: '%d+ 1 2' },
      ];
      for (const [i, address] of addresses.entries()) {
        expect(await one.bind(entry(1, `1.${i}`, address))).toBe(undefined);
      }
      for (const { bare } of addresses) {
        const expected = addresses.flatMap((address, i) =>
          address.bare === bare ? [entry(1, `1.${i}`, address)] : [],
        );
        expect(await seen(two, bare)).toEqual(expected);
      }
      for (const [i, address] of addresses.entries()) one.unbind(entry(1, `1.${i}`, address));
      for (const { bare } of addresses) await expect.poll(() => seen(two, bare)).toEqual([]);
      await expect.poll(() => two.count(), { timeout: 10_000 }).toBe(0);
    });
  });
}
