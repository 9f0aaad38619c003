// Builds when something is newer than what was built. npm runs this at `npm ci`, and again when npx is first asked for `thrum`: a
// build there would take seconds without a word, and change modules under a running broker.
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';

/** What the build writes last. */
const BUILT = 'dist/xml/scanner.wasm';
const SOURCES = ['src', 'scripts', 'package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json'];
/** The build's own, beside its sources. */
const OUTPUT = 'src/xml/scanner.wasm';

const built = statSync(BUILT, { throwIfNoEntry: false })?.mtimeMs ?? 0;
if (SOURCES.some(newer)) process.exit(spawnSync('npm run build', { stdio: 'inherit', shell: true }).status ?? 1);

/** A folder is as old as what is in it: something that was removed changes nothing that runs. */
function newer(path) {
  if (path === OUTPUT) return false;
  const found = statSync(path);
  if (found.isDirectory()) return readdirSync(path).some((name) => newer(`${path}/${name}`));
  return found.mtimeMs > built;
}
