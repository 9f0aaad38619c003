import cluster, { type Worker } from 'node:cluster';
import { Calls, type CallHandler } from './calls.js';
import { POOL, type Failure } from './pool-messages.js';
import type { WorkerInfo } from './supervisor.js';

/** How often a worker is asked whether it is there, and how many unanswered questions in a row mean that it hangs. */
const PING_MS = 5_000;
const PINGS_MISSED = 6;

/** A worker that is not ready by then has failed to start. */
const START_MS = 60_000;

/** One process of a slot, from fork to exit, as the supervisor sees it. */
export class Incarnation {
  readonly info: WorkerInfo;
  readonly calls: Calls<WorkerInfo>;
  state: 'starting' | 'ready' | 'leaving' | 'dead' = 'starting';
  /** Set once its bus listens. */
  socket: string | undefined;
  /** What it said of its own end. */
  failure: Failure | undefined;
  /** It was sent SIGKILL: what it says no longer counts. */
  condemned = false;
  private readyAt = 0;
  private readonly process: Worker;
  private readonly pulse: NodeJS.Timeout;
  private readonly patience: NodeJS.Timeout;

  constructor(
    slot: number,
    number: number,
    handlers: (name: string) => CallHandler<WorkerInfo> | undefined,
    events: {
      exited: (code: number | null, signal: string | null) => void;
      hung: (why: string) => void;
      trouble: (error: unknown) => void;
    },
  ) {
    this.process = cluster.fork();
    this.info = { slot, number, pid: this.process.process.pid ?? 0, ready: undefined };
    // A worker that dies with a message under way is told by its exit.
    const post = (message: unknown): boolean =>
      this.process.isConnected() && this.process.send(message as object, () => undefined);
    this.calls = new Calls(`worker ${number}`, post, handlers, this.info, events.trouble);
    this.process.on('message', (message: unknown) => this.calls.receive(message));
    this.process.once('error', (error) => (this.failure ??= { message: error.message }));
    this.process.once('exit', (code, signal) => {
      clearInterval(this.pulse);
      clearTimeout(this.patience);
      this.state = 'dead';
      this.calls.end(`worker ${number} is dead`);
      events.exited(code, signal);
    });
    this.patience = setTimeout(() => {
      this.failure = { message: `worker ${slot} was not ready after ${START_MS / 1000} s` };
      events.hung('was not ready in time');
    }, START_MS);
    let missed = 0;
    // Rounds are counted, not time: a host that slept has missed one.
    this.pulse = setInterval(() => {
      if (this.state !== 'ready') return;
      if (++missed > PINGS_MISSED) events.hung('does not answer');
      const answered = (): void => void (missed = 0);
      this.calls.ask(POOL.ping, undefined, PING_MS).then(answered, () => undefined);
    }, PING_MS);
  }

  get alive(): boolean {
    return this.state !== 'dead';
  }

  /** Milliseconds since it was ready; 0 when it never was. */
  get ran(): number {
    return this.readyAt === 0 ? 0 : Date.now() - this.readyAt;
  }

  becomeReady(info: unknown): void {
    clearTimeout(this.patience);
    this.info.ready = info;
    this.readyAt = Date.now();
    this.state = 'ready';
  }

  /** Why it ended, in words for people. */
  describe(code: number | null, signal: string | null): string {
    const end = signal ? `was killed by ${signal}` : `exited with code ${code}`;
    return this.failure ? this.failure.message : `worker ${this.info.slot} ${end}`;
  }

  kill(): void {
    this.condemned = true;
    // Reaches a stopped process too.
    this.process.process.kill('SIGKILL');
  }
}
