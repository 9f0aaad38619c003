import type { Broker } from './broker.js';
import { Client, SERVICE } from './client.js';
import { Finder, RECORD, REQUEST_ID, Template } from './record.js';
import { inParallel, Meter, microseconds, type Result, type RunOptions } from './run.js';

export interface PubSubOptions extends RunOptions {
  publishers: number;
  subscribers: number;
  /** All publishers on one node, or each on its own. */
  nodes: 'one' | 'own';
  /** Publishes that each publisher may have open: until its result and all its notifications are here. */
  window: number;
  /** Instead: publishes a second over all publishers, whatever is still open. */
  rate?: number;
  persist: boolean;
  /** Every subscriber acknowledges (XEP-0198). */
  acknowledge: boolean;
  payloadBytes: number;
}

const PARALLEL = 32;
/** Open publishes of one publisher are told apart by their sequence number modulo this. */
const RING = 1024;
const TIMER_MS = 2;

/** Publishers → nodes → subscribers, every subscriber on every node. */
export async function pubsub(broker: Broker, options: PubSubOptions): Promise<Result> {
  const { publishers, subscribers, transport, window, seconds } = options;
  const node = (publisher: number) => (options.nodes === 'one' ? 'bench' : `bench/${publisher}`);
  const nodes = options.nodes === 'one' ? 1 : publishers;
  const clients: Client[] = [];
  await inParallel(publishers + subscribers, PARALLEL, async (i) => {
    clients[i] = await Client.login(broker, transport, i);
  });
  await inParallel(nodes, PARALLEL, (i) => clients[i]!.createNode(node(i), options.persist));
  const listeners = clients.slice(publishers);
  await inParallel(subscribers, PARALLEL, async (i) => {
    await listeners[i]!.available();
    for (let n = 0; n < nodes; n++) await listeners[i]!.subscribe(node(n));
    if (options.acknowledge) await listeners[i]!.enableAcknowledgements();
  });

  const meter = new Meter(subscribers, publishers);
  const templates = Array.from(
    { length: publishers },
    (_, i) => new Template(clients[i]!.encode(publish(node(i), options.payloadBytes))),
  );
  /** What is missing until a publish is done: its result, and one notification for each subscriber. */
  const open = new Int32Array(publishers * RING);
  const free = new Int32Array(publishers).fill(window);
  const ready = new Set<number>();

  const send = (publisher: number, count: number, due: number): void => {
    const template = templates[publisher]!;
    const bytes = Buffer.allocUnsafe(template.length * count);
    for (let i = 0; i < count; i++) {
      const seq = meter.sent[publisher]++;
      open[publisher * RING + (seq % RING)] = subscribers + 1;
      template.put(bytes, i * template.length, publisher, seq, due);
    }
    clients[publisher]!.write(bytes);
  };
  const turn = (): void => {
    if (meter.running) {
      const now = microseconds();
      for (const publisher of ready) {
        send(publisher, free[publisher]!, now);
        free[publisher] = 0;
      }
    }
    ready.clear();
  };
  const step = (publisher: number, seq: number): void => {
    if (--open[publisher * RING + (seq % RING)]! > 0 || options.rate !== undefined) return;
    free[publisher]++;
    if (ready.size === 0) setImmediate(turn);
    ready.add(publisher);
  };

  const finders = clients.map((client, i) => {
    client.onLost = (error) => (meter.problem ??= error);
    if (i < publishers) {
      const finder = new Finder({ record: () => undefined, answer: (seq) => step(i, seq) });
      client.consume((chunk) => finder.feed(chunk));
      return finder;
    }
    return listen(client, meter, i - publishers, options.acknowledge, step);
  });

  if (options.rate === undefined) for (let i = 0; i < publishers; i++) ready.add(i);
  if (options.rate === undefined) turn();
  else pace(options.rate, meter, (publish, due) => send(publish % publishers, 1, due));
  const errors = () => finders.reduce((sum, finder) => sum + finder.errors, 0);
  const result = await meter.measure(broker, seconds, () => true, errors);
  for (const client of clients) client.close();
  return result;
}

/** A subscriber: counts its notifications, and acknowledges when it is asked. */
function listen(
  client: Client,
  meter: Meter,
  receiver: number,
  acknowledge: boolean,
  step: (publisher: number, seq: number) => void,
): Finder {
  let now = 0;
  const order = meter.orders[receiver]!;
  const finder = new Finder({
    record: (sender, seq, time) => {
      meter.received(receiver, sender, seq, time, now);
      step(sender, seq);
    },
  });
  client.consume((chunk) => {
    now = microseconds();
    finder.feed(chunk);
    if (!acknowledge || finder.ackRequests === 0) return;
    finder.ackRequests = 0;
    client.send(`<a xmlns='urn:xmpp:sm:3' h='${order.received}'/>`);
  });
  return finder;
}

/** Calls `send` so often a second, evenly; a message that is late counts from when it was due. */
export function pace(rate: number, meter: Pick<Meter, 'running'>, send: (publish: number, due: number) => void): void {
  const every = 1e6 / rate;
  const start = microseconds();
  let sent = 0;
  const turn = (): void => {
    if (!meter.running) return;
    for (; start + sent * every <= microseconds(); sent++) send(sent, start + sent * every);
    // Timers are late by up to a millisecond or two: the last of them is waited for in turns of the loop.
    const left = (start + sent * every - microseconds()) / 1000;
    if (left > TIMER_MS) setTimeout(turn, left - TIMER_MS);
    else setImmediate(turn);
  };
  turn();
}

export function publish(node: string, bytes: number): string {
  const reading = (pad: number) =>
    `<data xmlns='urn:example:sensor' r='${RECORD}'><temp u='C'>21.37</temp><hum u='%'>48.2</hum><volt>3.712</volt>` +
    `<pad>${'x'.repeat(pad)}</pad></data>`;
  const payload = reading(Math.max(0, bytes - reading(0).length));
  return (
    `<iq type='set' to='${SERVICE}' id='${REQUEST_ID}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>` +
    `<publish node='${node}'><item>${payload}</item></publish></pubsub></iq>`
  );
}
