import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { findFreePort } from '../../src/http/ports.js';
import type { Address } from './client.js';

/** Whether there is a haproxy to test with. */
export const haproxyInstalled = spawnSync('haproxy', ['-v']).status === 0;
if (!haproxyInstalled) console.warn('haproxy is not installed: tests that need it are skipped.');

const HOST = '127.0.0.1';
const START_MS = 10_000;

/** What it passes on: the mode, the port behind, and more words of the `server` line. */
export interface Passage {
  mode: 'tcp' | 'http';
  to: number;
  options?: string;
}

/** A haproxy process of a test, which tells those behind it who the client is. */
export class Haproxy {
  private constructor(
    private readonly child: ChildProcess,
    private readonly folder: string,
    /** Where it listens, for each passage. */
    readonly ports: number[],
  ) {}

  static async start(...passages: Passage[]): Promise<Haproxy> {
    const ports: number[] = [];
    for (const _ of passages) ports.push(await findFreePort(HOST));
    const parts = passages.map(({ mode, to, options = '' }, i) =>
      [
        `listen passage${i}`,
        `  mode ${mode}`,
        `  bind ${HOST}:${ports[i]}`,
        mode === 'http' ? '  option forwardfor' : '',
        `  server thrum ${HOST}:${to} ${mode === 'http' ? '' : 'send-proxy-v2'} ${options}`,
      ].join('\n'),
    );
    const timeouts = ['connect', 'client', 'server', 'tunnel'].map((what) => `  timeout ${what} 60s`).join('\n');
    return Haproxy.run(`defaults\n${timeouts}\n${parts.join('\n')}\n`, ports);
  }

  /** Runs a configuration that listens on these ports. */
  static async run(configuration: string, ports: number[]): Promise<Haproxy> {
    const folder = await mkdtemp(join(tmpdir(), 'thrum-haproxy-'));
    const file = join(folder, 'haproxy.cfg');
    await writeFile(file, configuration);
    const child = spawn('haproxy', ['-f', file, '-db'], { stdio: 'ignore' });
    const started = new Haproxy(child, folder, ports);
    await started.listening().catch(async (error: unknown) => {
      await started.stop();
      throw error;
    });
    return started;
  }

  private async listening(): Promise<void> {
    const end = Date.now() + START_MS;
    for (const port of this.ports) {
      while (!(await answers(port))) {
        if (this.child.exitCode !== null) throw new Error(`haproxy ended with ${this.child.exitCode}`);
        if (Date.now() > end) throw new Error('haproxy does not listen');
        await pause(20);
      }
    }
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null) {
      const exited = once(this.child, 'exit');
      this.child.kill('SIGKILL');
      await exited;
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** The deploy/compose/haproxy.cfg that is shipped, with ports of its own in front of three hosts of a test. */
export class Balancer implements Address {
  readonly host = HOST;
  readonly domain = 'localhost';

  private constructor(
    private readonly haproxy: Haproxy,
    readonly c2s: number,
    readonly c2s_tls: number,
    readonly http: number,
    private readonly figures: number,
  ) {}

  static async start(hosts: readonly Pick<Address, 'c2s' | 'c2s_tls' | 'http'>[]): Promise<Balancer> {
    const ports: number[] = [];
    for (let i = 0; i < 4; i++) ports.push(await findFreePort(HOST));
    const inside = ['c2s', 'c2s_tls', 'http'] as const;
    const at = (port: string) => ['5222', '5223', '5280', '8404'].indexOf(port);
    const configuration = (await readFile('deploy/compose/haproxy.cfg', 'utf8'))
      // Not every machine allows so many open files.
      .replace(/maxconn \d+/, 'maxconn 1000')
      .replace(/^( +bind ):(\d+)/gm, (_, bind, port) => `${bind}${HOST}:${ports[at(port)]}`)
      .replace(/^( +server thrum-(\d)) \S+:(\d+)/gm, (_, server, host, port) => {
        const behind = hosts[host - 1]!;
        return `${server} ${HOST}:${behind[inside[at(port)]!]} port ${behind.http}`;
      });
    const [c2s, c2s_tls, http, figures] = ports as [number, number, number, number];
    return new Balancer(await Haproxy.run(configuration, ports), c2s, c2s_tls, http, figures);
  }

  /** Resolves when the hosts, as HAProxy sees them behind port 5222, are so. */
  async states(so: (all: string[]) => boolean): Promise<void> {
    for (;;) {
      const csv = await (await fetch(`http://${HOST}:${this.figures}/;csv`)).text();
      const [head, ...rows] = csv
        .trim()
        .split('\n')
        .map((line) => line.split(','));
      const status = head!.indexOf('status');
      const hosts = rows.filter(([backend, name]) => backend === 'xmpp' && name!.startsWith('thrum-'));
      if (hosts.length === 3 && so(hosts.map((row) => row[status]!))) return;
      await pause(50);
    }
  }

  stop(): Promise<void> {
    return this.haproxy.stop();
  }
}

function answers(port: number): Promise<boolean> {
  const socket = connect(port, HOST);
  return new Promise((resolve) => {
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
