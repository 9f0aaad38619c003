import { storeLatency } from '../../metrics/histogram.js';
import { StoreError, WAITING_BYTES } from '../store.js';
import { Arena } from './arena.js';
import type { Environment } from './environment.js';
import { commitError } from './errors.js';

/** One thing to be written. Its promise is settled by `done` or `fail`, after the commit. */
export interface Step {
  /**
   * Issues the work as writes that hold on a condition, without a transaction of its own: resolves to whether it held.
   * Undefined when the work takes {@link apply}.
   */
  attempt?(arena: Arena): Promise<boolean> | undefined;
  /** Does the work inside a write transaction. */
  apply(arena: Arena): void;
  /** What can be done separately when all together cannot. */
  parts?(): Step[] | undefined;
  done(): void;
  fail(error: StoreError): void;
}

interface Batch {
  steps: Step[];
  bytes: number;
  arena: Arena;
  /** When the first step was added (performance.now). */
  since: number;
}

function emptyBatch(): Batch {
  return { steps: [], bytes: 0, arena: new Arena(), since: 0 };
}

/**
 * So many publishes in a row must find the disk full before those that follow are refused untried, but for one at a time that finds out
 * whether there is room again: LMDB tells of each failed write on stderr, with a stack.
 */
const FAILURES = 3;
const RETRY_MS = 2_000;
/** Bytes that may wait for the commit in progress, or to be on disk. */
const QUEUE_BYTES = 256 * 2 ** 20;

/** Something to wait for until somebody opens it. */
class Gate {
  open!: () => void;
  readonly opened = new Promise<void>((resolve) => (this.open = resolve));
}

/**
 * Groups the writes of a process into commits. One batch is being written at a time, and what comes meanwhile makes the
 * next one: so writes take effect in the order of the calls, and the busier it is, the fewer commits there are.
 *
 * A batch is first tried as conditional writes, which LMDB's writer thread does without waiting for this thread; what does
 * not go that way is done in a write transaction. When a batch fails, each step is tried alone.
 */
export class Writer {
  private next = emptyBatch();
  private spare = emptyBatch();
  private busy = false;
  private closed = false;
  private idle: (() => void)[] = [];
  /** Publishes in a row that the disk had no room for, and when the next one may be tried. */
  private failures = 0;
  private retryAt = 0;
  private readonly queueBytes = QUEUE_BYTES;
  private unflushed: Step[] = [];
  private unflushedBytes = 0;
  /** When the oldest step of the batch being written was added, and of those that wait to be on disk. */
  private writingSince = 0;
  private unflushedSince = Infinity;
  private syncing: Promise<void> | undefined;
  /** The commit that is under way, or was the last. */
  private writing: Promise<void> | undefined;
  private gate: Gate | undefined;

  constructor(
    private readonly environment: Environment,
    private readonly flushed: boolean,
  ) {}

  /** Why nothing can be added; undefined when it can. */
  refusal(): StoreError | undefined {
    if (this.environment.readOnly) return new StoreError('unavailable', 'The store was opened for reading only.');
    if (this.closed) return new StoreError('unavailable', 'The store is closed.');
    if (this.next.bytes + this.unflushedBytes > this.queueBytes)
      return new StoreError('unavailable', 'More is written than the disk takes: try again later.');
    return undefined;
  }

  /** Memory for what the next commit writes. */
  get arena(): Arena {
    return this.next.arena;
  }

  /** Another number whenever what was added before can no longer be added to: it is being written, or others follow it. */
  epoch = 0;

  /** The step joins the next commit. */
  add(step: Step): void {
    if (this.next.steps.push(step) === 1) this.next.since = performance.now();
    if (!this.busy) {
      this.busy = true;
      setImmediate(() => void this.run());
    }
  }

  /** Counts bytes that wait in memory. */
  charge(bytes: number): void {
    this.next.bytes += bytes;
  }

  /** Runs `work`, which holds `bytes` of memory, inside a write transaction, in its turn; resolves to its result after the commit. */
  transact<T>(work: () => T, bytes = WAITING_BYTES): Promise<T> {
    return new Promise((resolve, reject) => {
      const refusal = this.refusal();
      if (refusal) return reject(refusal);
      this.charge(bytes);
      let result: T;
      this.epoch++;
      this.add({
        apply: () => void (result = work()),
        done: () => resolve(result),
        fail: reject,
      });
    });
  }

  /** Resolves when no commit is under way; the next one waits for {@link release}. */
  async hold(): Promise<void> {
    this.gate ??= new Gate();
    await this.writing;
  }

  release(): void {
    this.gate?.open();
    this.gate = undefined;
  }

  /** Resolves when all that was added is committed. */
  settled(): Promise<void> {
    return this.busy ? new Promise((resolve) => this.idle.push(resolve)) : Promise.resolve();
  }

  /** Resolves when all that was added is committed and acknowledged; nothing more is taken. */
  async close(): Promise<void> {
    this.closed = true;
    this.release();
    await this.settled();
    await this.syncing;
  }

  private async run(): Promise<void> {
    while (this.next.steps.length > 0) {
      if (this.gate !== undefined) await this.gate.opened;
      const batch = this.next;
      this.next = this.spare;
      this.epoch++;
      this.writingSince = batch.since;
      this.writing = this.write(batch);
      await this.writing;
      if (!this.flushed) observe(batch.since);
      else if (this.syncing !== undefined) this.unflushedBytes += batch.bytes;
      batch.steps = [];
      batch.bytes = 0;
      batch.arena.reset();
      this.spare = batch;
    }
    this.busy = false;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  private async write(batch: Batch): Promise<void> {
    const { arena } = batch;
    const steps = this.failures < FAILURES ? batch.steps : this.tried(batch.steps);
    this.environment.fresh();
    const left = steps.every((step) => step.attempt !== undefined) ? await this.attempt(steps, arena) : steps;
    if (left.length > 0) await this.apply(left, arena);
  }

  /** Refuses the publishes that a full disk would not take; what is no publish may make room, so it is always tried. */
  private tried(steps: readonly Step[]): readonly Step[] {
    return steps.filter((step) => {
      if (step.attempt === undefined) return true;
      const now = performance.now();
      if (now >= this.retryAt) {
        this.retryAt = now + RETRY_MS;
        return true;
      }
      step.fail(new StoreError('full', 'The disk is full.'));
      return false;
    });
  }

  /** Resolves to the steps that were not done, in order. */
  private attempt(steps: readonly Step[], arena: Arena): Promise<readonly Step[]> {
    return new Promise((resolve) => {
      const left = new Set<Step>();
      let open = 1;
      const finish = (): void => resolve(left.size === 0 ? [] : steps.filter((step) => left.has(step)));
      const settle = (step: Step, held: boolean): void => {
        if (held) this.failures = 0;
        if (!held) left.add(step);
        else if (!this.flushed) step.done();
        else this.acknowledge([step]);
        if (--open === 0) finish();
      };
      const issued = this.environment.root.batch(() => {
        for (const step of steps) {
          const tried = this.tryStep(step, arena);
          if (tried === undefined) {
            left.add(step);
            continue;
          }
          open++;
          tried.then(
            (held) => settle(step, held),
            (error: unknown) => commitError(error).then(() => settle(step, false)),
          );
        }
      });
      // Each step hears of the failure by itself.
      issued.catch(() => undefined);
      if (--open === 0) finish();
    });
  }

  /** A step that cannot even be tried fails later, alone. */
  private tryStep(step: Step, arena: Arena): Promise<boolean> | undefined {
    try {
      return step.attempt?.(arena);
    } catch {
      return undefined;
    }
  }

  private async apply(steps: readonly Step[], arena: Arena): Promise<void> {
    try {
      await this.environment.root.childTransaction(() => {
        for (const step of steps) step.apply(arena);
      });
    } catch (error) {
      const reason = await commitError(error);
      const parts = steps.length > 1 ? steps : steps[0]?.parts?.();
      if (parts === undefined) {
        if (reason.reason === 'full' && ++this.failures === FAILURES) this.retryAt = performance.now() + RETRY_MS;
        steps[0]?.fail(reason);
      } else await this.applyEach(parts, arena);
      return;
    }
    this.failures = 0;
    this.acknowledge(steps);
  }

  /** One by one, until it is plain that the disk takes no more. */
  private async applyEach(steps: readonly Step[], arena: Arena): Promise<void> {
    for (const step of steps) {
      if (this.failures < FAILURES || this.tried([step]).length > 0) await this.apply([step], arena);
    }
  }

  private acknowledge(steps: readonly Step[]): void {
    if (!this.flushed) for (const step of steps) step.done();
    else if (steps.length > 0) {
      for (const step of steps) this.unflushed.push(step);
      this.unflushedSince = Math.min(this.unflushedSince, this.writingSince);
      this.syncing ??= this.syncAll();
    }
  }

  /** Acknowledges when it is on disk; one sync at a time, for all that was committed before it. */
  private async syncAll(): Promise<void> {
    while (this.unflushed.length > 0) {
      const steps = this.unflushed.splice(0);
      const since = this.unflushedSince;
      const bytes = this.unflushedBytes;
      this.unflushedSince = Infinity;
      try {
        await this.environment.sync();
        observe(since);
        for (const step of steps) step.done();
      } catch (error) {
        for (const step of steps) step.fail(error as StoreError);
      }
      this.unflushedBytes -= bytes;
    }
    this.unflushedBytes = 0;
    this.syncing = undefined;
  }
}

function observe(since: number): void {
  storeLatency.observe((performance.now() - since) / 1000);
}
