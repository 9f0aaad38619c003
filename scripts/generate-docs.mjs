// Writes what derives from the feature declarations: doap.xml, and the table of extensions in README.md. Runs on the built
// broker. With --check it writes nothing and fails when a file is out of date.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { defaults } from '../dist/config/config.js';
import { doap, table } from '../dist/features/doap.js';
import { features } from '../dist/features/list.js';

const root = new URL('../', import.meta.url);
const at = (name) => new URL(name, root);
const read = (name) => (existsSync(at(name)) ? readFileSync(at(name), 'utf8') : '');

const { name, version, description } = JSON.parse(read('package.json'));
const declared = features({ config: defaults(), version, accounts: undefined, started: 0 }).all;

const BEGIN = '<!-- extensions:begin -->';
const END = '<!-- extensions:end -->';
const readme = read('README.md');
const [before, after] = [readme.indexOf(BEGIN), readme.indexOf(END)];
if (before < 0 || after < before) throw new Error(`README.md needs the markers ${BEGIN} and ${END}`);
const written = `${readme.slice(0, before)}${BEGIN}\n\n${table(declared)}\n\n${readme.slice(after)}`;

const title = name[0].toUpperCase() + name.slice(1);
const documents = {
  'doap.xml': doap({ name: title, description }, declared),
  'README.md': await format(written, { ...(await resolveConfig(at('README.md').pathname)), parser: 'markdown' }),
};

const stale = Object.entries(documents).filter(([file, text]) => read(file) !== text);
if (process.argv.includes('--check')) {
  for (const [file] of stale) console.error(`${file} is out of date: run node scripts/generate-docs.mjs`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  for (const [file, text] of stale) writeFileSync(at(file), text);
}
