/** Nodes lie in so many tables: none has to be as large as a Map may be (2^24), and growing one holds up nobody for long. */
const PARTS = 64;
/** Nodes that are looked at in one turn when a worker has gone. */
const SLICE = 10_000;

/** Workers that have recipients of some nodes; shared by all nodes that have the same ones. Only {@link Elsewhere} writes. */
export class Audience {
  nodes = 0;

  constructor(
    /** In ascending order. Replaced, never changed. */
    public workers: readonly number[],
    /** Under which those of the same workers are found. */
    public key: string,
  ) {}
}

export const NOBODY = new Audience([], '');

/**
 * Which other workers have recipients of which nodes. Every worker knows that of every node with a subscriber anywhere, so a node
 * costs its name and a place in a table, and nothing else.
 */
export class Elsewhere {
  private readonly parts = Array.from({ length: PARTS }, () => new Map<string, Audience>());
  private readonly audiences = new Map<string, Audience>();
  private twins = 0;
  private sweeps = 0;

  of(name: string): Audience {
    return this.part(name).get(name) ?? NOBODY;
  }

  /** Nodes that are known. */
  get size(): number {
    return this.parts.reduce((sum, { size }) => sum + size, 0);
  }

  /** Answers with the node's audience from now on. */
  gain(worker: number, name: string): Audience {
    const { workers } = this.of(name);
    if (workers.includes(worker)) return this.of(name);
    return this.put(
      name,
      [...workers, worker].sort((a, b) => a - b),
    );
  }

  lose(worker: number, name: string): Audience {
    const { workers } = this.of(name);
    if (!workers.includes(worker)) return this.of(name);
    return this.put(name, without(workers, worker));
  }

  /** Whatever the number of nodes, it is out of all audiences at once; those that nobody reads any more are forgotten little by little. */
  workerGone(worker: number): void {
    let forsaken = false;
    for (const audience of [...this.audiences.values()]) {
      if (!audience.workers.includes(worker)) continue;
      this.audiences.delete(audience.key);
      audience.workers = without(audience.workers, worker);
      const key = keyOf(audience.workers);
      // Nodes of the other audience that is the same now stay with it.
      audience.key = this.audiences.has(key) ? `${key} ${++this.twins}` : key;
      this.audiences.set(audience.key, audience);
      forsaken ||= audience.workers.length === 0;
    }
    if (forsaken) this.sweep(++this.sweeps, this.everything());
  }

  private put(name: string, workers: readonly number[]): Audience {
    const part = this.part(name);
    const before = part.get(name);
    if (before !== undefined) this.leave(before);
    if (workers.length === 0) {
      part.delete(name);
      return NOBODY;
    }
    const key = keyOf(workers);
    let audience = this.audiences.get(key);
    if (audience === undefined) this.audiences.set(key, (audience = new Audience(workers, key)));
    audience.nodes++;
    part.set(name, audience);
    return audience;
  }

  private leave(audience: Audience): void {
    if (--audience.nodes === 0) this.audiences.delete(audience.key);
  }

  private *everything(): Generator<[Map<string, Audience>, string, Audience]> {
    for (const part of this.parts) for (const [name, audience] of part) yield [part, name, audience];
  }

  /** A later one sees all that this one has still to see. */
  private sweep(number: number, rest: Generator<[Map<string, Audience>, string, Audience]>): void {
    if (number !== this.sweeps) return;
    for (let i = 0; i < SLICE; i++) {
      const next = rest.next();
      if (next.done === true) return;
      const [part, name, audience] = next.value;
      if (audience.workers.length > 0) continue;
      part.delete(name);
      this.leave(audience);
    }
    setImmediate(() => this.sweep(number, rest));
  }

  private part(name: string): Map<string, Audience> {
    let hash = 0;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    return this.parts[((hash >>> 8) ^ hash) & (PARTS - 1)]!;
  }
}

function keyOf(workers: readonly number[]): string {
  return workers.join();
}

function without(workers: readonly number[], worker: number): readonly number[] {
  return workers.filter((other) => other !== worker);
}
