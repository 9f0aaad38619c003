import { type Redis, RedisUnavailable } from '../redis/redis.js';

/** What of a cluster lies in one slot each. */
const SENTENCES = {
  workers: () => 'hosts and workers, and so their leases, sessions and inboxes, are not known',
  shards: (count: number) => `sessions of ${count} shards of the directory are not known`,
  inboxes: (count: number) => `what waits for ${count === 1 ? '1 worker is' : `${count} workers is`} not known`,
};
type Thing = keyof typeof SENTENCES;

/** What could not be read of a cluster, by the master that has it, and why. */
export class Missing {
  private readonly things = new Map<string | undefined, { counts: Map<Thing, number>; reason: string }>();

  constructor(private readonly redis: Redis) {}

  /** Such a thing, which lies by that key; undefined where Redis, or that part of it, is away. */
  async unless<T>(thing: Thing, key: string, reading: Promise<T>): Promise<T | undefined> {
    try {
      return await reading;
    } catch (error) {
      if (!(error instanceof RedisUnavailable)) throw error;
      const at = this.redis.masterOf(key);
      const there = this.things.get(at) ?? { counts: new Map<Thing, number>(), reason: error.message };
      this.things.set(at, there);
      there.counts.set(thing, (there.counts.get(thing) ?? 0) + 1);
      return undefined;
    }
  }

  /** For people; `unreachable` are masters. */
  sentences(unreachable: readonly string[]): string[] {
    const sentences: string[] = [];
    for (const at of new Set([...unreachable, ...this.things.keys()])) {
      const { counts = [], reason = '' } = this.things.get(at) ?? {};
      const things = [...counts].map(([thing, count]) => SENTENCES[thing](count));
      const why =
        at === undefined
          ? 'there are slots that no master serves'
          : unreachable.includes(at)
            ? `the master ${at} cannot be reached`
            : `the master ${at} does not show its keys (${reason.replace(/\.$/, '')})`;
      sentences.push([why, ...things].join('; '));
    }
    return sentences;
  }
}
