import type { Redis } from '../../redis/redis.js';
import { StoreError, WAITING_BYTES } from '../store.js';
import { Request, storeError } from './calls.js';

/** Something to do in turn. */
export interface Job {
  /** performance.now when it was asked for. */
  readonly since: number;
  /** Bytes of memory that it holds while it waits. */
  readonly bytes: number;
  run(request: Request): Promise<void>;
  fail(error: StoreError): void;
}

/** Bytes that may wait for Redis; more is refused. */
const QUEUE_BYTES = 256 * 2 ** 20;

interface Lane {
  jobs: Job[];
  running: boolean;
}

/**
 * What is written to one node is done in the order of the calls, one thing at a time: what comes meanwhile waits, and publishes
 * among it join into one. Different nodes do not wait for each other, and what begins in one tick leaves together.
 */
export class Lanes {
  private readonly lanes = new Map<string, Lane>();
  private bytes = 0;
  private readonly queueBytes = QUEUE_BYTES;
  /** Lanes that begin at the end of this tick. */
  private starting: [string, Lane][] = [];
  private readonly under = new Set<Promise<void>>();
  closed = false;

  constructor(private readonly redis: Redis) {}

  /** Why nothing can be added; undefined when it can. */
  refusal(): StoreError | undefined {
    if (this.closed) return new StoreError('unavailable', 'The store is closed.');
    if (this.bytes > this.queueBytes)
      return new StoreError('unavailable', 'More is written than Redis takes: try again later.');
    return undefined;
  }

  /** The job that would be done last at the node and has not begun. */
  last(node: string): Job | undefined {
    return this.lanes.get(node)?.jobs.at(-1);
  }

  charge(bytes: number): void {
    this.bytes += bytes;
  }

  add(node: string, job: Job): void {
    let lane = this.lanes.get(node);
    if (lane === undefined) {
      lane = { jobs: [], running: false };
      this.lanes.set(node, lane);
    }
    lane.jobs.push(job);
    if (lane.running) return;
    lane.running = true;
    if (this.starting.push([node, lane]) === 1) setImmediate(() => this.start());
  }

  /** Does `work`, which holds `bytes` of memory, in the node's turn. */
  inTurn<T>(node: string, work: (request: Request) => Promise<T>, bytes = WAITING_BYTES): Promise<T> {
    return new Promise((resolve, reject) => {
      const refusal = this.refusal();
      if (refusal) return reject(refusal);
      const run = async (request: Request) => resolve(await work(request));
      this.charge(bytes);
      this.add(node, { since: performance.now(), bytes, run, fail: reject });
    });
  }

  private start(): void {
    const starting = this.starting;
    this.starting = [];
    for (const [node, lane] of starting) this.track(this.drive(node, lane));
  }

  private async drive(node: string, lane: Lane): Promise<void> {
    for (let job = lane.jobs.shift(); job !== undefined; job = lane.jobs.shift()) {
      try {
        await job.run(new Request(this.redis, job.since));
      } catch (error) {
        // What a caller's own function throws is the caller's.
        job.fail(error as StoreError);
      }
      this.bytes -= job.bytes;
    }
    lane.running = false;
    this.lanes.delete(node);
  }

  /** Work that nobody waits for, but {@link settled} does; it is done as far as Redis lets it. */
  beside(work: (request: Request) => Promise<void>): void {
    this.track(
      work(new Request(this.redis))
        .catch(storeError)
        .then(() => undefined),
    );
  }

  private track(work: Promise<void>): void {
    this.under.add(work);
    void work.finally(() => this.under.delete(work));
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.under.size > 0 || this.starting.length > 0)
      await (this.under.size > 0 ? Promise.all(this.under) : new Promise((resolve) => setImmediate(resolve)));
  }
}
