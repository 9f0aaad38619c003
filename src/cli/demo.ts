import { xml, type XmppClient } from '@xmpp/client';
import type { Config } from '../config/config.js';
import { login, type Login, type LoginOptions } from './client/account.js';
import { disconnect } from './client/connect.js';
import { makeSensors, runSensors, type Sensor } from './client/fleet.js';
import { conditionOf, PubSubClient, Refusal } from './client/pubsub.js';
import { readingOf } from './client/reading.js';
import { CliError } from './failure.js';
import { Fleet } from './render/dashboard.js';
import { Screen } from './render/screen.js';
import { pause, untilStopped } from './until.js';

export interface DemoOptions extends LoginOptions {
  sensors: number;
  /** Seconds between two readings of a sensor. */
  interval: number;
  /** Seconds from the first reading on; without it until stopped. */
  duration?: number;
}

/** Sensors share that many connections at most: an account may have only so many sessions. */
const MAX_CONNECTIONS = 50;
/** Requests and logins that are made at once while the demo sets up and clears away. */
const AT_ONCE = 8;
/** Milliseconds between two drawings of the dashboard, and between two lines where there is no terminal. */
const FRAME_MS = 250;
const LINE_MS = 1000;
/** How long the readings on their way may take when the demo ends. */
const SETTLE_MS = 2000;

/** A small fleet of sensors and a dashboard that watches it, all of them real XMPP clients of the broker. */
export async function demo(config: Config, options: DemoOptions): Promise<void> {
  const account = await login(config, options);
  const sensors = makeSensors(options.sensors);
  const fleet = new Fleet(sensors);
  const connections: XmppClient[] = [];
  try {
    const dashboard = await account.connect();
    connections.push(dashboard);
    await untilStopped((signal) => present(account, dashboard, connections, sensors, fleet, options, signal));
  } catch (error) {
    const condition = conditionOf(error);
    throw condition === undefined ? error : new CliError(`the broker refuses the demo: ${condition}`);
  } finally {
    await Promise.all(connections.map(disconnect));
  }
  process.stdout.write(`${fleet.result()}\n`);
}

async function present(
  account: Login,
  dashboard: XmppClient,
  connections: XmppClient[],
  sensors: Sensor[],
  fleet: Fleet,
  options: DemoOptions,
  signal: AbortSignal,
): Promise<void> {
  const view = new PubSubClient(dashboard, account.target.pubsub);
  // When each reading that is on its way was sent, by item id.
  const underway = new Map<string, number>();
  view.listen((node, item) => {
    const began = underway.get(item.id);
    const reading = readingOf(item.payload);
    if (began === undefined || !reading) return;
    underway.delete(item.id);
    const now = performance.now();
    fleet.arrived(node, reading.value, now, now - began);
  });
  const follow = async () => {
    await dashboard.send(xml('presence', {}, xml('priority', {}, '-1')));
    await inTurns(sensors, signal, async ({ node }) => void (await view.subscribe(node)));
  };
  try {
    await inTurns(sensors, signal, async ({ node, name }) => {
      await view.create(node, { title: `Demo: ${name}`, persist_items: '1', max_items: '1' });
    });
    await follow();
    // A session made anew after a lost connection; should it be lost again, the next one tries.
    dashboard.on('online', () => void follow().catch(() => undefined));
    const publishers: XmppClient[] = [];
    await inTurns(sensors.slice(0, MAX_CONNECTIONS), signal, async () => {
      const xmpp = await account.connect();
      publishers.push(xmpp);
      connections.push(xmpp);
    });
    if (signal.aborted) return;
    const events = {
      sending: (id: string, now: number) => void underway.set(id, now),
      published: () => void fleet.published++,
      failed: (id: string, error: Error) => {
        // A lost connection is made again by itself; what the broker refuses for good it will refuse again.
        if (error instanceof Refusal && !error.wait) throw error;
        underway.delete(id);
        fleet.failed++;
      },
    };
    const subtitle = `${sensors.length} sensors at ${view.service}, every ${options.interval} s   Ctrl-C ends`;
    const refused = new AbortController();
    const running = AbortSignal.any([signal, refused.signal, ...ends(options.duration)]);
    const publishing = runSensors(sensors, publishers, view.service, options.interval, events, running);
    await Promise.all([publishing.finally(() => refused.abort()), show(fleet, subtitle, running)]);
    for (const end = performance.now() + SETTLE_MS; underway.size > 0 && performance.now() < end;)
      await pause(20, new AbortController().signal);
  } finally {
    if (dashboard.status === 'online') await clear(view, sensors);
  }
}

/** The show's own end; setting it up takes as long as it takes. */
function ends(seconds: number | undefined): AbortSignal[] {
  return seconds === undefined ? [] : [AbortSignal.timeout(seconds * 1000)];
}

async function clear(view: PubSubClient, sensors: Sensor[]): Promise<void> {
  await inTurns(sensors, undefined, ({ node }) =>
    view.remove(node).catch((error: unknown) => {
      // Ended before it was made.
      if (conditionOf(error) !== 'item-not-found') throw error;
    }),
  );
}

/** The dashboard on a terminal, a line a second elsewhere. */
async function show(fleet: Fleet, subtitle: string, signal: AbortSignal): Promise<void> {
  if (!process.stdout.isTTY) {
    for (;;) {
      await pause(LINE_MS, signal);
      if (signal.aborted) return;
      process.stdout.write(`${new Date().toISOString().slice(11, 19)}  ${fleet.summary(performance.now())}\n`);
    }
  }
  const screen = new Screen(process.stdout);
  screen.open();
  try {
    while (!signal.aborted) {
      screen.draw(fleet.lines(performance.now(), screen.columns, screen.rows, subtitle));
      await pause(FRAME_MS, signal);
    }
  } finally {
    screen.close();
  }
}

/** Does `work` on each, a few at a time; starts no more once the signal fires. */
async function inTurns<T>(
  all: readonly T[],
  signal: AbortSignal | undefined,
  work: (one: T) => Promise<void>,
): Promise<void> {
  const waiting = [...all];
  const worker = async () => {
    for (let one = waiting.shift(); one !== undefined && !signal?.aborted; one = waiting.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
