import type { Broker } from './broker.js';
import { Client, type Transport } from './client.js';
import { Latencies } from './latency.js';
import { cpuSeconds, residentBytes } from './procfs.js';
import { inParallel, microseconds, type Result } from './run.js';

export interface ConnectOptions {
  transport: Transport;
  connections: number;
  /** Logins under way at a time. */
  parallel: number;
  /** Every account has logged in before: what a storm of reconnects finds. */
  again: boolean;
}

/** How long the connections idle before their memory is read. */
const IDLE_MS = 2_000;

/** Logins as fast as possible, and what a connection that idles afterwards costs in memory. */
export async function connect(broker: Broker, options: ConnectOptions): Promise<Result> {
  const { transport, connections, parallel } = options;
  const latencies = new Latencies();
  let clients: Client[] = [];
  const storm = async () => {
    clients = [];
    await inParallel(connections, parallel, async (i) => {
      const before = microseconds();
      clients[i] = await Client.login(broker, transport, i);
      latencies.add(microseconds() - before);
    });
  };
  if (options.again) {
    await storm();
    for (const client of clients) client.abort();
    await settled(broker);
  }
  const memory = residentBytes(broker.workers);
  const [server, generator, started] = [cpuSeconds(broker.pids), process.cpuUsage(), microseconds()];
  await storm();
  const seconds = (microseconds() - started) / 1e6;
  const serverCpu = cpuSeconds(broker.pids) - server;
  const { user, system } = process.cpuUsage(generator);
  await inParallel(connections, parallel, (i) => clients[i]!.available());
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  const each = (residentBytes(broker.workers) - memory) / connections;
  for (const client of clients) client.abort();
  return {
    done: connections,
    seconds,
    serverCpu,
    storeCpu: 0,
    generatorCpu: (user + system) / 1e6,
    latencies,
    lost: 0,
    duplicates: 0,
    reordered: 0,
    errors: 0,
    // Meaningful on a fresh broker only: what a first storm left behind is reused by the second.
    ...(!options.again && { extra: { 'KB/connection': (each / 1024).toFixed(1) } }),
  };
}

/** The broker has done away with the connections that were cut: it uses (almost) no CPU any more. */
async function settled(broker: Broker): Promise<void> {
  for (let before = cpuSeconds(broker.pids); ;) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const now = cpuSeconds(broker.pids);
    if (now - before < 0.03) return;
    before = now;
  }
}
