// Installs what bench/package-lock.json names, unless that was done already: clinic alone brings hundreds of packages.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [wanted, installed] = [`${here}/package-lock.json`, `${here}/node_modules/.package-lock.json`];
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(wanted).mtimeMs) {
  const { status } = spawnSync('npm', ['ci'], { cwd: here, stdio: 'inherit' });
  process.exitCode = status ?? 1;
}
