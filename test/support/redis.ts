import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Redis as Client } from 'ioredis';
import { type Config, defaults } from '../../src/config/config.js';
import { slotOf } from '../../src/redis/slot.js';
import type { Place } from './server.js';

/** Whether there is a redis-server to test with. Where the tests must be complete, its absence is an error. */
export const redisInstalled = spawnSync('redis-server', ['--version']).status === 0;
if (!redisInstalled) {
  const what = 'redis-server is not installed';
  if (process.env['CI']) throw new Error(`${what}: the tests of the Redis store cannot run`);
  console.warn(`${what}: tests that need it are skipped.`);
}

/** How often servers are asked whether they are where they should be, in milliseconds. */
const ASK_MS = 20;
/** How long a server may take for it. */
const PATIENCE_MS = 60_000;
/** The cluster bus is that many ports above the port (the default of Redis). */
const BUS = 10_000;
const LOWEST_PORT = 15_000;
const HIGHEST_PORT = 22_500;

export interface RedisOptions {
  /** More arguments, such as `--requirepass secret`; without them it keeps nothing on disk. */
  args?: string[];
  /** A fixed port instead of a free one. */
  port?: number;
  /** Listens with TLS instead of TCP; with `client`, the PEM texts of a certificate, to those only that show one of the authority. */
  tls?: { cert: string; key: string; ca: string; client?: { cert: string; key: string } };
  /** Another machine than this one. */
  on?: Place;
}

/** A redis-server process of a test, with a folder of its own. */
export class RedisServer {
  private process: ChildProcess | undefined;
  private exited: Promise<void> = Promise.resolve();
  private output = '';
  readonly folder = mkdtempSync(join(tmpdir(), 'thrum-redis-'));

  private constructor(
    readonly port: number,
    private readonly options: RedisOptions,
  ) {}

  static async start(options: RedisOptions = {}): Promise<RedisServer> {
    for (let attempt = 0; ; attempt++) {
      const server = new RedisServer(options.port ?? (await freePort()), options);
      try {
        await server.run();
        return server;
      } catch (error) {
        await server.stop();
        // Somebody else may have taken the port in the meantime.
        if (attempt === 5 || options.port !== undefined) throw error;
      }
    }
  }

  get host(): string {
    return this.options.on?.host ?? '127.0.0.1';
  }

  get address(): string {
    return `${this.host}:${this.port}`;
  }

  get url(): string {
    return `${this.options.tls ? 'rediss' : 'redis'}://${this.address}/0`;
  }

  get pid(): number {
    return this.process!.pid!;
  }

  /** The section `redis` of a configuration that uses it. */
  config(settings: Partial<Config['redis']> = {}): Config['redis'] {
    return { ...defaults().redis, url: this.url, ...settings };
  }

  private async run(): Promise<void> {
    const { port, folder, options } = this;
    const { tls } = options;
    const listen = tls
      ? [
          '--port',
          '0',
          '--tls-port',
          String(port),
          '--tls-auth-clients',
          tls.client ? 'yes' : 'no',
          '--tls-cert-file',
          tls.cert,
        ].concat(['--tls-key-file', tls.key, '--tls-ca-cert-file', tls.ca])
      : ['--port', String(port)];
    const kept = ['--save', '', '--appendonly', 'no', '--protected-mode', 'no'];
    const args = [...listen, '--bind', this.host, '--dir', folder, '--daemonize', 'no', ...kept];
    this.output = '';
    const [program, ...all] = [...(options.on?.command ?? []), 'redis-server', ...args, ...(options.args ?? [])];
    const child = spawn(program!, all, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.process = child;
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (this.output = (this.output + text).slice(-20_000)));
    this.exited = new Promise((resolve) => child.once('exit', () => resolve()));
    await this.listening();
  }

  /** Until it says so itself. */
  private async listening(): Promise<void> {
    await until(`redis-server at ${this.port}`, () => {
      if (this.process!.exitCode !== null) throw new Error(`redis-server ended: ${this.output}`);
      return this.output.includes('Ready to accept connections');
    });
  }

  /** `kill -9`: nothing more is written. */
  async kill(): Promise<void> {
    this.process?.kill('SIGKILL');
    await this.exited;
  }

  /** It stands still; its connections stay. */
  pause(): void {
    this.process!.kill('SIGSTOP');
  }

  resume(): void {
    this.process!.kill('SIGCONT');
  }

  /** Starts again after {@link kill}, on the same port and with the same folder. */
  async restart(): Promise<void> {
    await this.kill();
    await this.run();
  }

  /** Ends it, and leaves nothing behind. */
  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** One command on a connection of its own. */
  command(name: string, ...args: (string | number | Buffer)[]): Promise<unknown> {
    return this.with((client) => client.callBuffer(name, ...args));
  }

  private async with<T>(work: (client: Client) => Promise<T>): Promise<T> {
    const at = this.options.args?.indexOf('--requirepass') ?? -1;
    const password = at < 0 ? {} : { password: this.options.args![at + 1]! };
    const tls = this.options.tls ? { tls: { rejectUnauthorized: false, ...this.options.tls.client } } : {};
    const client = new Client({ host: this.host, port: this.port, ...password, ...tls });
    client.on('error', () => undefined);
    try {
      return await work(client);
    } finally {
      client.disconnect();
    }
  }

  /** All keys, in order. */
  async keys(): Promise<string[]> {
    return ((await this.command('KEYS', '*')) as Buffer[]).map(String).sort();
  }

  async flushKeys(): Promise<void> {
    await this.command('FLUSHALL');
  }
}

/** A Redis Cluster of a test: the masters come first, then a replica of each, and so on. */
export class RedisCluster {
  private constructor(
    readonly servers: RedisServer[],
    readonly masters: number,
  ) {}

  static async start(
    options: { masters?: number; replicas?: number; args?: string[]; on?: Place[] } = {},
  ): Promise<RedisCluster> {
    const { masters = 3, replicas = 0, on = [] } = options;
    const args = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000'];
    const more = ['--cluster-replica-validity-factor', '0', '--repl-diskless-sync-delay', '0', ...(options.args ?? [])];
    const servers = await Promise.all(
      Array.from({ length: masters * (1 + replicas) }, (_, n) =>
        RedisServer.start({ args: [...args, ...more], ...(on[n] && { on: on[n] }) }),
      ),
    );
    const cluster = new RedisCluster(servers, masters);
    try {
      await cluster.form();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  private async form(): Promise<void> {
    const { servers, masters } = this;
    const [first] = servers;
    // Epochs that differ from the beginning spare the nodes to settle it.
    await Promise.all(servers.map((server, n) => server.command('CLUSTER', 'SET-CONFIG-EPOCH', n + 1)));
    await Promise.all(servers.map((server) => server.command('CLUSTER', 'MEET', first!.host, first!.port)));
    const bound = (n: number): number => Math.floor((n * 16384) / masters);
    await Promise.all(
      servers
        .slice(0, masters)
        .map((server, n) => server.command('CLUSTER', 'ADDSLOTSRANGE', bound(n), bound(n + 1) - 1)),
    );
    await this.agreed();
    const ids = await Promise.all(servers.map(async (server) => String(await server.command('CLUSTER', 'MYID'))));
    await Promise.all(
      servers.slice(masters).map((server, n) => server.command('CLUSTER', 'REPLICATE', ids[n % masters]!)),
    );
    if (servers.length > masters) await this.replicated();
    await this.agreed();
  }

  /** Until every node that runs knows all others and all slots. */
  async agreed(): Promise<void> {
    await until('a cluster that agrees', async () => {
      const infos = await Promise.all(
        this.servers.map(async (server) => String(await server.command('CLUSTER', 'INFO'))),
      );
      return infos.every(
        (info) =>
          info.includes('cluster_state:ok') &&
          info.includes('cluster_slots_ok:16384') &&
          info.includes(`cluster_known_nodes:${this.servers.length}`),
      );
    });
  }

  private async replicated(): Promise<void> {
    await until('replicas in step', async () => {
      const infos = await Promise.all(
        this.servers.slice(this.masters).map(async (server) => String(await server.command('INFO', 'replication'))),
      );
      return infos.every((info) => info.includes('role:slave') && info.includes('master_link_status:up'));
    });
  }

  /** host:port of every node. */
  get nodes(): string[] {
    return this.servers.map(({ address }) => address);
  }

  config(settings: Partial<Config['redis']> = {}): Config['redis'] {
    return { ...defaults().redis, nodes: this.nodes.slice(0, 3), ...settings };
  }

  /** The running masters with their slots, as a node that runs sees them. */
  async owners(): Promise<{ server: RedisServer; id: string; slots: [first: number, last: number][] }[]> {
    const table = (await this.ask('CLUSTER', 'SLOTS')) as [number, number, [Buffer, number, Buffer], ...unknown[]][];
    const owners = new Map<number, { server: RedisServer; id: string; slots: [number, number][] }>();
    for (const [first, last, [, port, id]] of table) {
      const server = this.servers.find((candidate) => candidate.port === port)!;
      if (!owners.has(port)) owners.set(port, { server, id: String(id), slots: [] });
      owners.get(port)!.slots.push([first, last]);
    }
    return [...owners.values()];
  }

  /** Who serves the key's slot. */
  async ownerOf(key: string): Promise<RedisServer> {
    const slot = slotOf(key);
    const owners = await this.owners();
    return owners.find(({ slots }) => slots.some(([first, last]) => first <= slot && slot <= last))!.server;
  }

  /** Asks any node that answers. */
  private async ask(name: string, ...args: (string | number)[]): Promise<unknown> {
    let failure: unknown;
    for (const server of this.servers)
      try {
        return await Promise.race([
          server.command(name, ...args),
          pause(2000).then(() => Promise.reject(new Error('no answer'))),
        ]);
      } catch (error) {
        failure = error;
      }
    throw failure;
  }

  /** Until a replica has taken the place of a master that was killed or paused. */
  async failedOver(from: RedisServer): Promise<void> {
    await until('a failover', async () => {
      const others = this.servers.filter((server) => server !== from);
      const infos = await Promise.all(others.map(async (server) => String(await server.command('CLUSTER', 'INFO'))));
      const nodes = String(await others[0]!.command('CLUSTER', 'NODES'));
      const old = nodes.split('\n').find((line) => line.includes(`:${from.port}@`));
      return (
        infos.every((info) => info.includes('cluster_state:ok')) &&
        !/\d+-\d+/.test(old?.split(' ').slice(8).join(' ') ?? '')
      );
    });
  }

  /**
   * Moves a slot and its keys to another master while all goes on, as resharding does. `between` is done before the first key is moved,
   * `behind` when the last is, and nobody knows.
   */
  async moveSlot(
    slot: number,
    to: RedisServer,
    between: () => Promise<void> = async () => undefined,
    behind: () => Promise<void> = async () => undefined,
  ): Promise<void> {
    const owners = await this.owners();
    const from = owners.find(({ slots }) => slots.some(([first, last]) => first <= slot && slot <= last))!;
    const target = owners.find(({ server }) => server === to)!;
    await to.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
    await from.server.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', target.id);
    await between();
    for (;;) {
      const keys = (await from.server.command('CLUSTER', 'GETKEYSINSLOT', slot, 10)) as Buffer[];
      if (keys.length === 0) break;
      for (const key of keys) await from.server.command('MIGRATE', to.host, to.port, key, 0, 5000);
    }
    await behind();
    for (const { server } of [target, from, ...owners])
      await server.command('CLUSTER', 'SETSLOT', slot, 'NODE', target.id);
  }

  async keys(): Promise<string[]> {
    const owners = await this.owners();
    return (await Promise.all(owners.map(({ server }) => server.keys()))).flat().sort();
  }

  async flushKeys(): Promise<void> {
    for (const { server } of await this.owners()) await server.flushKeys();
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
  }
}

/** Asks again and again until it is so. */
export async function until(what: string, so: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!(await so())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await pause(ASK_MS);
  }
}

/**
 * A port that is free, and its cluster bus port too. Below those that are given to whoever connects: a server that was killed gets its own
 * back, and nobody who tries to reach it meets himself there.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOWEST_PORT + Math.floor(Math.random() * (HIGHEST_PORT - LOWEST_PORT));
    if ((await listenable(port)) && (await listenable(port + BUS))) return port;
  }
}

function listenable(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
