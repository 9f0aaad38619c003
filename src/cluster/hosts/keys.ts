import type { Redis } from '../../redis/redis.js';

/** The keys of this room. All but the inboxes lie in one slot, so that one script can see to all. */
export interface ClusterKeys {
  /** ZSET: worker → when its lease ends (milliseconds, the clock of Redis). */
  leases: string;
  /** HASH: worker → JSON of its {@link Member}. */
  workers: string;
  /** ZSET: `worker:epoch` of the dead that are not cleaned up after → until when somebody is at it; 0: nobody. */
  departed: string;
  /** The last epoch. */
  epoch: string;
  /** The last worker number that a host reserved. */
  numbers: string;
  /**
   * HASH: `version` changes with the workers, `renewed` is when any lease was renewed last, until `grace` nobody is declared
   * dead, `dialect` is what the workers speak.
   */
  state: string;
}

export function keys({ prefix }: Pick<Redis, 'prefix'>): ClusterKeys {
  const key = (name: string): string => `${prefix}:cluster:${name}:{cluster}`;
  return {
    leases: key('leases'),
    workers: key('workers'),
    departed: key('departed'),
    epoch: key('epoch'),
    numbers: key('numbers'),
    state: key('state'),
  };
}

/** Name of all connections of that worker. */
export function connectionName({ prefix }: Pick<Redis, 'prefix'>, worker: number): string {
  return `${prefix}:w${worker}`;
}

/** STREAM: what is on the way to that incarnation. */
export function inboxKey({ prefix }: Pick<Redis, 'prefix'>, worker: number, epoch: number): string {
  return `${prefix}:inbox:${epoch}:{w${worker}}`;
}
