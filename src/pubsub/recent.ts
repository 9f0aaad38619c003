/** So many notifications of items are remembered; a power of two. */
const MOST = 4096;

/** Which kept items this worker's subscribers were notified of last, by node and time of publication. */
export class Recent {
  private readonly names: (string | undefined)[] = new Array<string | undefined>(MOST);
  private readonly times = new Float64Array(MOST);
  private next = 0;

  add(name: string, published: number): void {
    const at = this.next++ & (MOST - 1);
    this.names[at] = name;
    this.times[at] = published;
  }

  has(name: string, published: number): boolean {
    const { names, times } = this;
    for (let at = 0; at < MOST; at++) if (times[at] === published && names[at] === name) return true;
    return false;
  }

  /** The first that is remembered was published then; 0 where nothing was forgotten yet. */
  get first(): number {
    return this.next <= MOST ? 0 : this.times[this.next & (MOST - 1)]!;
  }

  /** All that is remembered, each node's in the order of their arrival. */
  byNode(): Map<string, number[]> {
    const found = new Map<string, number[]>();
    for (let i = Math.max(0, this.next - MOST); i < this.next; i++) {
      const at = i & (MOST - 1);
      const times = found.get(this.names[at]!);
      if (times === undefined) found.set(this.names[at]!, [this.times[at]!]);
      else times.push(this.times[at]!);
    }
    return found;
  }
}
