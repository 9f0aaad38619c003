import type { Logger } from 'pino';
import { redisCounters } from '../metrics/redis.js';
import type { Connection } from './connection.js';
import { RedisUnavailable } from './redis.js';
import type { Servers } from './servers.js';
import { Telling } from './telling.js';

/** Whether commands get through, as far as the connections tell, and who wants to know when that changes. */
export class Health {
  up = false;
  private readonly listeners: ((up: boolean) => void)[] = [];
  /** What is told when it does not work. */
  private trouble = 'connecting';
  private readonly telling: Telling;

  constructor(
    private readonly servers: readonly Servers[],
    log: Logger | undefined,
  ) {
    this.telling = new Telling(log);
  }

  connections(): readonly Connection[] {
    return this.servers.length === 1 ? this.servers[0]!.all() : this.servers.flatMap((servers) => servers.all());
  }

  /** Looks at every connection; whether all is well. */
  look(): boolean {
    const all = this.connections();
    const bad = all.find(({ usable, fault }) => !usable || fault !== undefined);
    const up = all.length > 0 && bad === undefined && this.servers.every(({ covered }) => covered);
    if (!up) {
      const what = bad === undefined ? 'slots that nobody serves' : (bad.fault ?? 'no connection');
      this.trouble = bad === undefined ? what : `${bad.address}: ${what}`;
    }
    if (up === this.up) return up;
    this.up = up;
    redisCounters.up = up ? 1 : 0;
    if (up) this.telling.up();
    else this.telling.down(this.trouble);
    for (const listener of this.listeners) listener(up);
    return up;
  }

  onChange(listener: (up: boolean) => void): void {
    this.listeners.push(listener);
  }

  /** Resolves when commands get through; rejects after the patience. */
  ready(patienceMs: number): Promise<void> {
    if (this.up) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const late = () => reject(new RedisUnavailable(`Redis is not ready (${this.trouble}).`));
      const timer = setTimeout(late, patienceMs);
      this.onChange((up) => {
        clearTimeout(timer);
        if (up) resolve();
      });
    });
  }
}
