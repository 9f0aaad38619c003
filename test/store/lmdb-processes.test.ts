import { beforeAll, describe, expect, test } from 'vitest';
import { another, build, folder, opened } from './processes.js';
import { ids, item, node, subscription } from './records.js';

beforeAll(build, 120_000);

describe('several processes with one store', () => {
  test('publishing to one node at once lose nothing and keep their orders', async () => {
    const path = folder();
    const store = await opened(path);
    const others = await Promise.all([another(path), another(path)]);
    await store.nodes.create(node('shared'));
    const publish = (prefix: string) => ({ node: 'shared', prefix, count: 300, maxItems: 10_000 });
    const answers = await Promise.all([
      others[0]!.ask<boolean[]>('publishSlowly', publish('a')),
      others[1]!.ask<boolean[]>('publishSlowly', publish('b')),
      ...Array.from({ length: 300 }, (_, n) => store.items.publish('shared', item(`c${n}`), 10_000)),
    ]);
    expect(answers.flat().every(Boolean)).toBe(true);
    const page = await store.items.page('shared', { limit: 10_000 });
    expect(page!.count).toBe(900);
    const all = ids(page!.items) as string[];
    for (const prefix of ['a', 'b', 'c'])
      expect(all.filter((id) => id.startsWith(prefix))).toEqual(Array.from({ length: 300 }, (_, n) => `${prefix}${n}`));
  });

  test('publishing to one node that keeps few leave exactly those, readable by all', async () => {
    const path = folder();
    const store = await opened(path);
    const others = await Promise.all([another(path), another(path)]);
    await store.nodes.create(node('small'));
    await Promise.all(
      others.map((other, n) => other.ask('publishSlowly', { node: 'small', prefix: `${n}-`, count: 300, maxItems: 7 })),
    );
    const left = ids(await store.items.latest('small', 100)) as string[];
    expect(left).toHaveLength(7);
    expect(await store.items.count('small')).toBe(7);
    expect(['0-299', '1-299']).toContain(left[0]);
    const seen = await others[0]!.ask<{ id: string }[]>('call', {
      part: 'items',
      method: 'latest',
      args: ['small', 100],
    });
    expect(ids(seen)).toEqual(left);
  });

  test('publishing the same ids at once leave one item of each', async () => {
    const path = folder();
    const store = await opened(path);
    const others = await Promise.all([another(path), another(path)]);
    await store.nodes.create(node('same'));
    for (const count of [5, 200]) {
      const publish = { node: 'same', prefix: 'id', count, maxItems: 1000 };
      await Promise.all([
        ...others.map((other) => other.ask('publishSlowly', publish)),
        ...others.map((other) => other.ask('publish', publish)),
      ]);
      expect(await store.items.count('same')).toBe(count);
      const all = ids((await store.items.page('same', { limit: 1000 }))!.items) as string[];
      expect(all.sort()).toEqual(Array.from({ length: count }, (_, n) => `id${n}`).sort());
    }
  });

  test('no update is lost, and a name is created once', async () => {
    const path = folder();
    const store = await opened(path);
    const others = await Promise.all([another(path), another(path)]);
    await store.nodes.create(node('counter', { config: { n: '0' } }));
    await Promise.all(others.map((other) => other.ask('increment', { node: 'counter', count: 100 })));
    expect(await store.nodes.get('counter')).toMatchObject({ version: 200, config: { n: '200' } });
    const create = (name: string, creator: string) => ({
      part: 'nodes',
      method: 'create',
      args: [node(name, { creator })],
    });
    let created = 0;
    for (let n = 0; n < 30; n++) {
      const won = await Promise.all(
        others.map((other, who) => other.ask<boolean>('call', create(`n${n}`, `c${who}@x`))),
      );
      expect(won.filter(Boolean)).toHaveLength(1);
      created += won[0] ? 1 : 0;
    }
    expect(await store.nodes.countByCreator('c0@x')).toBe(created);
    expect(await store.nodes.countByCreator('c1@x')).toBe(30 - created);
  });

  test('of subscriptions that several add for one JID one is there, and all are told which', async () => {
    const path = folder();
    const store = await opened(path);
    const others = await Promise.all([another(path), another(path)]);
    await store.nodes.create(node('sub'));
    for (let n = 0; n < 30; n++) {
      const jid = `${n}@x`;
      const add = (subid: string) => ({
        part: 'nodes',
        method: 'addSubscription',
        args: [subscription('sub', jid, { subid })],
      });
      const told = await Promise.all(others.map((other, who) => other.ask('call', add(`s${who}`))));
      const kept = await store.nodes.subscription('sub', jid);
      expect(told).toEqual([kept, kept]);
    }
  });

  test('what several add to one node finds exactly as much room as there is', async () => {
    const path = folder();
    const store = await opened(path);
    const others = await Promise.all([another(path), another(path)]);
    await store.nodes.create(node('room'));
    const told = await Promise.all(
      others.map((other, n) => other.ask<string[]>('add', { node: 'room', prefix: `${n}-`, count: 60, maxItems: 50 })),
    );
    expect(told.flat().filter((outcome) => outcome === 'kept')).toHaveLength(50);
    expect(await store.items.count('room')).toBe(50);
  });

  test('a node that is removed and made again under publishes never shows what went before', async () => {
    const path = folder();
    const store = await opened(path);
    const other = await another(path);
    await store.nodes.create(node('flicker'));
    await other.ask('flood', { nodes: ['flicker'], maxItems: 500 });
    for (let round = 0; round < 20; round++) {
      await other.keeps(other.kept.length + 50);
      const before = new Set(ids(await store.items.latest('flicker', 1000)));
      await Promise.all([store.nodes.remove('flicker'), store.nodes.create(node('flicker'))]);
      const after = ids(await store.items.latest('flicker', 1000)) as string[];
      expect(after.filter((id) => before.has(id))).toEqual([]);
      expect(await store.items.count('flicker')).toBeGreaterThanOrEqual(after.length);
    }
    await other.ask('stop');
    await store.nodes.remove('flicker');
    await store.nodes.create(node('flicker'));
    expect(await store.items.count('flicker')).toBe(0);
    expect(await store.items.latest('flicker', 10)).toEqual([]);
  });

  for (const durability of ['commit', 'flush'] as const)
    test(`kill -9 of one loses nothing that was acknowledged, and the others go on (${durability})`, async () => {
      const path = folder();
      const store = await opened(path, { durability });
      const nodes = ['k1', 'k2', 'k3'];
      for (const name of nodes) await store.nodes.create(node(name));
      for (let round = 0; round < 4; round++) {
        const victim = await another(path, durability);
        await victim.ask('flood', { nodes, maxItems: 100_000 });
        const own = nodes.map((name) => store.items.publish(name, item(`own ${round}`), 100_000));
        await victim.keeps(200 + round);
        await victim.kill();
        expect(await Promise.all(own)).toEqual([true, true, true]);
        for (const name of nodes) {
          const kept = victim.kept.filter(([at]) => at === name).map(([, id]) => id);
          expect(await store.items.get(name, kept)).toHaveLength(kept.length);
          expect(await store.items.publish(name, item(`after ${round}`), 100_000)).toBe(true);
          const page = await store.items.page(name, { limit: 1_000_000 });
          expect(page!.items).toHaveLength(page!.count);
        }
      }
    });
});
