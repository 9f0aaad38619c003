import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Runs a client of its own process to its end. Resolves to its exit code and what it wrote. */
export async function runClient(
  command: string,
  script: string,
  env: Record<string, string>,
): Promise<{ code: number | null; lines: string[]; errors: string }> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(command, [path], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  let out = '';
  let errors = '';
  child.stdout.on('data', (data: Buffer) => (out += data.toString()));
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, lines: out.trim().split('\n'), errors };
}
