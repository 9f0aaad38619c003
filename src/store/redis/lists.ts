import { SHARDS } from './keys.js';

/** The first `limit` names of all shards in the order of their bytes; `page` gives at least that many of one, in order. */
export async function merged(limit: number, page: (shard: number) => Promise<Buffer[]>): Promise<string[]> {
  if (limit <= 0) return [];
  const pages = await Promise.all(Array.from({ length: SHARDS }, (_, shard) => page(shard)));
  return pages.flat().sort(Buffer.compare).slice(0, limit).map(String);
}
