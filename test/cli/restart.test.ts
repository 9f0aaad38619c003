import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ended, start } from './spawn.js';

let folder: string;
const children: ChildProcessWithoutNullStreams[] = [];
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'thrum-restart-'))));
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

function run(...args: string[]): ChildProcessWithoutNullStreams {
  const child = start(folder, args);
  children.push(child);
  return child;
}

/** Ports are kept over the restart: clients come back to where they were. */
async function broker(port: number): Promise<{ child: ChildProcessWithoutNullStreams; port: number }> {
  const settings = ['workers=1', `c2s.port=${port}`, 'c2s_tls.port=off', 'http.port=off'];
  const child = run('start', '--json', ...settings.flatMap((setting) => ['--set', setting]));
  child.stderr.resume();
  const [line] = await lines(child, (seen) => seen.length === 1);
  return { child, port: (JSON.parse(line!) as { c2s: number }).c2s };
}

/** Resolves to all lines on stdout when `enough` is content with them. */
function lines(child: ChildProcessWithoutNullStreams, enough: (seen: string[]) => boolean): Promise<string[]> {
  const seen: string[] = [];
  return new Promise((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`ended with ${code} after ${seen.join('\n')}`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      seen.push(line);
      if (enough(seen)) resolve(seen);
    });
  });
}

async function stop(child: ChildProcessWithoutNullStreams, signal: NodeJS.Signals): Promise<void> {
  const over = ended(child);
  child.kill(signal);
  expect((await over).code).toBe(0);
}

it('a sensor and a watcher go on by themselves when the broker was restarted', async () => {
  const first = await broker(0);
  const sensor = run('sensor', '--interval', '0.1');
  const published = lines(sensor, (seen) => {
    const cut = seen.findIndex((line) => line.includes('unanswered'));
    return cut > 0 && seen.slice(cut).some((line) => line.includes('kept after'));
  });
  await lines(sensor, (seen) => seen.length === 3);
  const watcher = run('watch', 'sensors/temperature');
  await lines(watcher, (seen) => seen.length === 3);
  await stop(first.child, 'SIGTERM');
  const second = await broker(first.port);
  await published;
  await lines(watcher, (seen) => seen.some((line) => !line.includes('(kept)')));
  await stop(sensor, 'SIGINT');
  await stop(watcher, 'SIGINT');
  await stop(second.child, 'SIGTERM');
});

it('a reload that comes before the broker is ready does not end it', async () => {
  const child = run(
    'start',
    '--json',
    ...['data_dir=early', 'c2s.port=0', 'c2s_tls.port=off', 'http.port=off'].flatMap((setting) => ['--set', setting]),
  );
  const ready = lines(child, (seen) => seen.length === 1);
  child.stderr.on('data', (chunk) => String(chunk).includes('made a self-signed certificate') && child.kill('SIGHUP'));
  expect(JSON.parse((await ready)[0]!)).toMatchObject({ ready: true });
  await stop(child, 'SIGTERM');
});
