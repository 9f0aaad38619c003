import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { open as openLmdb } from 'lmdb';
import { beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../src/store/open.js';
import { type Store, StoreError } from '../../src/store/store.js';
import { another, build, folder, opened } from './processes.js';
import { account, ids, item, node, subscription } from './records.js';

const open = (path: string, readOnly = false) => openStore({ kind: 'lmdb', path, durability: 'commit', readOnly });

/** Entries in each table of a closed store. */
async function entries(path: string): Promise<Record<string, number>> {
  const root = openLmdb(path, { maxDbs: 16, readOnly: true });
  const names = [
    'nodes',
    'heads',
    'items',
    'ids',
    'subscriptions',
    'subscribers',
    'creators',
    'affiliations',
    'garbage',
  ];
  const found = names.map((name) => {
    const table = root.openDB(name, { keyEncoding: 'binary', encoding: 'binary' });
    return [name, (table.getStats() as { entryCount: number }).entryCount];
  });
  await root.close();
  return Object.fromEntries(found);
}

/** So many bytes may wait to be written. */
function narrow(store: Store, bytes: number): void {
  (store as unknown as { writer: { queueBytes: number } }).writer.queueBytes = bytes;
}

describe('the files of the LMDB store', () => {
  test('what was written is there after closing and opening', async () => {
    const path = folder();
    const first = await open(path);
    await first.accounts.create('juliet', account(3));
    await first.nodes.create(node('kept'));
    await first.nodes.addSubscription(subscription('kept', 'juliet@x/y'));
    const writes = Array.from({ length: 300 }, (_, n) => first.items.publish('kept', item(`i${n}`), 200));
    // Without waiting: closing finishes what was asked for.
    await Promise.all([first.close(), ...writes]);
    const second = await opened(path);
    expect((await second.accounts.get('juliet'))!.created).toBe(account(3).created);
    expect(await second.nodes.get('kept')).toEqual(node('kept'));
    expect(await second.nodes.subscriptionsOf('juliet@x')).toHaveLength(1);
    expect(await second.items.count('kept')).toBe(200);
    expect(ids(await second.items.latest('kept', 2))).toEqual(['i299', 'i298']);
  });

  test('a closed store refuses writes', async () => {
    const store = await open(folder());
    await store.close();
    await expect(store.items.publish('n', item('i'), 1)).rejects.toThrow(StoreError);
    await expect(store.nodes.create(node('n'))).rejects.toThrow('closed');
    await expect(store.nodes.get('n')).rejects.toThrow(StoreError);
    await store.close();
  });

  test('a store opened for reading shows all and refuses writes', async () => {
    const path = folder();
    const writer = await opened(path);
    await writer.nodes.create(node('seen'));
    await writer.items.publish('seen', item('i'), 1);
    const reader = await opened(path, { readOnly: true });
    expect(ids(await reader.items.latest('seen', 1))).toEqual(['i']);
    expect(await reader.nodes.count()).toBe(1);
    await expect(reader.items.publish('seen', item('j'), 1)).rejects.toMatchObject({ reason: 'unavailable' });
    await expect(reader.nodes.remove('seen')).rejects.toThrow('reading only');
    await writer.items.publish('seen', item('k'), 1);
    expect(ids(await reader.items.latest('seen', 1))).toEqual(['k']);
  });

  test('a missing store is not made for a reader', async () => {
    await expect(open(join(folder(), 'none'), true)).rejects.toThrow(/There is no store in/);
  });

  test('what was removed, purged, cut off or expired leaves nothing behind', async () => {
    const path = folder();
    const store = await open(path);
    for (const name of ['a', 'b', 'c', 'd']) {
      await store.nodes.create(node(name));
      await Promise.all(Array.from({ length: 700 }, (_, n) => store.items.publish(name, item(`i${n}`), 1000)));
    }
    await Promise.all(Array.from({ length: 700 }, (_, n) => store.nodes.addSubscription(subscription('a', `s${n}@x`))));
    await store.nodes.remove('a');
    await store.items.purge('b');
    await store.items.publish('c', item('i5'), 2);
    await store.items.publish('d', item('last', { published: 2e12 }), 1000);
    await store.items.expire('d', 2e12);
    // Wiping goes on beside other writes; closing stops it, and the next start goes on.
    await store.close();
    let left = await entries(path);
    for (let n = 0; left['garbage'] !== 0 && n < 20; n++) {
      const again = await open(path);
      for (let write = 0; write < 10; write++) await again.items.publish('b', item('x'), 1);
      await again.close();
      left = await entries(path);
    }
    expect(left).toMatchObject({ nodes: 3, heads: 3, creators: 3, affiliations: 3, garbage: 0 });
    expect(left).toMatchObject({ items: 1 + 2 + 1, ids: 2 + 1, subscriptions: 0, subscribers: 0 });
  });

  test('what could not be wiped while too much was written is wiped later', async () => {
    const path = folder();
    const store = await open(path);
    for (const name of ['a', 'b', 'many']) {
      await store.nodes.create(node(name));
      await Promise.all(Array.from({ length: 300 }, (_, n) => store.items.publish(name, item(`i${n}`), 1000)));
    }
    const removed = store.nodes.remove('a');
    // The next commit has more to write than may wait, just when the wiping would join it.
    await turn();
    narrow(store, 2 ** 20);
    const payload = Buffer.alloc(2 ** 20);
    const writes = Array.from({ length: 2 }, () => store.items.publish('many', item('large', { payload }), 1));
    await Promise.allSettled([removed, ...writes]);
    await store.nodes.remove('b');
    let left = Infinity;
    for (let n = 0; left > 0 && n < 50; n++) {
      await store.items.publish('many', item('x'), 1);
      left = (await entries(path))['garbage']!;
    }
    expect(left).toBe(0);
    await store.close();
  });

  test('others get their turn while many subscriptions are read, and a large number of them is remembered', async () => {
    const store = await opened(folder());
    await store.nodes.create(node('many'));
    const put = (from: number, to: number) =>
      Promise.all(
        Array.from({ length: to - from }, (_, n) => store.nodes.addSubscription(subscription('many', `${from + n}@x`))),
      );
    await put(0, 9_999);
    expect(await store.nodes.countSubscriptions('many')).toBe(9_999);
    await put(9_999, 10_000);
    expect(await store.nodes.countSubscriptions('many')).toBe(10_000);
    await store.nodes.removeSubscription('many', '0@x');
    expect(await store.nodes.countSubscriptions('many')).toBe(10_000);
    const order: string[] = [];
    const reading = store.nodes.subscriptionsOfNode('many').then((found) => order.push(`${found.length} are read`));
    await turn();
    order.push('another');
    await reading;
    expect(order).toEqual(['another', '9999 are read']);
    await Promise.all(Array.from({ length: 1500 }, (_, n) => store.nodes.create(node(`node ${n}`))));
    await Promise.all(
      Array.from({ length: 1500 }, (_, n) => store.nodes.addSubscription(subscription(`node ${n}`, '1@x/r'))),
    );
    const all = store.nodes.subscriptionsOf('1@x').then((found) => order.push(`${found.length} of one are read`));
    await turn();
    order.push('another');
    await all;
    expect(order.slice(2)).toEqual(['another', '1501 of one are read']);
    // Another node of that name has its own.
    await store.nodes.remove('many');
    await store.nodes.create(node('many'));
    expect(await store.nodes.countSubscriptions('many')).toBe(0);
  });

  test('what waits for the disk is bounded, also what is committed and waits to be on it', async () => {
    const held = await opened(folder());
    const payload = Buffer.of();
    await held.nodes.create(node('n'));
    narrow(held, 2 ** 20);
    await held.hold!();
    const small = Array.from({ length: 4000 }, (_, n) => held.items.publish('n', item(`${n}`, { payload }), 10));
    held.release!();
    const refused = (await Promise.allSettled(small)).filter(({ status }) => status === 'rejected').length;
    // Each takes memory beside its payload.
    expect(refused).toBeGreaterThan(2000);

    const slow = await openStore({ kind: 'lmdb', path: folder(), durability: 'flush' });
    await slow.nodes.create(node('n'));
    const { environment, writer } = slow as unknown as {
      environment: { sync(): Promise<void> };
      writer: { settled(): Promise<void> };
    };
    const sync = environment.sync.bind(environment);
    let release = (): void => undefined;
    const stall = new Promise<void>((resolve) => (release = resolve));
    environment.sync = () => stall.then(sync);
    narrow(slow, 2 ** 20);
    const publish = () => slow.items.publish('n', item('large', { payload: Buffer.alloc(300_000) }), 10);
    const waiting: Promise<boolean>[] = [];
    for (let n = 0; n < 8; n++) {
      const written = publish();
      written.catch(() => undefined);
      waiting.push(written);
      await writer.settled();
    }
    await expect(publish()).rejects.toThrow('More is written than the disk takes');
    release();
    const states = (await Promise.allSettled(waiting)).map(({ status }) => status);
    expect(states.slice(0, 3)).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    expect(states).toContain('rejected');
    for (let n = 0; n < 8; n++) expect(await publish()).toBe(true);
    await slow.close();
  });

  test('a store of another version is refused with a sentence', async () => {
    const path = folder();
    await (await open(path)).close();
    const root = openLmdb(path, { maxDbs: 16 });
    const meta = root.openDB('meta', { keyEncoding: 'binary', encoding: 'msgpack' });
    await meta.put(Buffer.from('format'), 7);
    await root.close();
    await expect(open(path)).rejects.toThrow(/has format 7, and this version of Thrum reads format 1 only/);
  });

  test('a damaged record is told as such, ends nothing, and spares the others', async () => {
    const path = folder();
    const names = ['empty', 'ones', 'long', 'counts too many', 'spared'];
    const store = await open(path);
    for (const name of names) {
      await store.nodes.create(node(name));
      for (const id of ['i', 'j']) await store.items.publish(name, item(id), 5);
    }
    await store.close();
    const root = openLmdb(path, { maxDbs: 16 });
    const heads = root.openDB('heads', { keyEncoding: 'binary', encoding: 'binary', useVersions: true });
    const key = (name: string) => Buffer.from(`${name}\0`);
    const counting = Buffer.from(heads.get(key('counts too many')) as Buffer);
    counting.writeUIntBE(2 ** 47, 32, 6);
    await heads.put(key('empty'), Buffer.of(), 1);
    await heads.put(key('ones'), Buffer.alloc(60, 0xff), 1);
    await heads.put(key('long'), Buffer.alloc(5000), 1);
    await heads.put(key('counts too many'), counting, counting.readDoubleBE(0));
    const nodes = root.openDB('nodes', { keyEncoding: 'binary', encoding: 'msgpack' });
    await nodes.put(key('ones'), 5);
    await root.close();

    const again = await opened(path);
    for (const name of names.slice(0, 4))
      await expect(again.items.publish(name, item('k'), 5)).rejects.toMatchObject({ reason: 'corrupt' });
    await expect(again.nodes.get('ones')).rejects.toMatchObject({ reason: 'corrupt' });
    await expect(again.nodes.update('ones', (record) => record)).rejects.toMatchObject({ reason: 'corrupt' });
    expect(await again.items.publish('spared', item('k'), 5)).toBe(true);
    expect(ids(await again.items.latest('spared', 5))).toEqual(['k', 'j', 'i']);
  });

  test('a file that is no store is refused with a sentence', async () => {
    const path = folder();
    mkdirSync(join(path, 'store'));
    writeFileSync(join(path, 'store', 'data.mdb'), Buffer.alloc(100_000, 'no store'));
    await expect(open(join(path, 'store'))).rejects.toMatchObject({
      reason: 'corrupt',
      message: expect.stringContaining('is damaged or is no Thrum store') as string,
    });
  });

  test('a file that lost its end is refused with a sentence', async () => {
    const path = folder();
    const store = await open(path);
    await store.nodes.create(node('big'));
    await store.items.publish('big', item('i', { payload: Buffer.alloc(12_000_000) }), 1);
    await store.close();
    const file = join(path, 'data.mdb');
    truncateSync(file, 1_000_000);
    await expect(open(path)).rejects.toMatchObject({ reason: 'corrupt' });
    expect(readFileSync(file)).toHaveLength(1_000_000);
  });
});

describe('a full disk', () => {
  beforeAll(build, 120_000);

  test('is told to the publishers, spares what is there, and what fits is still written', async () => {
    const path = folder();
    const other = await another(path, 'commit', 'ulimit -f 8192');
    const call = (part: string, method: string, ...args: unknown[]) => other.ask('call', { part, method, args });
    const publish = (name: string, prefix: string, count: number, bytes: number) =>
      other.ask<(boolean | string)[]>('publish', { node: name, prefix, count, maxItems: 100_000, bytes });
    for (const name of ['filled', 'other']) await call('nodes', 'create', node(name));
    expect(await publish('filled', 'first', 100, 1000)).not.toContain('full');

    // One that never fits, in one commit with others that do.
    const [huge, small] = await Promise.all([publish('filled', 'huge', 1, 20_000_000), publish('other', 's', 5, 10)]);
    expect(huge).toEqual(['full']);
    expect(small).toEqual([true, true, true, true, true]);

    let kept = 0;
    for (
      let answers: (boolean | string)[] = [];
      !answers.includes('full');
      kept += answers.filter((a) => a === true).length
    )
      answers = await publish('filled', `r${kept}-`, 200, 1000);
    expect(await call('items', 'count', 'filled')).toBe(100 + kept);
    await expect(
      call('nodes', 'create', node('x', { config: { title: 'x'.repeat(1_000_000) } })),
    ).rejects.toMatchObject({
      reason: 'full',
    });

    // Room is made, and all goes on.
    expect(await call('items', 'purge', 'filled')).toBe(100 + kept);
    expect(await publish('filled', 'again', 20, 1000)).not.toContain('full');
    expect(await call('items', 'count', 'filled')).toBe(20);
    await other.ask('close');
    const store = await opened(path);
    expect(await store.items.count('filled')).toBe(20);
    expect(await store.items.count('other')).toBe(5);
  });

  test('is asked again now and then only, and can be closed', async () => {
    const path = folder();
    const said = join(path, 'stderr');
    const other = await another(path, 'commit', `ulimit -f 2048; exec 2>'${said}'`);
    await other.ask('call', { part: 'nodes', method: 'create', args: [node('filled')] });
    const publish = (prefix: string, count: number) =>
      other.ask<string[]>('publish', { node: 'filled', prefix, count, maxItems: 100_000, bytes: 10_000 });
    while (!(await publish('first', 200)).includes('full'));
    // Each on its own, as slow publishers do; lmdb says two things of each that it tries.
    const answers: string[][] = [];
    for (let i = 0; i < 300; i++) answers.push(await publish(`late${i}`, 1));
    expect(answers).toEqual(answers.map(() => ['full']));
    expect(readFileSync(said, 'utf8').match(/\n +at /g)!.length).toBeLessThan(200);
    await other.ask('close');
  });
});
