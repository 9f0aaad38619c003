import type { Redis, Script } from '../redis/redis.js';

/** What the hosts of a cluster have written of themselves. */
export interface Roster {
  /** Redis' own clock, in milliseconds since the epoch. */
  now: number;
  /** By the worker's number: until when its lease holds. */
  leases: Map<string, number>;
  /** By the worker's number: what it told of itself, as JSON. */
  members: Map<string, string>;
}

const ROSTER: Script = {
  name: 'roster',
  source: `
    local time = redis.call('TIME')
    return {
      time[1] * 1000 + math.floor(time[2] / 1000),
      redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'),
      redis.call('HGETALL', KEYS[2]),
    }`,
};

export async function roster(redis: Redis): Promise<Roster> {
  const keys = ['leases', 'workers'].map((name) => `${redis.prefix}:cluster:${name}:{cluster}`);
  const [now, leases, members] = (await redis.run(ROSTER, keys, [])) as [number, Buffer[], Buffer[]];
  const ends = [...pairs(leases)].map(([number, end]) => [number, Number(end)] as const);
  return { now, leases: new Map(ends), members: pairs(members) };
}

function pairs(flat: readonly Buffer[]): Map<string, string> {
  const table = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) table.set(flat[i]!.toString(), flat[i + 1]!.toString());
  return table;
}

/** Names of the hosts whose leases hold. */
export async function livingHosts(redis: Redis): Promise<string[]> {
  const { now, leases, members } = await roster(redis);
  const alive = [...leases].filter(([, end]) => end > now).map(([number]) => members.get(number));
  const names = alive.map((text) => (text === undefined ? 'unknown' : (JSON.parse(text) as { host: string }).host));
  return [...new Set(names)].sort();
}
