import type { Config } from '../config/config.js';
import { login, type LoginOptions } from './client/account.js';
import { disconnect } from './client/connect.js';
import { conditionOf, PubSubClient, Refusal } from './client/pubsub.js';
import { RandomWalk, readingElement, readingText } from './client/reading.js';
import { CliError } from './failure.js';
import { milliseconds } from './render/stats.js';
import { printable } from './text.js';
import { pause, untilStopped } from './until.js';

export const DEFAULT_NODE = 'sensors/temperature';

export interface SensorOptions extends LoginOptions {
  node: string;
  /** Seconds between readings. */
  interval: number;
  /** How many readings; without it until stopped. */
  count?: number;
}

/** A simulated thermometer: makes the node when it is missing and publishes a random walk. */
export async function sensor(config: Config, options: SensorOptions): Promise<void> {
  const account = await login(config, options);
  const xmpp = await account.connect();
  const pubsub = new PubSubClient(xmpp, account.target.pubsub);
  try {
    const made = await pubsub.create(options.node, {
      title: 'Simulated temperature',
      persist_items: '1',
      max_items: '10',
    });
    const where = `${printable(options.node)} at ${pubsub.service}`;
    process.stdout.write(`${made ? 'made and publishing to' : 'publishing to'} ${where} as ${String(xmpp.jid)}\n`);
    await untilStopped((signal) => publishReadings(pubsub, options, signal));
  } catch (error) {
    throw explain(error, options.node);
  } finally {
    await disconnect(xmpp);
  }
}

async function publishReadings(pubsub: PubSubClient, options: SensorOptions, signal: AbortSignal): Promise<void> {
  const walk = new RandomWalk(21, 0.2);
  const session = Date.now().toString(36);
  let due = performance.now();
  for (let number = 1; !signal.aborted && number <= (options.count ?? Infinity); number++) {
    const reading = { at: Date.now(), value: walk.next(), unit: 'Cel' };
    const began = performance.now();
    const said = await pubsub.publish(options.node, `${session}-${number}`, readingElement(reading)).then(
      () => `kept after ${milliseconds(performance.now() - began)}`,
      (error: Error) => {
        // A lost connection is made again by itself; what the broker refuses for good it will refuse again.
        if (error instanceof Refusal && error.wait) return `not kept, may do later: ${error.condition}`;
        if (conditionOf(error) !== undefined) throw error;
        return `unanswered: ${error.message}`;
      },
    );
    const time = new Date(reading.at).toISOString().slice(11, 23);
    process.stdout.write(`${time}  ${readingText(reading)}  ${said}\n`);
    due = Math.max(due + options.interval * 1000, performance.now());
    if (number !== options.count) await pause(due - performance.now(), signal);
  }
}

function explain(error: unknown, node: string): unknown {
  const name = printable(node);
  switch (conditionOf(error)) {
    case 'forbidden':
      return new CliError(`this account may not publish to ${name}`, 'use another --node, or the account that owns it');
    case 'item-not-found':
      return new CliError(`${name} was deleted`, 'start the sensor again to make it anew');
    case undefined:
      return error;
    default:
      return new CliError(`the broker refuses the reading: ${conditionOf(error)}`);
  }
}
