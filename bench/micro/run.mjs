// Runs the micro-benchmarks of this folder one after the other, or only those that are named: npm run bench:micro -- scanner
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2);
for (const file of readdirSync(here).sort()) {
  const name = basename(file, '.mjs');
  if (!file.endsWith('.mjs') || name === 'run' || (wanted.length > 0 && !wanted.includes(name))) continue;
  console.log(`\n${name}`);
  const { status } = spawnSync(process.execPath, [join(here, file)], { stdio: 'inherit' });
  if (status !== 0) process.exitCode = 1;
}
