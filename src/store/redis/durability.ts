import type { Redis, RedisNode } from '../../redis/redis.js';
import { StoreError } from '../store.js';
import type { RedisStoreOptions } from './redis-store.js';

/**
 * Whether Redis keeps what it is given, as `durability` asks for. Hosts of Redis may not tell, then it is believed.
 *
 * @throws StoreError with a sentence for the operator.
 */
export async function assureDurability(redis: Redis, { durability, log }: RedisStoreOptions): Promise<void> {
  for (const node of await redis.masters()) {
    const { appendonly, appendfsync, save } = await kept(node);
    if (durability === 'flush' && appendonly === 'no')
      throw new StoreError(
        'unavailable',
        `durability: flush needs a Redis that writes to disk, and ${node.address} does not: set appendonly yes and ` +
          'appendfsync always there, or durability: commit',
      );
    if (durability === 'flush' && appendfsync !== undefined && appendfsync !== 'always')
      throw new StoreError(
        'unavailable',
        `durability: flush needs a Redis that writes to disk before it answers, and ${node.address} has appendfsync ` +
          `${appendfsync}: set appendfsync always there, or durability: commit`,
      );
    if (appendonly === 'no' && save === '')
      log?.warn(
        { redis: node.address },
        'Redis keeps nothing on disk: all is lost when it ends; set appendonly yes there',
      );
    if (durability === 'flush' && appendfsync === undefined)
      log?.warn({ redis: node.address }, 'Redis does not tell whether it writes to disk before it answers');
    const replicas = redis.replicas === 0 ? 0 : await replicasOf(node);
    if (replicas < redis.replicas)
      log?.warn(
        { redis: node.address, replicas },
        `redis.replicas asks for ${redis.replicas}: until they are there, what is to last is not done, and answered with a wait error`,
      );
  }
}

async function replicasOf(node: RedisNode): Promise<number> {
  const told = /^connected_slaves:(\d+)/m.exec(String(await node.call('INFO', ['replication'])));
  return told === null ? Infinity : Number(told[1]);
}

type Kept = { [setting in 'appendonly' | 'appendfsync' | 'save']?: string };

async function kept(node: RedisNode): Promise<Kept> {
  const found: Record<string, string> = {};
  for (const setting of ['appendonly', 'appendfsync', 'save'])
    try {
      const [name, value] = (await node.call('CONFIG', ['GET', setting])) as Buffer[];
      if (name !== undefined) found[setting] = String(value);
    } catch (error) {
      // Refused: a user that may not ask.
      if ((error as Error).name !== 'ReplyError') throw error;
    }
  return found;
}
