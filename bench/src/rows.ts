import type { Broker } from './broker.js';
import { chat } from './chat.js';
import { connect } from './connect.js';
import { TRANSPORTS, type Transport } from './client.js';
import { pubsub, type PubSubOptions } from './pubsub.js';
import type { Result } from './run.js';
import { STEADY_ACCOUNTS } from './steady.js';
import { storm, STORM_SETTINGS } from './storm.js';

/** One line of the table: a load on a fresh broker. */
export interface Row {
  scenario: string;
  variant: string;
  transport: Transport;
  workers: number;
  /** So many hosts of one worker on a Redis; undefined for one host on LMDB. */
  hosts?: number;
  /** The variant that it is compared with. */
  base?: string;
  /** How many accounts it logs in. */
  accounts: number;
  settings?: Record<string, unknown>;
  run(broker: Broker, seconds: number): Promise<Result>;
}

export interface Choice {
  connections: number;
  payloadBytes: number;
}

/** Every load that there is. */
export function allRows({ connections, payloadBytes }: Choice): Row[] {
  const load = (
    scenario: string,
    variant: string,
    transport: Transport,
    workers: number,
    options: Omit<PubSubOptions, 'transport' | 'seconds' | 'persist' | 'acknowledge' | 'payloadBytes'> &
      Partial<Pick<PubSubOptions, 'persist' | 'acknowledge'>>,
  ): Row => ({
    scenario,
    variant,
    transport,
    workers,
    accounts: options.publishers + options.subscribers,
    run: (broker, seconds) =>
      pubsub(broker, { persist: false, acknowledge: false, payloadBytes, transport, seconds, ...options }),
  });
  const fanout = { publishers: 1, subscribers: 100, nodes: 'one', window: 8 } as const;
  const many = { publishers: 500, subscribers: 5, nodes: 'own', window: 1 } as const;
  const rows: Row[] = [];
  for (const transport of TRANSPORTS) {
    rows.push(load('fanout', '', transport, 1, fanout));
    rows.push(load('fanout', 'acknowledged', transport, 1, { ...fanout, acknowledge: true }));
    rows.push(load('fanout', 'persistent', transport, 1, { ...fanout, persist: true }));
    rows.push(load('fanout', '20/s', transport, 1, { ...fanout, rate: 20 }));
    rows.push(load('many', '', transport, 1, many));
    rows.push(load('many', 'persistent', transport, 1, { ...many, persist: true }));
    rows.push({
      scenario: 'chat',
      variant: '',
      transport,
      workers: 1,
      accounts: 200,
      run: (broker, seconds) => chat(broker, { pairs: 100, window: 1, transport, seconds }),
    });
    for (const again of [false, true]) {
      rows.push({
        scenario: 'connect',
        variant: again ? 'again' : 'first',
        transport,
        workers: 1,
        accounts: connections,
        run: (broker) => connect(broker, { transport, connections, parallel: 64, again }),
      });
    }
  }
  for (const transport of TRANSPORTS) {
    for (const restart of [false, true]) {
      rows.push({
        scenario: 'storm',
        variant: restart ? 'restart' : 'cut',
        transport,
        workers: 1,
        accounts: connections + STEADY_ACCOUNTS,
        settings: STORM_SETTINGS,
        run: (broker) => storm(broker, { transport, connections, restart }),
      });
    }
  }
  rows.push(load('fanout', '', 'tcp', 2, fanout), load('many', '', 'tcp', 2, many));
  // What is compared is measured one after the other.
  for (const [name, options] of Object.entries({ fanout, many } as const)) {
    for (const persist of [false, true]) {
      const what = persist ? `${name} kept` : name;
      for (const hosts of [undefined, 1, 2, 3]) {
        const where = hosts === undefined ? 'lmdb' : `redis ${hosts}`;
        const row = load('hosts', `${what} ${where}`, 'tcp', 1, { ...options, persist });
        rows.push({ ...row, hosts, base: `${what} lmdb` });
      }
    }
  }
  return rows;
}
