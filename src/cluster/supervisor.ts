import cluster from 'node:cluster';
import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { Logger } from 'pino';
import { Backoff } from './backoff.js';
import type { CallHandler } from './calls.js';
import { Incarnation } from './incarnation.js';
import { NumberStock, ownNumbers, type NumberBlock } from './number-stock.js';
import { POOL, type Accusation, type Failure, type PeerPlace, type Welcome } from './pool-messages.js';
import { makeRunDirectory, removeRunDirectory, socketPath } from './run-directory.js';

export interface PoolOptions {
  workers: number;
  /** Module that every worker runs. */
  entry: string;
  /** JSON given to every worker. */
  settings: unknown;
  /** Private directory of the pool's sockets; a fresh temporary one by default. */
  runDirectory?: string;
  /** Bound of what may wait between two workers. */
  backlogBytes: number;
  /** How long the workers' drains may take. */
  graceSeconds: number;
  /**
   * Who accepts: the primary, which hands connections out in `turns` (even shares, 100 µs more CPU for each), or the workers on
   * a `shared` socket (uneven shares where workers idle). By default shared for a lone worker, else in turns.
   */
  accept?: 'turns' | 'shared';
  /** Where there are other hosts: reserves numbers that no other host has. Without it they count from 1. */
  numbers?: () => Promise<NumberBlock>;
  /** Flags of Node for the workers. */
  nodeFlags?: string[];
  log: Logger;
}

export interface WorkerInfo {
  /** Place in the pool, from 0; a restarted worker has its predecessor's. */
  slot: number;
  /** Number on the bus, unique per incarnation. */
  number: number;
  pid: number;
  /** What the worker told when it was ready. */
  ready: unknown;
}

/** On top of the grace, before a worker that does not end is killed. */
const MARGIN_MS = 3_000;
const RELOAD_MS = 30_000;
const CLEAN_MS = 60_000;
/** Deaths in a row after which a slot is reported as unable to start. */
const FAILING = 3;
/** How long the news of a death may be under way when a worker reports a broken connection. */
const NEWS_MS = 1_000;

/** How often a slot without a number looks for one. */
const NUMBER_MS = 250;

interface Slot {
  index: number;
  backoff: Backoff;
  current?: Incarnation;
  timer?: NodeJS.Timeout;
}

/**
 * The primary process of the pool: starts the workers, makes them known to each other, restarts the dead and ends the
 * stuck. It holds no session and loads nothing that a worker needs.
 *
 * Events: `ready` (info), `exit` (info, code, signal), `failing` (slot, reason).
 */
export class Supervisor extends EventEmitter {
  private readonly slots: Slot[] = [];
  private readonly handlers = new Map<string, CallHandler<WorkerInfo>>();
  private readonly id = randomUUID();
  private readonly numbers: NumberStock;
  private directory = '';
  private state: 'idle' | 'starting' | 'running' | 'stopping' = 'idle';
  private stopped: Promise<void> | undefined;
  /** Settles `start()`. */
  private started: { done: () => void; failed: (reason: string) => void } | undefined;
  /** Dead workers whose traces nobody has removed yet. */
  private readonly departed: number[] = [];
  private cleaning = false;
  /** Recycled workers that have not ended yet. */
  private readonly leaving = new Set<Incarnation>();

  constructor(private readonly options: PoolOptions) {
    super();
    const told = (error: unknown): void => options.log.error({ err: error }, 'no numbers for further workers; again');
    this.numbers = new NumberStock(options.numbers ?? ownNumbers(), told);
    const own: Record<string, (body: never, worker: Incarnation) => unknown> = {
      [POOL.join]: (_body, worker) => this.welcome(worker),
      [POOL.connect]: (_body, worker) => this.introduce(worker),
      [POOL.ready]: (info, worker) => this.ready(worker, info),
      [POOL.failed]: (failure: Failure, worker) => this.failed(worker, failure),
      [POOL.trouble]: (failure: Failure, worker) => this.trouble(worker, failure),
      [POOL.recycle]: (_body, worker) => this.recycle(worker),
      [POOL.fault]: (accusation: Accusation, worker) => this.accused(worker, accusation),
    };
    for (const [name, handler] of Object.entries(own)) {
      this.handlers.set(name, (body, from) => {
        const worker = this.byNumber(from.number);
        return worker ? handler(body as never, worker) : undefined;
      });
    }
  }

  /** The workers that serve, in the order of their slots. */
  get workers(): WorkerInfo[] {
    return this.live()
      .filter((worker) => worker.state === 'ready')
      .map((worker) => worker.info);
  }

  /** Resolves when all workers are ready; rejects with the first one's error text when one cannot start. */
  async start(): Promise<WorkerInfo[]> {
    if (this.state !== 'idle') throw new Error('the pool was started before');
    this.state = 'starting';
    const { workers, entry, nodeFlags, runDirectory } = this.options;
    await this.numbers.fill();
    if (workers > 1) this.directory = await makeRunDirectory(runDirectory);
    if (this.stopped) throw new Error('the pool was stopped');
    const { accept = workers === 1 ? 'shared' : 'turns' } = this.options;
    cluster.schedulingPolicy = accept === 'shared' ? cluster.SCHED_NONE : cluster.SCHED_RR;
    cluster.setupPrimary({ exec: entry, args: [], execArgv: nodeFlags ?? process.execArgv });
    const outcome = new Promise<string | undefined>((resolve) => {
      this.started = { done: () => resolve(undefined), failed: resolve };
    });
    for (let index = 0; index < workers; index++) {
      const slot: Slot = { index, backoff: new Backoff() };
      this.slots.push(slot);
      this.fork(slot);
    }
    const failure = await outcome;
    this.started = undefined;
    if (failure !== undefined) {
      await this.stop();
      throw new Error(failure);
    }
    this.state = 'running';
    return this.workers;
  }

  /** Answers what workers ask by `Membership.ask`. */
  handle(name: string, fn: (body: never, from: WorkerInfo) => unknown): void {
    this.handlers.set(name, fn as CallHandler<WorkerInfo>);
  }

  /** Asks what the worker handles by `Membership.handle`; rejects with its error text. */
  ask(worker: WorkerInfo, name: string, body?: unknown, timeoutMs?: number): Promise<unknown> {
    const found = this.byNumber(worker.number);
    return found
      ? found.calls.ask(name, body, timeoutMs)
      : Promise.reject(new Error(`worker ${worker.number} is dead`));
  }

  /** The answers of all workers that serve, or drain; those that fail to answer are left out. */
  async askAll(name: string, body?: unknown, timeoutMs?: number): Promise<unknown[]> {
    const workers = this.live().filter(({ state }) => state === 'ready' || state === 'leaving');
    const answers = await Promise.allSettled(workers.map(({ calls }) => calls.ask(name, body, timeoutMs)));
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  }

  /** Has every worker run what it does on reload; rejects with the first error text after all have answered. */
  async reload(): Promise<void> {
    const answers = await Promise.allSettled(
      this.workers.map((worker) => this.ask(worker, POOL.reload, undefined, RELOAD_MS)),
    );
    for (const answer of answers) if (answer.status === 'rejected') throw answer.reason as Error;
  }

  /** Has every worker drain, ends them together, and kills what has not ended after the grace and a margin. */
  stop(): Promise<void> {
    return (this.stopped ??= this.end());
  }

  private async end(): Promise<void> {
    this.state = 'stopping';
    this.started?.failed('the pool was stopped');
    this.numbers.close();
    for (const slot of this.slots) clearTimeout(slot.timer);
    const workers = this.live();
    const exits = workers.map((worker) => this.drained(worker, true));
    // Nobody leaves the bus before all have written what others wait for.
    await Promise.allSettled(exits.map(({ drain }) => drain));
    for (const worker of workers) if (worker.alive) worker.calls.tell(POOL.exit);
    const margin = setTimeout(() => workers.forEach((worker) => worker.alive && worker.kill()), MARGIN_MS);
    await Promise.all(exits.map(({ exit }) => exit));
    clearTimeout(margin);
    if (this.directory !== '') await removeRunDirectory(this.directory);
  }

  /** `whole`: the others of the pool drain, too. */
  private drained(worker: Incarnation, whole: boolean): { drain: Promise<unknown>; exit: Promise<void> } {
    const { log, graceSeconds } = this.options;
    const exit = new Promise<void>((resolve) => {
      const heard = (info: WorkerInfo): void => {
        if (info.number !== worker.info.number) return;
        this.off('exit', heard);
        resolve();
      };
      this.on('exit', heard);
    });
    const starting = worker.state === 'starting';
    worker.state = 'leaving';
    if (starting) {
      // Nothing to drain, and perhaps nobody who listens.
      worker.kill();
      return { drain: Promise.resolve(), exit };
    }
    const drain = worker.calls.ask(POOL.drain, whole, graceSeconds * 1000 + MARGIN_MS).catch(({ message }: Error) => {
      const { slot, pid } = worker.info;
      log.error({ reason: message, worker: slot, pid }, 'worker did not drain');
    });
    return { drain, exit };
  }

  private fork(slot: Slot): void {
    const number = this.numbers.take();
    if (number === undefined) {
      slot.timer = setTimeout(() => this.fork(slot), NUMBER_MS);
      return;
    }
    const worker = new Incarnation(slot.index, number, (name) => this.handlers.get(name), {
      exited: (code, signal) => this.exited(slot, worker, code, signal),
      hung: (why) => this.condemn(worker, why),
      trouble: (error) =>
        this.options.log.error({ err: error, worker: slot.index }, 'news of a worker were not handled'),
    });
    slot.current = worker;
  }

  private welcome({ info }: Incarnation): Welcome {
    const { workers, settings, backlogBytes, graceSeconds } = this.options;
    const { number, slot } = info;
    const socket = socketPath(this.directory, number);
    return { pool: this.id, number, slot, workers, settings, socket, backlogBytes, graceSeconds };
  }

  /** A worker's bus listens: the others shall meet it, and it them. */
  private introduce(worker: Incarnation): PeerPlace[] {
    const peers = this.live().filter((other) => other !== worker && other.socket !== undefined);
    worker.socket = socketPath(this.directory, worker.info.number);
    const place: PeerPlace = { number: worker.info.number, socket: worker.socket };
    for (const peer of peers) peer.calls.tell(POOL.peer, place);
    return peers.map((peer) => ({ number: peer.info.number, socket: peer.socket! }));
  }

  private ready(worker: Incarnation, info: unknown): void {
    if (worker.state !== 'starting') return;
    worker.becomeReady(info);
    this.emit('ready', worker.info);
    if (this.slots.every((slot) => slot.current?.state === 'ready')) this.started?.done();
    void this.clean();
  }

  private failed(worker: Incarnation, failure: Failure): void {
    worker.failure = failure;
    this.trouble(worker, failure);
    if (worker.state === 'starting') this.started?.failed(failure.message);
  }

  private trouble({ info }: Incarnation, { message, stack }: Failure): void {
    this.options.log.error({ worker: info.slot, pid: info.pid, stack }, message);
  }

  private exited(slot: Slot, worker: Incarnation, code: number | null, signal: string | null): void {
    const { info } = worker;
    const reason = worker.describe(code, signal);
    for (const other of this.live()) if (other !== worker) other.calls.tell(POOL.gone, info.number);
    this.emit('exit', info, code, signal);
    if (this.state === 'starting') this.started?.failed(reason);
    if (this.state !== 'running') return;
    // Other hosts may know a worker that had no peers here.
    if (worker.socket !== undefined || this.options.numbers) this.departed.push(info.number);
    void this.clean();
    if (slot.current !== worker) return;
    const { log } = this.options;
    const wait = slot.backoff.died(worker.ran);
    const details = { worker: info.slot, pid: info.pid, code, signal, restartInMs: Math.round(wait) };
    if (slot.backoff.failures < FAILING) log.error(details, `worker died: ${reason}`);
    else {
      log.error(details, `worker died ${slot.backoff.failures} times in a row: ${reason}`);
      this.emit('failing', info.slot, reason);
    }
    slot.timer = setTimeout(() => this.fork(slot), wait);
  }

  /** A worker asked to end: another takes its place when it has drained. */
  private async recycle(worker: Incarnation): Promise<void> {
    const slot = this.slots[worker.info.slot]!;
    if (this.state !== 'running' || worker.state !== 'ready' || slot.current !== worker) return;
    const { drain, exit } = this.drained(worker, false);
    slot.current = undefined;
    this.leaving.add(worker);
    await drain;
    worker.calls.tell(POOL.exit);
    const margin = setTimeout(() => worker.alive && worker.kill(), MARGIN_MS);
    await exit;
    clearTimeout(margin);
    this.leaving.delete(worker);
    if (this.state === 'running' && !slot.current) this.fork(slot);
  }

  /** A pair whose connection broke cannot go on: the accused ends, unless one of the two is gone or going already. */
  private accused(accuser: Incarnation, { number, fault }: Accusation): void {
    const judge = (): void => {
      const accused = this.byNumber(number);
      if (this.state === 'stopping' || !accused || accuser.condemned || !accuser.alive) return;
      if (accused.state === 'leaving' || accuser.state === 'leaving') return;
      this.condemn(accused, `is ${fault} to worker ${accuser.info.slot}`);
    };
    if (fault === 'stuck') judge();
    else setTimeout(judge, NEWS_MS).unref();
  }

  private condemn(worker: Incarnation, why: string): void {
    if (worker.condemned || !worker.alive) return;
    this.options.log.error({ worker: worker.info.slot, pid: worker.info.pid }, `worker ${why}: killed`);
    worker.kill();
  }

  /** Has one worker remove what the dead left in shared tables; another one when that one dies over it. */
  private async clean(): Promise<void> {
    if (this.cleaning) return;
    this.cleaning = true;
    while (this.departed.length > 0 && this.state === 'running') {
      const worker = this.live().find((candidate) => candidate.state === 'ready');
      if (!worker) break;
      try {
        await worker.calls.ask(POOL.departed, this.departed[0], CLEAN_MS);
        this.departed.shift();
      } catch (error) {
        this.options.log.warn(
          { err: error, worker: worker.info.slot },
          'a dead worker was not cleaned up after; again',
        );
        if (worker.alive && !worker.condemned) break; // The next death or start tries again.
      }
    }
    this.cleaning = false;
  }

  private live(): Incarnation[] {
    const current = this.slots.flatMap(({ current }) => (current?.alive ? [current] : []));
    return [...current, ...[...this.leaving].filter((worker) => worker.alive)];
  }

  private byNumber(number: number): Incarnation | undefined {
    return this.live().find((worker) => worker.info.number === number);
  }
}
