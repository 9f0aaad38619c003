const FIRST_MS = 100;
const MOST_MS = 30_000;
/** A worker that ran this long was well; its next death counts as the first. */
const STABLE_MS = 60_000;

/** How long to wait before a dead worker is started again: doubling, with jitter, so that slots do not march in step. */
export class Backoff {
  /** Deaths in a row without a stable run. */
  failures = 0;

  /** Notes a death after `ranMs` (0 when it never was ready) and returns the milliseconds to wait. */
  died(ranMs: number): number {
    if (ranMs >= STABLE_MS) this.failures = 0;
    const most = Math.min(MOST_MS, FIRST_MS * 2 ** this.failures);
    this.failures++;
    return most * (0.5 + Math.random() / 2);
  }
}
