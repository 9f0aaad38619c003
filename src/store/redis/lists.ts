import type { Request } from './calls.js';
import { SHARDS } from './keys.js';

/**
 * The first `limit` names of all shards in the order of their bytes. `page` gives at least the first so many of one, or all that
 * it has. Of each shard a little more than its share is read, and more only where names are spread unevenly.
 */
export async function merged(
  limit: number,
  page: (shard: number, limit: number) => Promise<Buffer[]>,
): Promise<string[]> {
  if (limit <= 0) return [];
  for (let each = Math.ceil((limit / SHARDS) * 1.25) + 8; ; each *= 4) {
    const asked = Math.min(each, limit);
    const pages = await Promise.all(Array.from({ length: SHARDS }, (_, shard) => page(shard, asked)));
    for (const names of pages) names.sort(Buffer.compare);
    // Behind what was asked for of a shard, there may be names that are not here.
    const ends = pages.flatMap((names) => (names.length >= asked ? [names[asked - 1]!] : []));
    const end = ends.sort(Buffer.compare)[0];
    const names = pages.flat().sort(Buffer.compare);
    const sure = end === undefined ? names.length : names.findLastIndex((name) => Buffer.compare(name, end) <= 0) + 1;
    if (sure >= limit || end === undefined) return names.slice(0, limit).map(String);
  }
}

/** Fields that are asked for at a time. */
const FIELDS = 1000;

/**
 * The fields of a HASH and their values, piece by piece: all that are there from the beginning to the end, some twice. Redis does
 * nothing else while it gives out a large one in whole. `next` gives the request that each piece is asked for with.
 */
export async function* scanned(key: string, next: () => Request): AsyncGenerator<[field: string, value: Buffer][]> {
  let cursor = '0';
  do {
    const [at, found] = (await next().read('HSCAN', key, cursor, 'COUNT', FIELDS)) as [Buffer, Buffer[]];
    const pairs: [string, Buffer][] = [];
    for (let i = 0; i < found.length; i += 2) pairs.push([String(found[i]), found[i + 1]!]);
    yield pairs;
    cursor = String(at);
  } while (cursor !== '0');
}
