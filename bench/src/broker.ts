import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ENTRY = process.env.THRUM_BENCH_ENTRY ?? fileURLToPath(new URL('../../dist/main.js', import.meta.url));
export const PASSWORD = 'bench';
const ACCOUNTS_AT_ONCE = 64;
export const HOST = '127.0.0.1';
export const DOMAIN = 'localhost';

export interface Broker {
  pid: number;
  /** The processes whose work counts: the workers, and the supervisor. */
  pids: number[];
  workers: number[];
  c2s: number;
  c2s_tls: number;
  http: number;
  /** Several hosts instead of this one, which clients take in turns. */
  places?: Broker[];
  /** The processes of the store, where it has some of its own. */
  storePids?: number[];
  stop(): Promise<void>;
  /** Stops it and starts it on what it has kept: ports and processes are others then. */
  restart(): Promise<void>;
}

/** The host that a client of that number uses. */
export function placeOf(broker: Broker, client: number): Broker {
  const { places } = broker;
  return places === undefined ? broker : places[client % places.length]!;
}

/** A data_dir with the accounts u0, u1, …, made once: a fresh broker starts on a copy of it. */
export class Accounts {
  private folder: string | undefined;
  private made = 0;

  async copy(count: number): Promise<string> {
    this.folder ??= await mkdtemp(join(tmpdir(), 'thrum-bench-accounts-'));
    if (this.made < count) {
      const broker = await startBroker(this.folder, { workers: 1 });
      await addUsers(this.folder, this.made, count).finally(() => broker.stop());
      this.made = count;
    }
    const copy = await mkdtemp(join(tmpdir(), 'thrum-bench-'));
    await cp(this.folder, copy, { recursive: true, filter: (source) => !source.endsWith('.sock') });
    return copy;
  }

  async remove(): Promise<void> {
    if (this.folder !== undefined) await rm(this.folder, { recursive: true, force: true });
  }
}

/** Starts the built broker on free loopback ports; `command` is another way to run it, such as under a profiler. */
export async function startBroker(
  dataDir: string,
  settings: Record<string, unknown>,
  command: readonly string[] = [process.execPath, ENTRY, 'start', '--json'],
): Promise<Broker> {
  const all: Record<string, unknown> = {
    data_dir: dataDir,
    'c2s.port': 0,
    'c2s.tls': 'optional',
    'c2s_tls.port': 0,
    'http.port': 0,
    'limits.enabled': false,
    admins: 'u0@localhost',
    'log.level': 'warn',
    ...settings,
  };
  const sets = Object.entries(all).flatMap(([key, value]) => ['--set', `${key}=${String(value)}`]);
  const [program, ...args] = [...command, ...sets];
  const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ready = await Promise.race([
    readyLine(child),
    once(child, 'close').then(([code]) => {
      throw new Error(`the broker did not start (${code}); is it built? (npm run build)`);
    }),
  ]);
  const broker: Broker = {
    ...ready,
    pids: [ready.pid, ...ready.workers],
    stop: () => stop(child, ready.pid),
    async restart() {
      await broker.stop();
      Object.assign(broker, await startBroker(dataDir, settings, command));
    },
  };
  return broker;
}

/** The one line of JSON; a profiler may say something before it. */
async function readyLine(child: ChildProcess): Promise<Omit<Broker, 'pids' | 'stop' | 'restart'>> {
  for await (const line of createInterface({ input: child.stdout! })) {
    if (line.startsWith('{')) {
      child.stdout!.resume();
      return JSON.parse(line) as Omit<Broker, 'pids' | 'stop' | 'restart'>;
    }
  }
  return new Promise(() => undefined);
}

async function stop(child: ChildProcess, pid: number): Promise<void> {
  if (child.exitCode !== null) throw new Error(`the broker ended with ${child.exitCode} during the run`);
  const closed = once(child, 'close');
  process.kill(pid, 'SIGTERM');
  await closed;
}

/** Over the control socket in data_dir, several at once: each costs two PBKDF2 in the broker's thread pool. */
export function addUsers(dataDir: string, from: number, to: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(join(dataDir, 'control.sock'));
    let left = to - from;
    let next = from;
    const ask = (): void => {
      if (next === to) return;
      const args = { user: `u${next}`, password: PASSWORD };
      socket.write(`${JSON.stringify({ id: next++, name: 'user.add', args })}\n`);
    };
    socket.on('error', reject);
    createInterface({ input: socket }).on('line', (line) => {
      const { error } = JSON.parse(line) as { error?: string };
      if (error !== undefined) return reject(new Error(error));
      ask();
      if (--left > 0) return;
      socket.end();
      resolve();
    });
    for (let i = 0; i < ACCOUNTS_AT_ONCE; i++) ask();
  });
}
