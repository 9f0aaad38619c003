import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CheckpointFile } from '../../src/migration/checkpoint.js';
import type { Counts } from '../../src/migration/copy.js';
import { MigrationRefused, transfer, verify, type Migration } from '../../src/migration/migrate.js';
import { walk } from '../../src/migration/walk.js';
import { markInFolder } from '../../src/store/filling.js';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.js';
import { MemoryStore } from '../../src/store/memory.js';
import { openStore } from '../../src/store/open.js';
import type { ItemRecord, Store } from '../../src/store/store.js';
import { account, item, node, subscription } from '../store/records.js';
import { fill } from './stores.js';

let folder: string;
const open: Store[] = [];
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'thrum-migrate-'))));
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close()));
  rmSync(folder, { recursive: true, force: true });
});

function lmdb(name: string): Store {
  const store = LmdbStore.open({ path: join(folder, name), durability: 'commit' });
  open.push(store);
  return store;
}

function migration(source: Store, target: Store, more: Partial<Migration> = {}): Migration {
  return {
    source,
    target,
    names: { source: 'here', target: 'there' },
    route: 'from here to there',
    mark: markInFolder(folder),
    file: new CheckpointFile(folder),
    signal: new AbortController().signal,
    progress: { begin: () => undefined, at: () => undefined },
    ...more,
  };
}

describe('a migration', () => {
  it('moves everything, there and back', async () => {
    const [first, memory, last] = [lmdb('first'), new MemoryStore(), lmdb('last')];
    await fill(first);
    const small = Array.from({ length: 70 }, (_, i) => i % 50).reduce((a, b) => a + b, 0);
    for (const [source, target] of [
      [first, memory],
      [memory, last],
    ] as const) {
      const moved = migration(source, target);
      expect(await transfer(moved)).toBe(true);
      const { difference, source: a, target: b } = await verify(moved);
      expect(difference).toBeUndefined();
      expect(b).toEqual(a);
      expect(a.accounts.count).toBe(1201);
      expect(a.items.count).toBe(700 + small);
      await moved.file.remove();
    }
    expect(await last.items.latest('big', 1)).toMatchObject([{ id: 'big-0', published: 1 }]);
    expect(await last.nodes.get('sensors/7')).toEqual(await first.nodes.get('sensors/7'));
  });

  it('keeps all others from what it has not filled to the end', async () => {
    const source = new MemoryStore();
    await fill(source, { accounts: 10, nodes: 1, items: 1 });
    const target = lmdb('target');
    const path = join(folder, 'target');
    const moved = migration(source, target, { mark: markInFolder(path) });
    expect(await transfer(moved)).toBe(true);
    const opening = () => openStore({ kind: 'lmdb', path, durability: 'commit' });
    await expect(opening()).rejects.toThrow(/^A migration from here to there is under way, or was not finished/);
    await moved.mark.remove();
    await (await opening()).close();
  });

  it('says so when somebody else empties the target under it', async () => {
    const source = new MemoryStore();
    await fill(source, { accounts: 10, nodes: 1, items: 1 });
    const target = new MemoryStore();
    const create = target.nodes.create.bind(target.nodes);
    target.nodes.create = async (record) => (await create(record)) && target.nodes.remove(record.name);
    await expect(transfer(migration(source, target))).rejects.toMatchObject({
      name: 'MigrationRefused',
      message: expect.stringContaining('somebody else changes the target') as string,
      hint: expect.stringContaining('empty it, and run the same command again') as string,
    });
  });

  it('goes on where it failed, wherever that was', async () => {
    const source = new MemoryStore();
    await fill(source, { accounts: 600, nodes: 40, items: 100 });
    const target = lmdb('target');
    let attempts = 0;
    let writes = 0;
    for (let done = false; !done; attempts++) {
      let left = 150 * (attempts + 1);
      const failing = disturbed(target, () => {
        writes++;
        if (left-- <= 0) throw new Error('the line is cut');
      });
      done = await transfer(migration(source, failing)).catch((error: Error) => {
        expect(error.message).toBe('the line is cut');
        return false;
      });
    }
    expect(attempts).toBeGreaterThan(3);
    const { difference, source: digest } = await verify(migration(source, target));
    expect(difference).toBeUndefined();
    // What was done before was not done again.
    const all = Object.values(digest).reduce((sum, { count }) => sum + count, 0);
    expect(writes).toBeLessThan(all * 3);
  });

  it('ends at a batch when it is told to, and keeps how far it came', async () => {
    const [source, target] = [new MemoryStore(), new MemoryStore()];
    await fill(source);
    const stop = new AbortController();
    const seen: number[] = [];
    const progress = {
      begin: () => undefined,
      at: (counts: Counts) => {
        seen.push(counts.items);
        if (counts.accounts > 0) stop.abort();
      },
    };
    const run = (signal: AbortSignal) => transfer(migration(source, target, { progress, signal }));
    expect(await run(stop.signal)).toBe(false);
    expect(JSON.parse(readFileSync(join(folder, 'migration.json'), 'utf8'))).toMatchObject({ copied: false });
    expect(await run(new AbortController().signal)).toBe(true);
    expect((await verify(migration(source, target))).difference).toBeUndefined();
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  it('counts anew when it was stopped while it counted', async () => {
    const source = new MemoryStore();
    for (let i = 0; i < 1200; i++) {
      await source.nodes.create(node(`n${i}`));
      await source.items.publish(`n${i}`, item('i'), 1);
    }
    const [target, stop] = [new MemoryStore(), new AbortController()];
    const { count } = source.items;
    source.items.count = (name) => (stop.abort(), count.call(source.items, name));
    expect(await transfer(migration(source, target, { signal: stop.signal }))).toBe(false);
    expect(await target.nodes.count()).toBe(0);
    const totals: (number | undefined)[] = [];
    const progress = {
      begin: (_title: string, total?: Counts) => void totals.push(total?.items),
      at: () => undefined,
    };
    expect(await transfer(migration(source, target, { progress }))).toBe(true);
    expect(totals).toEqual([undefined, 1200]);
  });

  it('does not fill a store that holds something, nor go on with another migration', async () => {
    const [source, target] = [new MemoryStore(), new MemoryStore()];
    await fill(source, { accounts: 1, nodes: 1, items: 1 });
    await target.accounts.create('ann', account(1));
    await expect(transfer(migration(source, target))).rejects.toThrow(MigrationRefused);
    await expect(transfer(migration(source, target))).rejects.toThrow(/there is not empty: it has 1 accounts and 0/);
    const empty = new MemoryStore();
    expect(await transfer(migration(source, empty))).toBe(true);
    await expect(transfer(migration(source, empty, { route: 'elsewhere' }))).rejects.toThrow(/not finished: from here/);
  });

  it('begins anew when the target was emptied, as the sentence about a bad copy advises', async () => {
    const source = new MemoryStore();
    await fill(source, { accounts: 600, nodes: 3, items: 10 });
    expect(await transfer(migration(source, new MemoryStore()))).toBe(true);
    const copied = new MemoryStore();
    expect(await transfer(migration(source, copied))).toBe(true);
    expect((await verify(migration(source, copied))).difference).toBeUndefined();
    // The same after it was stopped in the middle.
    rmSync(join(folder, 'migration.json'));
    const stop = new AbortController();
    const progress = { begin: () => undefined, at: ({ accounts }: Counts) => void (accounts > 0 && stop.abort()) };
    expect(await transfer(migration(source, new MemoryStore(), { signal: stop.signal, progress }))).toBe(false);
    const stopped = new MemoryStore();
    expect(await transfer(migration(source, stopped))).toBe(true);
    expect((await verify(migration(source, stopped))).difference).toBeUndefined();
  });

  it('says what to do about a checkpoint that cannot be read', async () => {
    for (const text of ['', '{"format":1', 'null', '{"format":2}']) {
      writeFileSync(join(folder, 'migration.json'), text);
      const attempt = transfer(migration(new MemoryStore(), new MemoryStore()));
      await expect(attempt).rejects.toThrow(MigrationRefused);
      await expect(attempt).rejects.toMatchObject({
        message: expect.stringMatching(/migration\.json is damaged, or/) as string,
        hint: 'remove it, empty the target, and start anew',
      });
    }
  });

  it('holds no more than a few pages of a node with very many items', async () => {
    const source = new MemoryStore();
    await source.nodes.create(node('big'));
    for (let i = 0; i < 3000; i++) {
      await source.items.publish('big', item(`i${i}`, { payload: Buffer.alloc(i < 1000 ? 10 : 20_000) }), 1e6);
    }
    let most = 0;
    let count = 0;
    for await (const { items } of walk(source)) {
      most = Math.max(
        most,
        items.reduce((sum, { item: { payload } }) => sum + payload.length, 0),
      );
      count += items.length;
    }
    expect(count).toBe(3000);
    // A page is sized by the payloads of the one before it.
    expect(most).toBeLessThan(500 * 20_000 + 1);
  });
});

describe('verification finds', () => {
  const damages: [what: string, damage: (store: Store) => Promise<unknown>, sentence: RegExp][] = [
    ['a payload', (s) => replace(s, { payload: Buffer.from('x') }), /the item i2 of the node n has another payload/],
    [
      'a publisher',
      (s) => replace(s, { publisher: 'eve@x.lit' }),
      /the item i2 of the node n has another payload, publ/,
    ],
    ['a lost item', (s) => s.items.retract('n', ['i3']), /the item i3 of the node n is not in there/],
    ['an item more', (s) => s.items.publish('n', item('i9'), 100), /the item i9 of the node n is not in here/],
    [
      'another order',
      (s) => s.items.publish('n', item('i2'), 100),
      /where here has the item i2 of the node n, there has i3/,
    ],
    ['an account lost', (s) => s.accounts.remove('ann'), /the account ann is not in there/],
    ['an account more', (s) => s.accounts.create('eve', account(9)), /the account eve is not in here/],
    ['other keys', (s) => s.accounts.update('ann', account(9)), /the account ann has other keys/],
    ['a node lost', (s) => s.nodes.remove('n'), /the node n is not in there/],
    ['a node more', (s) => s.nodes.create(node('m')), /the node m is not in here/],
    ['an option', (s) => s.nodes.update('n', (n) => ({ ...n, config: { title: 'x' } })), /node n has another configur/],
    [
      'a subscription lost',
      (s) => s.nodes.removeSubscription('n', 'a@b.lit'),
      /subscription of a@b.lit to n is not in there/,
    ],
    [
      'another subscription',
      async (s) => {
        await s.nodes.removeSubscription('n', 'a@b.lit');
        await s.nodes.addSubscription(subscription('n', 'a@b.lit', { subid: 'other' }));
      },
      /is another one/,
    ],
    [
      'a subscription more',
      (s) => s.nodes.addSubscription(subscription('n', 'e@b.lit')),
      /of e@b.lit to n is not in here/,
    ],
  ];
  it.each(damages)('%s', async (_what, damage, sentence) => {
    const [source, target] = [new MemoryStore(), new MemoryStore()];
    for (const store of [source, target]) {
      await store.accounts.create('ann', account(1));
      await store.nodes.create(node('n'));
      await store.nodes.addSubscription(subscription('n', 'a@b.lit'));
      for (let i = 0; i < 5; i++) await store.items.publish('n', item(`i${i}`), 100);
    }
    expect((await verify(migration(source, target))).difference).toBeUndefined();
    await damage(target);
    expect((await verify(migration(source, target))).difference).toMatch(sentence);
  });

  /** Replaces one item without moving it. */
  async function replace(store: Store, facts: Partial<ItemRecord>): Promise<void> {
    for (let i = 2; i < 5; i++) await store.items.publish('n', item(`i${i}`, i === 2 ? facts : {}), 100);
  }
});

/** The store, with something that happens before each write. */
function disturbed(store: Store, before: () => void): Store {
  const part = <T extends object>(room: T, writes: (keyof T)[]): T =>
    new Proxy(room, {
      get: (_, name) => {
        const value = room[name as keyof T];
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          if (writes.includes(name as keyof T)) before();
          return (value as (...args: unknown[]) => unknown).apply(room, args);
        };
      },
    });
  return {
    accounts: part(store.accounts, ['create']),
    nodes: part(store.nodes, ['create', 'addSubscription']),
    items: part(store.items, ['publish']),
    flush: () => store.flush(),
    close: () => store.close(),
  };
}
