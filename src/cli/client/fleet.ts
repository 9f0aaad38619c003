import { setMaxListeners } from 'node:events';
import type { XmppClient } from '@xmpp/client';
import { pause } from '../until.js';
import { PubSubClient } from './pubsub.js';
import { RandomWalk, readingElement } from './reading.js';

/** A simulated sensor of the demo. */
export interface Sensor {
  name: string;
  node: string;
  unit: string;
  walk: RandomWalk;
}

const PLACES = [
  ...['boiler', 'cellar', 'cold store', 'compressor', 'greenhouse', 'kiln'],
  ...['lobby', 'pump house', 'roof', 'server room', 'silo', 'workshop'],
];

/** That many sensors: named places first, numbered copies after. */
export function makeSensors(count: number): Sensor[] {
  return Array.from({ length: count }, (_, index) => {
    const round = Math.floor(index / PLACES.length) + 1;
    const name = `${PLACES[index % PLACES.length]!}${round === 1 ? '' : ` ${round}`}`;
    const walk = new RandomWalk(8 + ((index * 7) % 40), 0.3);
    return { name, node: `demo/${name.replaceAll(' ', '-')}`, unit: 'Cel', walk };
  });
}

/** What becomes of the readings; times are of `performance.now()`. */
export interface FleetEvents {
  /** Called just before a reading is sent. */
  sending(id: string, now: number): void;
  published(): void;
  failed(id: string, error: Error): void;
}

/** Publishes each sensor's readings every `interval` seconds, evenly spread, until the signal fires. */
export async function runSensors(
  sensors: readonly Sensor[],
  connections: readonly XmppClient[],
  service: string,
  interval: number,
  events: FleetEvents,
  signal: AbortSignal,
): Promise<void> {
  // Every sensor listens.
  setMaxListeners(0, signal);
  const session = Date.now().toString(36);
  const publishers = connections.map((xmpp) => new PubSubClient(xmpp, service));
  const run = async (sensor: Sensor, index: number) => {
    const publisher = publishers[index % publishers.length]!;
    let due = performance.now() + (interval * 1000 * index) / sensors.length;
    for (let number = 1; ; number++) {
      await pause(due - performance.now(), signal);
      if (signal.aborted) return;
      const id = `${session}-${index}-${number}`;
      const payload = readingElement({ at: Date.now(), value: sensor.walk.next(), unit: sensor.unit });
      events.sending(id, performance.now());
      try {
        await publisher.publish(sensor.node, id, payload);
        events.published();
      } catch (error) {
        events.failed(id, error as Error);
      }
      // A late sensor does not catch up: a reading is of its moment.
      due = Math.max(due + interval * 1000, performance.now());
    }
  };
  await Promise.all(sensors.map(run));
}
