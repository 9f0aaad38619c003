/**
 * So many events per key and window of time. A window begins anew for all keys at once, so the memory it takes is bounded by
 * the events of one window.
 */
export class Quota {
  private readonly taken = new Map<string, number>();
  private started = 0;

  constructor(
    private readonly most: number,
    private readonly milliseconds: number,
    private readonly now: () => number = Date.now,
  ) {}

  /** Takes one; false when there is none left in this window. */
  take(key: string): boolean {
    const now = this.now();
    if (now - this.started >= this.milliseconds) {
      this.started = now;
      this.taken.clear();
    }
    const taken = this.taken.get(key) ?? 0;
    if (taken >= this.most) return false;
    this.taken.set(key, taken + 1);
    return true;
  }
}
