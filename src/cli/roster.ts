import type { Member } from '../cluster/hosts/hosts.js';
import { keys } from '../cluster/hosts/keys.js';
import type { CallOptions, Redis, Script } from '../redis/redis.js';

/** What the workers of a cluster have written of themselves. */
export interface Roster {
  /** Redis' own clock, in milliseconds since the epoch. */
  now: number;
  /** Those with a lease, whether it still holds or not. */
  workers: { member: Member; leaseEnds: number }[];
  /** The dead that nobody has cleaned up after yet. */
  departed: number;
}

const ROSTER: Script = {
  name: 'roster',
  source: `
    local time = redis.call('TIME')
    return {
      time[1] * 1000 + math.floor(time[2] / 1000),
      redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'),
      redis.call('HGETALL', KEYS[2]),
      redis.call('ZCARD', KEYS[3]),
    }`,
};

export async function roster(redis: Redis, options?: CallOptions): Promise<Roster> {
  const { leases, workers, departed } = keys(redis);
  const reply = (await redis.run(ROSTER, [leases, workers, departed], [], options)) as [
    number,
    Buffer[],
    Buffer[],
    number,
  ];
  const members = new Map(pairs(reply[2]));
  return {
    now: reply[0],
    workers: pairs(reply[1]).flatMap(([number, end]) => {
      const text = members.get(number);
      return text === undefined ? [] : [{ member: JSON.parse(text) as Member, leaseEnds: Number(end) }];
    }),
    departed: reply[3],
  };
}

function pairs(flat: readonly Buffer[]): [string, string][] {
  return Array.from({ length: flat.length >> 1 }, (_, i) => [String(flat[2 * i]), String(flat[2 * i + 1])]);
}

/** Names of the hosts with a lease that holds. */
export async function livingHosts(redis: Redis): Promise<string[]> {
  const { now, workers } = await roster(redis);
  const alive = workers.filter(({ leaseEnds }) => leaseEnds > now);
  return [...new Set(alive.map(({ member }) => member.host))].sort();
}
