/** Microseconds in buckets of at most 1.6 % width: percentiles without keeping every value. */
const STEPS = 64;
const OCTAVES = 36;

export class Latencies {
  private readonly counts = new Float64Array(STEPS * OCTAVES);
  count = 0;

  add(microseconds: number): void {
    const value = microseconds < 1 ? 1 : microseconds;
    const octave = Math.floor(Math.log2(value));
    const step = Math.floor((value / 2 ** octave - 1) * STEPS);
    this.counts[octave * STEPS + step]++;
    this.count++;
  }

  /** The value that `share` (0 to 1) of all stay below, in microseconds; NaN when there are none. */
  percentile(share: number): number {
    let left = share * this.count;
    if (this.count === 0) return NaN;
    for (let i = 0; i < this.counts.length; i++) {
      left -= this.counts[i]!;
      if (left <= 0) return 2 ** Math.floor(i / STEPS) * (1 + ((i % STEPS) + 0.5) / STEPS);
    }
    return NaN;
  }
}
