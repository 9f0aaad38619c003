import { setTimeout as wait } from 'node:timers/promises';
import type { Address } from '../support/client.js';
import { type RedisCluster, until } from '../support/redis.js';
import { liveWorkers } from '../protocol/support/places.js';
import { startServer, type TestServer } from '../support/server.js';
import type { Places } from './places.js';
import type { Publisher } from './publisher.js';

/** Between two attempts of a client that found nobody, in milliseconds: as clients do, so that they do not spin. */
const RETRY_MS = 50;
/** HASH of those who are registered. */
const WORKERS = 'thrum:cluster:workers:{cluster}';

/** Several brokers on one Redis, and ways to hurt them. */
export class Fleet implements Places {
  readonly publishers: Publisher[] = [];
  private readonly hosts: TestServer[] = [];

  private constructor(
    private readonly redis: RedisCluster,
    private readonly random: () => number,
    private readonly settings: Record<string, unknown>,
  ) {}

  static async start(redis: RedisCluster, hosts: number, random: () => number): Promise<Fleet> {
    const fleet = new Fleet(redis, random, {
      store: 'redis',
      'redis.nodes': redis.nodes,
      'redis.replicas': 1,
      'cluster.lease_seconds': 3,
      'limits.enabled': false,
      'shutdown.grace_seconds': 5,
    });
    for (let i = 0; i < hosts; i++) fleet.hosts.push(await fleet.host());
    return fleet;
  }

  private host(): Promise<TestServer> {
    return startServer({ workers: 2, set: this.settings });
  }

  get first(): TestServer {
    return this.hosts[0]!;
  }

  /** Some host, as a client that tries the addresses of its list finds one. */
  anywhere(): Address {
    return this.pick(this.hosts);
  }

  turn(): Promise<void> {
    return wait(RETRY_MS);
  }

  /** The publisher of the node sent that item more than once. */
  repeated(node: string, item: number): boolean {
    return this.publishers.find((publisher) => publisher.node === node)?.repeated.has(item) ?? false;
  }

  /** Does one of the {@link FAULTS} and resolves, in words, when the fleet is whole again. */
  hurt(): Promise<string> {
    const faults = [
      () => this.killWorker(),
      () => this.killHost(),
      () => this.drainHost(),
      () => this.killMaster(),
      () => this.freezeHost(),
    ];
    return this.pick(faults)();
  }

  private async killWorker(): Promise<string> {
    const host = this.pick(this.hosts);
    const known = host.log.length;
    const pid = this.pick(liveWorkers(host));
    process.kill(pid, 'SIGKILL');
    await host.logged((line) => host.log.indexOf(line) >= known && line.includes('worker is ready'), 30_000);
    return `killed worker ${pid}`;
  }

  private async killHost(): Promise<string> {
    const at = Math.floor(this.random() * this.hosts.length);
    const host = this.hosts[at]!;
    host.workers = liveWorkers(host);
    await host.kill();
    await host.removeFolder();
    this.hosts[at] = await this.host();
    return `killed host ${host.pid}`;
  }

  private async drainHost(): Promise<string> {
    const at = Math.floor(this.random() * this.hosts.length);
    const host = this.hosts[at]!;
    await host.stop();
    this.hosts[at] = await this.host();
    return `drained host ${host.pid}`;
  }

  private async killMaster(): Promise<string> {
    const { server } = this.pick(await this.redis.owners());
    await server.kill();
    await this.redis.failedOver(server);
    // It comes back as a replica of the one that took over.
    await server.restart();
    await this.redis.agreed();
    return `killed Redis master ${server.address}`;
  }

  /** It stands still until the others have taken it for dead, and have published without it for a while; its connections stay. */
  private async freezeHost(): Promise<string> {
    const host = this.pick(this.hosts);
    const known = host.log.length;
    const workers = liveWorkers(host);
    const pids = [host.pid, ...workers];
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    try {
      await until('its workers are taken for dead', async () => {
        const members = (await (await this.redis.ownerOf(WORKERS)).command('HVALS', WORKERS)) as Buffer[];
        return members.every((member) => !workers.includes((JSON.parse(String(member)) as { pid: number }).pid));
      });
      const before = this.acknowledged;
      // Those who are there, or try to be, do not.
      const elsewhere = (): boolean => this.publishers.some(({ at }) => at !== undefined && at !== host);
      const state = (): string =>
        this.publishers.map(({ user, acknowledged }) => `${user}: ${acknowledged}`).join('; ');
      await until(
        `something being published meanwhile (${state()})`,
        () => this.acknowledged > before + 20 || !elsewhere(),
      );
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    }
    const back = (line: string): boolean => host.log.indexOf(line) >= known && line.includes('is registered again');
    await until('its workers are there again', () => host.log.filter(back).length >= workers.length);
    return `froze host ${host.pid} until it was taken for dead`;
  }

  private get acknowledged(): number {
    return this.publishers.reduce((sum, publisher) => sum + publisher.acknowledged, 0);
  }

  /** Ends every host, whatever one of them says. */
  async stop(): Promise<void> {
    const ends = await Promise.allSettled(this.hosts.map((host) => host.stop()));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)]!;
  }
}
