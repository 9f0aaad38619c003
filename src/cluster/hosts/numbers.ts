import type { Redis, Script } from '../../redis/redis.js';
import type { NumberBlock } from '../number-stock.js';
import { keys } from './keys.js';

/** Numbers that a host reserves at a time. */
export const BLOCK = 4096;
const LARGEST = 0xffffffff;

/** Takes `ARGV[1]` numbers, none below what is known to be used, and answers with the last one before them. */
const RESERVE: Script = {
  name: 'numbers-reserve',
  source: `
    local last = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[2]))
    if last + ARGV[1] > ${LARGEST} then last = 0 end
    redis.call('SET', KEYS[1], string.format('%.0f', last + ARGV[1]))
    return last`,
};

/**
 * Reserves numbers for a host's workers, unique over all hosts. A Redis that came back without its data is told how far the
 * numbers had got.
 */
export function workerNumbers(redis: Redis): () => Promise<NumberBlock> {
  const key = [keys(redis).numbers];
  let last = 0;
  redis.onState((up) => {
    // What cannot be told now is told when Redis is there again, or with the next block.
    if (up && last > 0) redis.run(RESERVE, key, [0, last]).catch(() => undefined);
  });
  return async () => {
    const before = Number(await redis.run(RESERVE, key, [BLOCK, last]));
    last = before + BLOCK;
    return { first: before + 1, count: BLOCK };
  };
}
