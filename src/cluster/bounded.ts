/** One that does not answer for so long is not waited for: the news lies before everything else that it has to read. */
const PATIENCE_MS = 1_000;

/** Barriers that hold up nobody for longer than a second. */
export class Bounded {
  private barrier: Promise<void> | undefined;
  private bounded: Promise<void> | undefined;

  /** Those who wait for one and the same barrier share the clock. */
  wait(barrier: Promise<void>): Promise<void> {
    if (barrier !== this.barrier) {
      this.barrier = barrier;
      this.bounded = new Promise((resolve) => {
        const timer = setTimeout(resolve, PATIENCE_MS);
        void barrier.then(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.bounded!;
  }
}
