import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { resolve } from 'node:path';

/** The built entry, as people and harnesses run it. */
const ENTRY = resolve('dist/main.js');

export interface Ended {
  code: number | null;
  out: string;
  err: string;
}

/** Starts `thrum` in a folder of its own, without the variables of whoever runs the tests. */
export function start(
  cwd: string,
  args: string[],
  environment: Record<string, string> = {},
): ChildProcessWithoutNullStreams {
  const kept = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(THRUM_|NO_COLOR|FORCE_COLOR)/.test(name)),
  );
  return spawn(process.execPath, [ENTRY, ...args], { cwd, env: { ...kept, ...environment } });
}

/** Runs `thrum` to its end. */
export async function thrum(
  cwd: string,
  args: string[],
  more: { input?: string; environment?: Record<string, string> } = {},
): Promise<Ended> {
  const child = start(cwd, args, more.environment);
  child.stdin.end(more.input ?? '');
  return ended(child);
}

export async function ended(child: ChildProcessWithoutNullStreams): Promise<Ended> {
  const [out, err, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((done) => child.on('exit', done)),
  ]);
  return { code, out, err };
}

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  let all = '';
  for await (const chunk of stream) all += String(chunk);
  return all;
}
