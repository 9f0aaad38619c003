import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { StoreOptions } from '../../src/store/open.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const script = fileURLToPath(new URL('./fixtures/process.mjs', import.meta.url));

/** Other processes run what is built: builds it when a source is younger. */
export function build(): void {
  if (!stale()) return;
  // An error elsewhere in the sources is not this room's: what matters is that these files were written.
  spawnSync('npx', ['tsc', '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'ignore' });
  if (stale()) throw new Error('the sources cannot be built');
}

function stale(): boolean {
  const sources = readdirSync(join(root, 'src/store'), { recursive: true, encoding: 'utf8' });
  return sources
    .filter((name) => name.endsWith('.ts'))
    .some((name) => {
      const built = join(root, 'dist/store', name.replace(/\.ts$/, '.js'));
      return !existsSync(built) || statSync(built).mtimeMs < statSync(join(root, 'src/store', name)).mtimeMs;
    });
}

/** A folder that the test leaves nothing of. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'thrum-store-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A store in this process, closed with the test. */
export async function opened(path: string, options: Partial<StoreOptions> = {}): Promise<Store> {
  const store = await openStore({ kind: 'lmdb', path, durability: 'commit', ...options });
  onTestFinished(() => store.close());
  return store;
}

export interface OtherProcess {
  pid: number;
  ask<T = unknown>(name: string, body?: unknown): Promise<T>;
  /** Node and id of what a flood was told to be kept. */
  kept: [node: string, id: string][];
  /** Resolves when that many were told to be kept. */
  keeps(count: number): Promise<void>;
  /** SIGKILL; resolves when it is gone and all that it sent has been read. */
  kill(): Promise<void>;
}

interface Message {
  id?: number;
  answer?: unknown;
  error?: { reason?: string; message: string };
  kept?: [string, string];
}

/** Another process with the store open. `shell` runs before, e.g. to set limits. */
export async function another(
  path: string,
  durability: StoreOptions['durability'] = 'commit',
  shell = 'true',
): Promise<OtherProcess> {
  const child = spawn('sh', ['-c', `${shell}; exec "$0" "$1"`, process.execPath, script], {
    stdio: ['ignore', 'inherit', 'ignore', 'ipc'],
  });
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const waiting = new Map<number, { resolve(answer: unknown): void; reject(error: Error): void }>();
  const counting: { count: number; resolve(): void }[] = [];
  const kept: [string, string][] = [];
  let last = 0;
  child.on('message', (message: Message) => {
    if (message.kept) kept.push(message.kept);
    for (const { count, resolve } of counting) if (kept.length >= count) resolve();
    if (message.id === undefined) return;
    const asked = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) asked?.reject(Object.assign(new Error(message.error.message), message.error));
    else asked?.resolve(message.answer);
  });
  const other: OtherProcess = {
    pid: child.pid as number,
    kept,
    ask: <T>(name: string, body?: unknown) =>
      new Promise<T>((resolve, reject) => {
        const id = ++last;
        waiting.set(id, { resolve: (answer) => resolve(answer as T), reject });
        child.send({ id, name, body });
      }),
    keeps: (count) => new Promise((resolve) => void counting.push({ count, resolve })),
    kill: async () => {
      child.kill('SIGKILL');
      await gone;
    },
  };
  onTestFinished(() => other.kill());
  await other.ask('open', { kind: 'lmdb', path, durability });
  return other;
}
