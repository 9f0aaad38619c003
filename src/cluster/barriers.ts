/** Barriers under way: which peers have still to say that they handled all that was sent before. */
export class Barriers {
  private readonly open = new Map<number, { missing: Set<number>; done: () => void }>();
  private last = 0;
  /** `wanted`: of which peers; undefined stands for all. */
  private next: { promise: Promise<void>; done: () => void; wanted: Set<number> | undefined } | undefined;

  /** Joins the barrier that leaves with this tick's batches, to those peers or all: everything sent so far leaves before it. */
  join(peers?: readonly number[]): Promise<void> {
    if (!this.next) {
      let done = (): void => undefined;
      const promise = new Promise<void>((resolve) => (done = resolve));
      this.next = { promise, done, wanted: new Set() };
    }
    const { next } = this;
    if (peers === undefined) next.wanted = undefined;
    else if (next.wanted !== undefined) for (let i = 0; i < peers.length; i++) next.wanted.add(peers[i]!);
    return next.promise;
  }

  /** The barrier to send now, and to whom of the `live`; undefined when nobody waits for one. */
  leave(live: ReadonlySet<number>): { id: number; peers: ReadonlySet<number> } | undefined {
    if (!this.next) return undefined;
    const { done, wanted } = this.next;
    const missing = new Set(live);
    if (wanted !== undefined) for (const peer of live) if (!wanted.has(peer)) missing.delete(peer);
    this.next = undefined;
    if (missing.size === 0) {
      done();
      return undefined;
    }
    this.last = this.last === 0xffffffff ? 1 : this.last + 1;
    this.open.set(this.last, { missing, done });
    return { id: this.last, peers: new Set(missing) };
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
