import type { Connection } from './connection.js';
import { faultOf } from './faults.js';
import { type RedisNode, RedisUnavailable } from './redis.js';

/** A master as others see it; `before` each call. */
export function nodeOf(connection: Connection, before: () => void): RedisNode {
  return {
    address: connection.address,
    get reachable() {
      return connection.usable;
    },
    call: async (command, args) => {
      if (!connection.usable) throw new RedisUnavailable(`There is no connection to ${connection.address}.`);
      before();
      try {
        return await connection.ask(command, args);
      } catch (error) {
        if (faultOf(error as Error).kind === 'refused') throw error;
        throw new RedisUnavailable(`${connection.address} did not do ${command}.`, { cause: error });
      }
    },
  };
}
