/** A lasting rate with a burst: `take` always takes, and says whether the caller is still within its means. */
export class TokenBucket {
  private tokens: number;
  private filled = Date.now();

  constructor(
    /** Per second. */
    private readonly rate: number,
    private readonly burst: number,
  ) {
    this.tokens = burst;
  }

  take(amount: number): boolean {
    this.tokens -= amount;
    if (this.tokens >= 0) return true;
    const now = Date.now();
    this.tokens = Math.min(this.burst, this.tokens + ((now - this.filled) * this.rate) / 1000);
    this.filled = now;
    return this.tokens >= 0;
  }

  /** Milliseconds until the debt is paid. */
  wait(): number {
    return Math.max(1, Math.ceil((-this.tokens * 1000) / this.rate));
  }
}
