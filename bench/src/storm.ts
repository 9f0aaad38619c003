import type { Broker } from './broker.js';
import { Client, type Transport } from './client.js';
import { Latencies } from './latency.js';
import { histogram, quantile } from './metrics.js';
import { cpuSeconds } from './procfs.js';
import { inParallel, microseconds, type Result } from './run.js';
import { startSteady, STEADY_ACCOUNTS } from './steady.js';

export interface StormOptions {
  transport: Transport;
  connections: number;
  /** The broker is restarted, and has forgotten the sessions; otherwise only the connections are cut. */
  restart: boolean;
}

/** As a broker is run; but all clients come from one address here. */
export const STORM_SETTINGS: Record<string, unknown> = {
  'limits.enabled': true,
  'limits.connections_per_address': 1_000_000,
};

const PARALLEL = 64;
const NODES = 10;
const RETRY_MS = 1_000;
/** A publish of a steady publisher that takes longer than that was held up, in milliseconds. */
const DELAYED_MS = 50;
const LAG = 'thrum_event_loop_lag_seconds';
const WAIT = 'thrum_admission_wait_seconds';
/** How often the worker looks how late its timers are. */
const LAG_EVERY_MS = 100;

/** Everybody is cut at once and comes back at once, while somebody publishes all the time. */
export async function storm(broker: Broker, options: StormOptions): Promise<Result> {
  const { transport, connections, restart } = options;
  const account = (i: number) => i + STEADY_ACCOUNTS;
  const clients: Client[] = [];
  const sessions: string[] = [];
  await inParallel(connections, PARALLEL, async (i) => {
    const client = (clients[i] = await Client.login(broker, transport, account(i)));
    if (i < NODES) await client.createNode(`bench/${i}`, false);
  });
  await inParallel(connections, PARALLEL, async (i) => {
    const client = clients[i]!;
    await client.available();
    await client.subscribe(`bench/${i % NODES}`);
    sessions[i] = await client.enableResumption();
    client.onLost = () => undefined;
    client.consume(() => undefined);
  });
  if (restart) await broker.restart();
  const stopSteady = await startSteady(broker, transport);

  const [lag, wait] = [await histogram(broker, LAG), await histogram(broker, WAIT)];
  const [server, generator, started] = [cpuSeconds(broker.pids), process.cpuUsage(), microseconds()];
  for (const client of clients) client.abort();
  const latencies = new Latencies();
  let [resumed, retries] = [0, 0];
  /** As clients do that are told to try again later. */
  const back = async (number: number, previd: string): Promise<Client> => {
    for (;;) {
      try {
        return await Client.login(broker, transport, number, previd);
      } catch (error) {
        if (!(error as Error).message.includes('temporary-auth-failure')) throw error;
        retries++;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS * (0.5 + Math.random())));
      }
    }
  };
  await Promise.all(
    clients.map(async (_, i) => {
      const before = microseconds();
      const client = (clients[i] = await back(account(i), sessions[i]!));
      latencies.add(microseconds() - before);
      if (client.jid === '') resumed++;
    }),
  );
  const seconds = (microseconds() - started) / 1e6;
  const serverCpu = cpuSeconds(broker.pids) - server;
  const { user, system } = process.cpuUsage(generator);
  await new Promise((resolve) => setTimeout(resolve, 2 * LAG_EVERY_MS));
  const [lagAfter, waitAfter] = [await histogram(broker, LAG), await histogram(broker, WAIT)];
  const steady = await stopSteady();
  for (const client of clients) client.abort();

  const delayed = steady.latencies.filter((latency) => latency > DELAYED_MS).length;
  const atMost = (share: number) => `≤ ${(quantile(lag, lagAfter, share) * 1000).toFixed(0)}`;
  return {
    done: connections,
    seconds,
    serverCpu,
    storeCpu: 0,
    generatorCpu: (user + system) / 1e6,
    latencies,
    lost: steady.sent - steady.received,
    duplicates: 0,
    reordered: 0,
    errors: restart ? 0 : connections - resumed,
    extra: {
      's until all were back': seconds.toFixed(2),
      'ms p95': (latencies.percentile(0.95) / 1000).toFixed(0),
      resumed: String(resumed),
      'told to try again': String(retries),
      's waited to be let in, p99': `≤ ${quantile(wait, waitAfter, 0.99)}`,
      'ms event-loop lag p50': atMost(0.5),
      'ms at most': atMost(1),
      [`of ${steady.sent} publishes took over ${DELAYED_MS} ms`]: String(delayed),
      'ms the slowest': Math.max(...steady.latencies).toFixed(0),
    },
  };
}
