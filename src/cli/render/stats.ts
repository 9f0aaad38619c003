/** The last so many samples, for percentiles. */
export class Samples {
  private readonly ring: Float64Array;
  private added = 0;

  constructor(capacity: number) {
    this.ring = new Float64Array(capacity);
  }

  add(sample: number): void {
    this.ring[this.added++ % this.ring.length] = sample;
  }

  /** The smallest sample that at least that share (0 to 1) do not exceed; undefined before the first. */
  percentile(share: number): number | undefined {
    const count = Math.min(this.added, this.ring.length);
    if (count === 0) return undefined;
    const sorted = this.ring.slice(0, count).sort();
    return sorted[Math.max(0, Math.ceil(share * count) - 1)];
  }
}

/** Events per second over the last few seconds. */
export class Rate {
  private readonly times: number[] = [];

  constructor(private readonly windowMs = 5000) {}

  add(now: number): void {
    this.times.push(now);
    if (this.times.length > 4096 && this.times[2048]! < now - this.windowMs) this.times.splice(0, 2048);
  }

  perSecond(now: number): number {
    const from = this.times.findIndex((time) => time > now - this.windowMs);
    if (from < 0) return 0;
    if (from > 0) this.times.splice(0, from);
    const span = now - this.times[0]!;
    // A rate needs two events: n events span n - 1 intervals.
    return span > 0 ? ((this.times.length - 1) * 1000) / Math.max(span, 1) : 0;
  }
}

/** `0.42 ms`, `18 ms`, `–` when there is none. */
export function milliseconds(value: number | undefined): string {
  if (value === undefined) return '–';
  return `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
}
