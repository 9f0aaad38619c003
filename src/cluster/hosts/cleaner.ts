import type { Logger } from 'pino';
import { clusterCounters } from '../../metrics/cluster.js';
import type { Redis } from '../../redis/redis.js';
import { sever } from '../../redis/sever.js';
import { connectionName, inboxKey } from './keys.js';
import type { Leases } from './leases.js';
import type { Leftovers } from './leftovers.js';

/**
 * Removes what dead workers left in Redis. One worker at a time is at it for each of them, as long as its own lease holds; when it
 * dies over it, its claim ends, and another begins again.
 */
export class Cleaner {
  readonly steps: ((worker: number, epoch: number) => Promise<void>)[] = [];
  private running: Promise<void> = Promise.resolve();
  private readonly queued = new Set<string>();
  private stopped = false;

  constructor(
    private readonly redis: Redis,
    private readonly leases: Leases,
    private readonly leftovers: Leftovers,
    private readonly log: Logger,
  ) {}

  /** These wait for somebody: whoever claims one first. One after the other. */
  offer(dead: readonly string[]): void {
    for (const one of dead) {
      if (this.queued.has(one)) continue;
      this.queued.add(one);
      this.running = this.running.then(async () => {
        try {
          if (!this.stopped && (await this.leases.claim(one))) await this.clean(one);
        } catch (error) {
          if (!this.stopped) this.log.warn({ err: error, dead: one }, 'a dead worker was not cleaned up after; again');
        } finally {
          this.queued.delete(one);
        }
      });
    }
  }

  /** Cleans up after one that this worker has claimed. */
  async clean(dead: string): Promise<void> {
    const { claims } = this.leases;
    claims.add(dead);
    try {
      const [worker, epoch] = dead.split(':').map(Number) as [number, number];
      // What it had sent must not come behind us. One that only was away connects again, and this one has by now.
      if (worker !== this.leases.me.number) await sever(this.redis, connectionName(this.redis, worker));
      for (const step of this.steps) await step(worker, epoch);
      await this.leftovers.seeTo(worker, epoch);
      await this.redis.call('UNLINK', [inboxKey(this.redis, worker, epoch)]);
      if (!(await this.leases.cleaned(dead))) return;
      clusterCounters.cleanings++;
      this.log.warn({ host: this.leases.hostOf(worker), number: worker, epoch }, 'a dead worker was cleaned up after');
    } finally {
      claims.delete(dead);
    }
  }

  /** Takes up nothing more; what it is at and cannot end is for others. */
  stop(): void {
    this.stopped = true;
  }
}
