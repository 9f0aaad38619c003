import { beforeAll, describe, expect, test } from 'vitest';
import type { ItemQuery } from '../../src/store/store.js';
import type { Given } from './conformance.js';
import { ids, item, node } from './records.js';

/** Nodes of few and of many items, without and with holes that retracted and replaced items leave. */
const SHAPES = [
  { name: 'few', size: 12, holes: false },
  { name: 'few with holes', size: 12, holes: true },
  { name: 'many', size: 500, holes: false },
  { name: 'many with holes', size: 500, holes: true },
];

export function pagesConform(given: Given): void {
  for (const { name, size, holes } of SHAPES)
    describe(name, () => {
      const page = (query: ItemQuery) => given().items.page(`page ${name}`, query);
      const shown = async (query: ItemQuery) => {
        const found = await page(query);
        return found && [ids(found.items), found.count, found.index];
      };
      let expected: string[] = [];

      beforeAll(async () => {
        const { nodes, items } = given();
        await nodes.create(node(`page ${name}`));
        expected = Array.from({ length: size }, (_, n) => `i${n}`);
        await Promise.all(
          expected.map((id, n) => items.publish(`page ${name}`, item(id, { published: 1000 + n }), 1000)),
        );
        if (!holes) return;
        await items.retract(`page ${name}`, ['i0', 'i3', 'i4', 'i7', `i${size - 1}`]);
        await items.publish(`page ${name}`, item('i5', { published: 2000 }), 1000);
        expected = expected.filter((id) => !['i0', 'i3', 'i4', 'i5', 'i7', `i${size - 1}`].includes(id)).concat('i5');
      });

      test('the first page', async () => {
        expect(await shown({ limit: 4 })).toEqual([expected.slice(0, 4), expected.length, 0]);
        expect(await shown({ limit: 10_000 })).toEqual([expected, expected.length, 0]);
      });

      test('the last page', async () => {
        expect(await shown({ limit: 4, before: '' })).toEqual([
          expected.slice(-4),
          expected.length,
          expected.length - 4,
        ]);
        expect(await shown({ limit: 10_000, before: '' })).toEqual([expected, expected.length, 0]);
      });

      test('a page of nothing tells the count', async () => {
        expect(await shown({ limit: 0 })).toEqual([[], expected.length, 0]);
      });

      test('all pages forwards make the whole, each with its index', async () => {
        const seen: string[] = [];
        for (let after: string | undefined; ; after = seen.at(-1)) {
          const found = (await page({ limit: 7, after }))!;
          expect(found.count).toBe(expected.length);
          if (found.items.length === 0) break;
          expect(found.index).toBe(seen.length);
          seen.push(...(ids(found.items) as string[]));
        }
        expect(seen).toEqual(expected);
      });

      test('all pages backwards make the whole, each with its index', async () => {
        let seen: string[] = [];
        for (let before = ''; ; before = seen[0] as string) {
          const found = (await page({ limit: 7, before }))!;
          if (found.items.length === 0) break;
          seen = [...(ids(found.items) as string[]), ...seen];
          expect(found.index).toBe(expected.length - seen.length);
        }
        expect(seen).toEqual(expected);
      });

      test('after the last and before the first there is nothing', async () => {
        expect(await shown({ limit: 5, after: expected.at(-1) as string })).toEqual([[], expected.length, 0]);
        expect(await shown({ limit: 5, before: expected[0] as string })).toEqual([[], expected.length, 0]);
      });

      test('between two items', async () => {
        const query = { after: expected[1] as string, before: expected[5] as string };
        expect(await shown({ limit: 9, ...query })).toEqual([expected.slice(2, 5), expected.length, 2]);
        expect(await shown({ limit: 2, ...query })).toEqual([expected.slice(3, 5), expected.length, 3]);
        expect(await shown({ limit: 2, after: query.before, before: query.after })).toEqual([[], expected.length, 0]);
        expect(await shown({ limit: 2, after: expected[0] as string, before: '' })).toEqual([
          expected.slice(-2),
          expected.length,
          expected.length - 2,
        ]);
      });

      test('an item that is not there has no pages around it', async () => {
        expect(await page({ limit: 5, after: 'nothing' })).toBeUndefined();
        expect(await page({ limit: 5, before: 'nothing' })).toBeUndefined();
        expect(await page({ limit: 5, after: '' })).toBeUndefined();
        expect(await page({ limit: 5, after: expected[0] as string, before: 'nothing' })).toBeUndefined();
        if (holes) expect(await page({ limit: 5, after: 'i3' })).toBeUndefined();
      });

      test('expired items are on no page, and not counted', async () => {
        const notBefore = 1000 + size - 6;
        const alive = expected.slice(expected.indexOf(`i${size - 6}`));
        expect(await shown({ limit: 2, notBefore })).toEqual([alive.slice(0, 2), alive.length, 0]);
        expect(await shown({ limit: 2, notBefore, before: '' })).toEqual([
          alive.slice(-2),
          alive.length,
          alive.length - 2,
        ]);
        expect(await shown({ limit: 2, notBefore, after: alive[1] as string })).toEqual([
          alive.slice(2, 4),
          alive.length,
          2,
        ]);
        expect(await page({ limit: 2, notBefore, after: expected[0] as string })).toBeUndefined();
        expect(await shown({ limit: 2, notBefore: 99_999 })).toEqual([[], 0, 0]);
      });
    });

  test('a node without items has one empty page', async () => {
    await given().nodes.create(node('page of none'));
    for (const query of [{ limit: 5 }, { limit: 5, before: '' }])
      for (const name of ['page of none', 'page of no node'])
        expect(await given().items.page(name, query)).toEqual({ items: [], count: 0, index: 0 });
    expect(await given().items.page('page of none', { limit: 5, after: 'x' })).toBeUndefined();
    expect(await given().items.page('page of no node', { limit: 5, before: 'x' })).toBeUndefined();
    expect(await given().items.page('page of no node', { limit: 5, after: '' })).toBeUndefined();
  });
}
