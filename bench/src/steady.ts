import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { Broker } from './broker.js';
import { Client, type Transport } from './client.js';
import { pace, publish } from './pubsub.js';
import { Finder, Template } from './record.js';
import { microseconds } from './run.js';

/** Accounts from 0 up that the publisher and its watcher use. */
export const STEADY_ACCOUNTS = 2;
const NODE = 'bench/steady';
const PER_SECOND = 100;
const PAYLOAD_BYTES = 230;
/** How long the last ones may be on their way. */
const DRAIN_MS = 2_000;

/** What those who were there all the time noticed. */
export interface Steadiness {
  sent: number;
  received: number;
  /** Milliseconds from publishing to notification, of each that came. */
  latencies: number[];
}

/**
 * One who publishes at a steady rate, and one who watches, in a thread of their own: what is measured is to be the broker's time, not
 * that of a generator with its hands full.
 */
export async function startSteady(broker: Broker, transport: Transport): Promise<() => Promise<Steadiness>> {
  const { c2s, c2s_tls, http } = broker;
  const worker = new Worker(new URL(import.meta.url), { workerData: { broker: { c2s, c2s_tls, http }, transport } });
  await once(worker, 'message');
  return async () => {
    worker.postMessage('stop');
    const [found] = (await once(worker, 'message')) as [Steadiness];
    await worker.terminate();
    return found;
  };
}

async function run({ broker, transport }: { broker: Broker; transport: Transport }): Promise<void> {
  const publisher = await Client.login(broker, transport, 0);
  const watcher = await Client.login(broker, transport, 1);
  // After a restart it is there.
  await publisher.createNode(NODE, false).catch(() => undefined);
  await watcher.available();
  await watcher.subscribe(NODE);

  const state = { running: true };
  const found: Steadiness = { sent: 0, received: 0, latencies: [] };
  const finder = new Finder({
    record: (_sender, _seq, time) => {
      found.received++;
      found.latencies.push((microseconds() - time) / 1000);
    },
  });
  watcher.consume((chunk) => finder.feed(chunk));
  publisher.consume(() => undefined);
  const template = new Template(publisher.encode(publish(NODE, PAYLOAD_BYTES)));
  pace(PER_SECOND, state, (seq, due) => {
    const bytes = Buffer.allocUnsafe(template.length);
    template.put(bytes, 0, 0, seq, due);
    publisher.write(bytes);
    found.sent++;
  });
  parentPort!.postMessage('started');
  await once(parentPort!, 'message');
  state.running = false;
  for (const end = Date.now() + DRAIN_MS; Date.now() < end && found.received < found.sent;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  publisher.close();
  watcher.close();
  parentPort!.postMessage(found);
}

if (!isMainThread && workerData !== null) await run(workerData as Parameters<typeof run>[0]);
