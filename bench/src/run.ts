import type { Broker } from './broker.js';
import type { Transport } from './client.js';
import { Latencies } from './latency.js';
import { Order } from './order.js';
import { cpuSeconds } from './procfs.js';

export interface RunOptions {
  transport: Transport;
  /** Measured time; a warm-up comes before. */
  seconds: number;
}

/** What a run found. */
export interface Result {
  /** Deliveries (or logins) in the measured time. */
  done: number;
  seconds: number;
  serverCpu: number;
  /** Of the store's own processes; not part of the server's. */
  storeCpu: number;
  generatorCpu: number;
  latencies: Latencies;
  lost: number;
  duplicates: number;
  reordered: number;
  errors: number;
  /** Facts that only some scenarios have. */
  extra?: Record<string, string>;
}

/** How long what is under way at the end may take to arrive. */
const DRAIN_MS = 5_000;

/** Counts what receivers get, and knows when the measured time is. */
export class Meter {
  readonly latencies = new Latencies();
  readonly orders: Order[];
  /** Messages sent by each sender. */
  readonly sent: Int32Array;
  private measuring = false;
  private done = 0;
  /** True until the end of the measured time: senders go on. */
  running = true;
  problem: Error | undefined;

  constructor(
    receivers: number,
    readonly senders: number,
  ) {
    this.orders = Array.from({ length: receivers }, () => new Order(senders));
    this.sent = new Int32Array(senders);
  }

  received(receiver: number, sender: number, seq: number, time: number, now: number): void {
    this.orders[receiver]!.take(sender, seq);
    if (!this.measuring) return;
    this.done++;
    this.latencies.add(now - time);
  }

  /**
   * Warms up, measures, stops the senders and waits for what is under way. `expected(receiver, sender)` says whether the receiver
   * should have got that sender's messages.
   */
  async measure(
    broker: Broker,
    seconds: number,
    expected: (receiver: number, sender: number) => boolean,
    errors: () => number,
  ): Promise<Result> {
    await this.wait(Math.max(WARM_UP_SECONDS, seconds / 4));
    const stores = broker.storePids ?? [];
    const [server, store] = [cpuSeconds(broker.pids), cpuSeconds(stores)];
    const [generator, started] = [process.cpuUsage(), microseconds()];
    this.measuring = true;
    await this.wait(seconds);
    this.measuring = false;
    const elapsed = (microseconds() - started) / 1e6;
    const serverCpu = cpuSeconds(broker.pids) - server;
    const storeCpu = cpuSeconds(stores) - store;
    const { user, system } = process.cpuUsage(generator);
    this.running = false;
    await this.drained(expected);
    for (const [receiver, order] of this.orders.entries()) {
      this.sent.forEach((sent, sender) => {
        if (expected(receiver, sender)) order.end(sender, sent);
      });
    }
    const total = (count: (order: Order) => number) => this.orders.reduce((sum, order) => sum + count(order), 0);
    return {
      done: this.done,
      seconds: elapsed,
      serverCpu,
      storeCpu,
      generatorCpu: (user + system) / 1e6,
      latencies: this.latencies,
      lost: total(({ missing }) => missing),
      duplicates: total(({ duplicates }) => duplicates),
      reordered: total(({ reordered }) => reordered),
      errors: errors(),
    };
  }

  private async wait(seconds: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    if (this.problem !== undefined) throw this.problem;
  }

  private async drained(expected: (receiver: number, sender: number) => boolean): Promise<void> {
    let due = 0;
    this.orders.forEach((_order, receiver) => {
      this.sent.forEach((sent, sender) => (due += expected(receiver, sender) ? sent : 0));
    });
    const end = Date.now() + DRAIN_MS;
    while (Date.now() < end && this.orders.reduce((sum, { received }) => sum + received, 0) < due) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** What is hot is compiled by then, in every process: else several hosts are compared by how long V8 takes to compile the same code. */
const WARM_UP_SECONDS = 3;

/** A clock for latencies: microseconds since the process began. */
export function microseconds(): number {
  return performance.now() * 1000;
}

/** Runs `work` for 0 … count-1, at most `parallel` at a time. */
export async function inParallel(count: number, parallel: number, work: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(parallel, count) }, async () => {
      while (next < count) await work(next++);
    }),
  );
}
