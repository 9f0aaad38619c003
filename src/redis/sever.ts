import { type Redis, RedisUnavailable } from './redis.js';

/**
 * Breaks all connections of that name, at every master. A process that is dead may have sent commands that are still on their way: a
 * network that was cut delivers them when it is whole again, for minutes. What has not been done by now is never done.
 *
 * @throws RedisUnavailable
 */
export async function sever(redis: Redis, name: string): Promise<void> {
  for (const master of await redis.masters()) {
    try {
      const list = String(await master.call('CLIENT', ['LIST', 'TYPE', 'normal']));
      for (const line of list.split('\n')) {
        const id = / name=(\S*) /.exec(line)?.[1] === name ? /^id=(\d+) /.exec(line)?.[1] : undefined;
        if (id !== undefined) await master.call('CLIENT', ['KILL', 'ID', id]);
      }
    } catch (error) {
      // It has just gone by itself, or users may do no more than they need.
      if (error instanceof RedisUnavailable) throw error;
    }
  }
}
