import type { Supervisor } from '../cluster/supervisor.js';

/** How long the workers may take to finish the commit they are in, and an opening to end, in milliseconds. */
const HOLD_PATIENCE = 5_000;
const OPENING_PATIENCE = 15_000;

/**
 * Lets processes open the LMDB files one at a time, while nobody writes. LMDB (as of lmdb 3.5.6) reads the number of the last
 * commit when it opens a file and writes it back a moment later: a commit of another process in between would be undone, though
 * it was acknowledged. So a worker asks before it opens, and those that serve hold their writes meanwhile.
 */
export class Openings {
  private last: Promise<void> = Promise.resolve();
  private readonly current = new Map<string, () => void>();
  /** Whose turn has not come. */
  private readonly waiting = new Set<{ readonly who: string; gone: boolean }>();

  constructor(private readonly supervisor: Pick<Supervisor, 'askAll'>) {}

  /** Resolves when `who` may open. */
  async begin(who: string): Promise<void> {
    const before = this.last;
    let over!: () => void;
    this.last = new Promise((resolve) => (over = resolve));
    const place = { who, gone: false };
    this.waiting.add(place);
    await before;
    this.waiting.delete(place);
    // Nobody shall hold writes for one that is dead.
    if (place.gone) return over();
    const timer = setTimeout(() => this.end(who), OPENING_PATIENCE);
    this.current.set(who, () => {
      clearTimeout(timer);
      over();
    });
    await this.supervisor.askAll('hold', {}, HOLD_PATIENCE);
  }

  /** `who` is dead. */
  gone(who: string): void {
    for (const place of this.waiting) if (place.who === who) place.gone = true;
    this.end(who);
  }

  /** `who` has opened. */
  end(who: string): void {
    const over = this.current.get(who);
    if (over === undefined) return;
    this.current.delete(who);
    void this.supervisor.askAll('release', {}).then(over);
  }
}
