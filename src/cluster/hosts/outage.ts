import type { Redis } from '../../redis/redis.js';

/** Redis away for longer than callers wait: from then on nobody waits for other hosts. */
export class Outage {
  /** It is. */
  cut = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    redis: Pick<Redis, 'onState' | 'onForsaken'>,
    patienceMs: number,
    events: { began(): void; cut(): void; over(): void },
  ) {
    const cut = (): void => {
      this.cut = true;
      events.cut();
    };
    redis.onState((up) => {
      this.end();
      if (up) return events.over();
      events.began();
      this.timer = setTimeout(cut, patienceMs);
    });
    redis.onForsaken(cut);
  }

  end(): void {
    clearTimeout(this.timer);
    this.cut = false;
  }
}
