/** Barriers under way: which peers have still to say that they handled all that was sent before. */
export class Barriers {
  private readonly open = new Map<number, { missing: Set<number>; done: () => void }>();
  private last = 0;
  private next: { promise: Promise<void>; done: () => void } | undefined;

  /** Joins the barrier that leaves with this tick's batches: everything sent so far leaves before it. */
  join(): Promise<void> {
    if (!this.next) {
      let done = (): void => undefined;
      const promise = new Promise<void>((resolve) => (done = resolve));
      this.next = { promise, done };
    }
    return this.next.promise;
  }

  /** The id of the barrier to send to `peers` now; 0 when nobody waits for one. */
  leave(peers: Iterable<number>): number {
    if (!this.next) return 0;
    const missing = new Set(peers);
    const { done } = this.next;
    this.next = undefined;
    if (missing.size === 0) {
      done();
      return 0;
    }
    this.last = this.last === 0xffffffff ? 1 : this.last + 1;
    this.open.set(this.last, { missing, done });
    return this.last;
  }

  passed(id: number, peer: number): void {
    const barrier = this.open.get(id);
    if (!barrier) return;
    barrier.missing.delete(peer);
    if (barrier.missing.size > 0) return;
    this.open.delete(id);
    barrier.done();
  }

  /** A dead peer holds up nobody. */
  gone(peer: number): void {
    for (const id of [...this.open.keys()]) this.passed(id, peer);
  }
}
