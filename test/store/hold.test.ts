import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';

let folder: string;
let store: Store;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'thrum-hold-'));
  store = await openStore({ kind: 'lmdb', path: join(folder, 'store'), durability: 'commit' });
  const node = { name: 'n', creator: 'a@localhost', created: 0, version: 0, config: {}, affiliations: {} };
  await store.nodes.create(node);
});
afterEach(async () => {
  await store.close();
  await rm(folder, { recursive: true });
});

const item = (id: string) => ({ id, publisher: 'a@localhost', published: Date.now(), payload: Buffer.from('<x/>') });

it('begins no write while it is held, so that another process can open the files, and goes on in order', async () => {
  const before = store.items.publish('n', item('before'), 10);
  await store.hold!();
  const settled: string[] = [];
  const held = ['1', '2'].map((id) => store.items.publish('n', item(id), 10).then(() => settled.push(id)));
  for (let i = 0; i < 50; i++) await turn();
  expect(settled).toEqual([]);
  store.release!();
  await Promise.all([before, ...held]);
  expect(settled).toEqual(['1', '2']);
  expect((await store.items.latest('n', 10)).map(({ id }) => id)).toEqual(['2', '1', 'before']);
});

it('closes while it is held, and keeps what was given to it', async () => {
  await store.hold!();
  const published = store.items.publish('n', item('last'), 10);
  await store.close();
  expect(await published).toBe(true);
  store = await openStore({ kind: 'lmdb', path: join(folder, 'store'), durability: 'commit' });
  expect(await store.items.count('n')).toBe(1);
});
