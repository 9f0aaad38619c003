import { expect, it } from 'vitest';
import { SHARDS } from '../../src/store/redis/keys.js';
import { merged } from '../../src/store/redis/lists.js';

const name = (n: number) => String(n).padStart(6, '0');

it.each([
  ['evenly', (n: number) => n % SHARDS],
  ['all in one shard', () => 3],
  ['in runs', (n: number) => Math.floor(n / 500) % SHARDS],
])('names that are spread %s are listed in order, page by page', async (_how, shardOf) => {
  const all = Array.from({ length: 3000 }, (_, n) => name(n));
  const shards = Array.from({ length: SHARDS }, (): string[] => []);
  all.forEach((text, n) => shards[shardOf(n)]!.push(text));
  const listed: string[] = [];
  let read = 0;
  for (let after: string | undefined; ;) {
    const page = await merged(200, async (shard, limit) => {
      const names = shards[shard]!.filter((text) => after === undefined || text > after).slice(0, limit);
      read += names.length;
      return names.map((text) => Buffer.from(text));
    });
    if (page.length === 0) break;
    listed.push(...page);
    after = page.at(-1);
  }
  expect(listed).toEqual(all);
  // Far less than everything of all shards for each page.
  expect(read).toBeLessThan(10 * all.length);
});
