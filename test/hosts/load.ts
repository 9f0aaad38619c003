import { setTimeout as wait } from 'node:timers/promises';
import type { Places } from '../chaos/places.js';
import { Publisher } from '../chaos/publisher.js';
import { Subscriber } from '../chaos/subscriber.js';
import { create, subscribe } from '../protocol/support/pubsub.js';
import { RawClient } from '../support/client.js';
import type { TestServer } from '../support/server.js';

/** A client that found nobody tries again after so many milliseconds. */
const RETRY_MS = 50;

let loads = 0;

/** A sensor and a dashboard at each host; every dashboard hears every sensor, and keeps books of what comes. */
export class Load {
  readonly publishers: Publisher[] = [];
  readonly nodes: string[] = [];
  private readonly dashboards: Subscriber[] = [];
  private serving: Promise<unknown>[] = [];
  private publishing: Promise<unknown> = Promise.resolve();
  private readonly looks = new Set<() => void>();

  private constructor(
    private readonly hosts: readonly TestServer[],
    private readonly items: number,
  ) {}

  /** Each sensor publishes so many items. */
  static async begin(hosts: readonly TestServer[], items: number): Promise<Load> {
    const load = new Load(hosts, items);
    await load.prepare();
    load.serving = load.dashboards.map((dashboard) => dashboard.run());
    load.publishing = Promise.all(load.publishers.map((publisher) => publisher.run(items)));
    // Whoever waits is told.
    load.publishing.catch(() => undefined);
    return load;
  }

  private async prepare(): Promise<void> {
    const run = loads++;
    const progressed = () => this.looks.forEach((look) => look());
    for (const [index, host] of this.hosts.entries()) {
      const [sensor, node, dashboard] = [`sensor${run}-${index}`, `load${run}-${index}`, `board${run}-${index}`];
      await host.addUsers(sensor, dashboard);
      const places = this.at(host);
      const owner = await RawClient.login(host, { user: sensor });
      await create(owner, node, { persist_items: '1', max_items: '1000', send_last_published_item: 'never' });
      await owner.close();
      this.nodes.push(node);
      this.publishers.push(new Publisher(places, sensor, node, progressed));
      this.dashboards.push(new Subscriber(places, dashboard, this.nodes, progressed));
    }
    for (const [index, host] of this.hosts.entries()) {
      const reader = await RawClient.login(host, { user: `board${run}-${index}` });
      for (const node of this.nodes) await subscribe(reader, node);
      await reader.close();
    }
  }

  private at(host: TestServer): Places {
    const repeated = (node: string, item: number) =>
      this.publishers.some((publisher) => publisher.node === node && publisher.repeated.has(item));
    return { anywhere: () => host, turn: () => wait(RETRY_MS), repeated };
  }

  /** Resolves when that is so; looked at with every item. */
  reached(test: () => boolean): Promise<void> {
    const so = new Promise<void>((resolve) => {
      const look = (): void => {
        if (!test()) return;
        this.looks.delete(look);
        resolve();
      };
      this.looks.add(look);
      look();
    });
    return Promise.race([so, this.publishing.then(() => so)]);
  }

  /** So many items of each of these sensors, or all that there will be, were acknowledged from now on. */
  async acknowledged(count: number, ...sensors: number[]): Promise<void> {
    for (const sensor of sensors) {
      const publisher = this.publishers[sensor]!;
      const wanted = Math.min(this.items, publisher.acknowledged + count);
      await this.reached(() => publisher.acknowledged >= wanted);
    }
  }

  /** Resolves when every item is acknowledged and was received by everybody; what went wrong on the way, and sessions that were lost. */
  async end(): Promise<{ faults: string[]; lost: number }> {
    await this.publishing;
    const complete = () => this.dashboards.every((one) => this.nodes.every((node) => one.reached(node) >= this.items));
    await this.reached(complete);
    await this.stop();
    return {
      faults: this.dashboards.flatMap((one) => one.faults),
      lost: this.dashboards.reduce((all, one) => all + one.lost, 0),
    };
  }

  async stop(): Promise<void> {
    await Promise.all(this.dashboards.map((one) => one.stop()));
    await Promise.all(this.serving);
  }
}
