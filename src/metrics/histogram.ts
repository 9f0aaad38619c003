/**
 * Counts of observations by size, for Prometheus: plain additions, a few nanoseconds each, so that the hot path can afford it.
 * `src/metrics/registry.ts` shows it when it is scraped.
 */
export class Histogram {
  /** Observations in each bucket, not cumulated; the last is for all above the highest bound. */
  readonly counts: Float64Array;
  sum = 0;

  /** `bounds`: inclusive upper bounds, ascending. */
  constructor(readonly bounds: readonly number[]) {
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds } = this;
    let i = 0;
    while (i < bounds.length && value > bounds[i]!) i++;
    this.counts[i]++;
    this.sum += value;
  }

  get count(): number {
    return this.counts.reduce((total, count) => total + count, 0);
  }
}

/** Seconds, from what a healthy broker does to what wakes somebody up. */
export const LATENCIES = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** Seconds from a write's call to its acceptance by the store, observed once for each group of writes. */
export const storeLatency = new Histogram(LATENCIES);

/** Seconds from asking to be let in to being it, of those who had to wait. */
export const admissionWait = new Histogram([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]);

/** Seconds from reading a publish off its socket to having written its notifications to the subscribers of the same worker. */
export const publishToWrite = new Histogram(LATENCIES);
