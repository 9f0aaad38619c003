import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { PASSWORD, RawClient, type Address, type LoginOptions } from './client.js';

/** The built entry; a variable may point to another build. */
const ENTRY = process.env.THRUM_TEST_ENTRY ?? fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const START_MS = 30_000;
const STOP_MS = 30_000;
const TAIL_LINES = 30;

export interface ServerOptions {
  /** Settings beyond those of every test server, by their dotted names. */
  set?: Record<string, unknown>;
  env?: Record<string, string>;
  /** Default 1; the real default is one per core. */
  workers?: number;
  /** A folder to use and keep, e.g. of a server that ran before. */
  dataDir?: string;
  /** Another machine than this one. */
  on?: Place;
}

/** Where a process of a test runs: its address, and what its command begins with. */
export interface Place {
  host: string;
  command: string[];
}

/** A Thrum process of its own, on free loopback ports. */
export class TestServer implements Address {
  domain = 'localhost';
  pid = 0;
  workers: number[] = [];
  c2s = 0;
  c2s_tls = 0;
  http = 0;
  https: number | undefined;
  /** Lines on stderr. */
  readonly log: string[] = [];
  private stopping = false;
  private readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  private readonly watchers = new Set<() => void>();

  private constructor(
    private readonly child: ChildProcess,
    readonly dataDir: string,
    private readonly keep: boolean,
    readonly host: string,
  ) {
    createInterface({ input: child.stderr! }).on('line', (line) => {
      this.log.push(line);
      for (const look of this.watchers) look();
    });
    this.exited = once(child, 'close').then(([code, signal]) => {
      if (!this.stopping) console.error(this.tail(`the server ended unasked (${signal ?? code})`));
      return { code: code as number | null, signal: signal as NodeJS.Signals | null };
    });
  }

  static async start(options: ServerOptions = {}): Promise<TestServer> {
    if (!existsSync(ENTRY)) throw new Error(`${ENTRY} is not there: run \`npm run build\` first`);
    const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'thrum-test-')));
    const settings: Record<string, unknown> = {
      data_dir: dataDir,
      workers: options.workers ?? 1,
      'c2s.port': 0,
      'c2s.tls': 'optional',
      'c2s_tls.port': 0,
      'http.port': 0,
      // Some tests look at the metrics until they show something.
      'limits.http_requests_per_minute': 1_000_000,
      ...(options.on && { listen_address: options.on.host }),
      ...options.set,
    };
    const sets = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${written(value)}`]);
    const [program, ...args] = [...(options.on?.command ?? []), process.execPath, ENTRY, 'start', '--json', ...sets];
    const child = spawn(program!, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: dataDir,
      env: { ...process.env, ...options.env },
    });
    const server = new TestServer(child, dataDir, options.dataDir !== undefined, options.on?.host ?? '127.0.0.1');
    await server.ready(String(settings.domain ?? 'localhost'));
    return server;
  }

  private async ready(domain: string): Promise<void> {
    const lines = createInterface({ input: this.child.stdout! });
    const first = new Promise<string>((resolve) => lines.once('line', resolve));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), START_MS)));
    const line = await Promise.race([first, this.exited.then(() => undefined), late]);
    clearTimeout(timer);
    if (line === undefined) {
      await this.kill();
      throw new Error(this.tail('the server did not start'));
    }
    const { pid, workers, c2s, c2s_tls, http, https } = JSON.parse(line) as Record<string, number> & {
      workers: number[];
    };
    Object.assign(this, { domain, pid, workers, c2s, c2s_tls, http, https });
  }

  /** SIGTERM; fails the test unless the server ends with 0 in time. Removes its folder, unless it was given. */
  async stop(): Promise<void> {
    if (!this.stopping) {
      this.stopping = true;
      this.child.kill('SIGTERM');
    }
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
    const { code, signal } = await this.exited;
    clearTimeout(timer);
    await this.removeFolder();
    if (code !== 0) throw new Error(this.tail(`the server did not stop well (${signal ?? code})`));
  }

  /** SIGKILL to the supervisor and all workers: a power cut, for what the kernel's caches outlive. The folder stays. */
  async kill(): Promise<void> {
    this.stopping = true;
    for (const pid of [this.child.pid!, ...this.workers]) signal(pid, 'SIGKILL');
    await this.exited;
  }

  async removeFolder(): Promise<void> {
    if (!this.keep) await rm(this.dataDir, { recursive: true, force: true });
  }

  /** Sends a signal to the supervisor. */
  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** The process's end, whoever caused it. */
  get ended(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    return this.exited;
  }

  /** The server may end without `stop` from here on. */
  expectEnd(): void {
    this.stopping = true;
  }

  /** Resolves to the first log line, past or to come, for which `test` is true. */
  logged(test: (line: string) => boolean, timeoutMs = 10_000): Promise<string> {
    return new Promise((resolve, reject) => {
      let seen = 0;
      const look = () => {
        for (; seen < this.log.length; seen++) {
          if (!test(this.log[seen]!)) continue;
          this.watchers.delete(look);
          clearTimeout(timer);
          return resolve(this.log[seen]!);
        }
      };
      const timer = setTimeout(() => {
        this.watchers.delete(look);
        reject(new Error(this.tail('the log line did not come')));
      }, timeoutMs);
      this.watchers.add(look);
      look();
    });
  }

  /** One administrative operation over the control socket in data_dir. */
  control(name: string, args: object = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const socket = connect(join(this.dataDir, 'control.sock'));
      socket.on('error', reject);
      createInterface({ input: socket }).once('line', (line) => {
        socket.destroy();
        const answer = JSON.parse(line) as { result?: unknown; error?: string };
        if (answer.error === undefined) resolve(answer.result);
        else reject(new Error(`${name}: ${answer.error}`));
      });
      socket.write(`${JSON.stringify({ id: 1, name, args })}\n`);
    });
  }

  /** Makes accounts with the password of all test accounts; those that exist stay as they are. */
  async addUsers(...users: string[]): Promise<void> {
    await Promise.all(users.map((user) => this.control('user.add', { user, password: PASSWORD })));
  }

  /** Makes the account and logs it in. */
  async client(user: string, options: Omit<LoginOptions, 'user'> = {}): Promise<RawClient> {
    await this.addUsers(user);
    return RawClient.login(this, { user, ...options });
  }

  /** Fetches a path of the HTTP listener. */
  fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`http://${this.host}:${this.http}${path}`, init);
  }

  private tail(what: string): string {
    return `${what}; its last log lines:\n${this.log.slice(-TAIL_LINES).join('\n')}`;
  }
}

/** Starts a server on free loopback ports with a folder of its own. The test stops it. */
export function startServer(options: ServerOptions = {}): Promise<TestServer> {
  return TestServer.start(options);
}

/** As the command line takes it. */
function written(value: unknown): string {
  return Array.isArray(value) ? value.join(',') : String(value);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
