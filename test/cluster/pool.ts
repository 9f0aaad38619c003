import { fork, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { PoolOptions, WorkerInfo } from '../../src/cluster/supervisor.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The forked processes run what is built: builds it when a source is younger. */
export function build(): void {
  if (!stale()) return;
  // An error elsewhere in the sources is not this room's: what matters is that these files were written.
  spawnSync('npx', ['tsc', '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'ignore' });
  if (stale()) throw new Error('the sources cannot be built');
}

function stale(): boolean {
  return ['cluster', 'metrics', 'redis'].some((place) => {
    const names = readdirSync(join(root, 'src', place), { recursive: true }) as string[];
    return names.some((inner) => {
      if (!inner.endsWith('.ts')) return false;
      const name = join(place, inner);
      const built = join(root, 'dist', name.replace(/\.ts$/, '.js'));
      return !existsSync(built) || statSync(built).mtimeMs < statSync(join(root, 'src', name)).mtimeMs;
    });
  });
}

export interface Pool {
  pid: number;
  start(): Promise<WorkerInfo[]>;
  /** What a worker (by its number) answers. */
  ask<T = unknown>(number: number, name: string, body?: unknown, timeout?: number): Promise<T>;
  run<T = unknown>(op: string, args?: unknown): Promise<T>;
  /** The next event of that name from now on. */
  next(event: 'ready' | 'exit' | 'failing'): Promise<unknown[]>;
  /** Exit code of the primary. */
  exited: Promise<number | null>;
}

/** A primary process with its workers; killed when the test ends. */
export function pool(options: Partial<PoolOptions> = {}): Pool {
  const child = fork(new URL('fixtures/primary.mjs', import.meta.url), [JSON.stringify(options)], { execArgv: [] });
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  const listeners: { event: string; resolve: (details: unknown[]) => void }[] = [];
  let last = 0;
  child.on(
    'message',
    (message: { id?: number; result?: unknown; error?: string; event?: string; details?: unknown[] }) => {
      if (message.event !== undefined) {
        for (const listener of listeners.splice(0)) {
          if (listener.event === message.event) listener.resolve(message.details!);
          else listeners.push(listener);
        }
        return;
      }
      const { resolve, reject } = waiting.get(message.id!)!;
      waiting.delete(message.id!);
      if (message.error === undefined) resolve(message.result as never);
      else reject(new Error(message.error));
    },
  );
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const run = <T>(op: string, args?: unknown): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      child.send({ id: last, op, args });
    });
  onTestFinished(async () => {
    if (child.connected) await Promise.race([run('stop'), exited]);
    child.kill('SIGKILL');
    await exited;
  });
  return {
    pid: child.pid!,
    start: () => run('start'),
    ask: (number, name, body, timeout) => run('ask', { number, name, body, timeout }),
    run,
    next: (event) => new Promise((resolve) => listeners.push({ event, resolve })),
    exited,
  };
}

export async function temporary(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'pool-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}
