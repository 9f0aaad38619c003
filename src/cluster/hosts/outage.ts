import type { Redis } from '../../redis/redis.js';

/** Redis away for longer than callers wait: from then on nobody waits for other hosts. */
export class Outage {
  /** It is. */
  cut = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(redis: Pick<Redis, 'onState'>, patienceMs: number, events: { began(): void; cut(): void; over(): void }) {
    redis.onState((up) => {
      this.end();
      if (up) return events.over();
      events.began();
      this.timer = setTimeout(() => {
        this.cut = true;
        events.cut();
      }, patienceMs);
    });
  }

  end(): void {
    clearTimeout(this.timer);
    this.cut = false;
  }
}
