// Writes what derives from the code: doap.xml and the table of extensions in README.md from the feature declarations,
// docs/configuration.md from the schema, and the tables of metrics and drops in docs/operations.md. Runs on the built broker.
// With --check it writes nothing and fails when a file is out of date.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { defaults } from '../dist/config/config.js';
import { reference } from '../dist/config/reference.js';
import { doap, table } from '../dist/features/doap.js';
import { features } from '../dist/features/list.js';
import { dropsReference, metricsReference } from '../dist/metrics/reference.js';

const root = new URL('../', import.meta.url);
const at = (name) => new URL(name, root);
const read = (name) => (existsSync(at(name)) ? readFileSync(at(name), 'utf8') : '');

const { name, version, description } = JSON.parse(read('package.json'));
const declared = features({ config: defaults(), version, accounts: undefined, started: 0 }).all;

/** A document with its generated parts, each between markers of its name. */
async function renewed(file, parts) {
  let text = read(file);
  for (const [part, content] of Object.entries(parts)) {
    const [begin, end] = [`<!-- ${part}:begin -->`, `<!-- ${part}:end -->`];
    const [before, after] = [text.indexOf(begin), text.indexOf(end)];
    if (before < 0 || after < before) throw new Error(`${file} needs the markers ${begin} and ${end}`);
    text = `${text.slice(0, before)}${begin}\n\n${content}\n\n${text.slice(after)}`;
  }
  return format(text, { ...(await resolveConfig(at(file).pathname)), parser: 'markdown' });
}

const title = name[0].toUpperCase() + name.slice(1);
const documents = {
  'doap.xml': doap({ name: title, description }, declared),
  'README.md': await renewed('README.md', { extensions: table(declared) }),
  'docs/configuration.md': reference(),
  'docs/operations.md': await renewed('docs/operations.md', { drops: dropsReference(), metrics: metricsReference() }),
};

const stale = Object.entries(documents).filter(([file, text]) => read(file) !== text);
if (process.argv.includes('--check')) {
  for (const [file] of stale) console.error(`${file} is out of date: run node scripts/generate-docs.mjs`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  for (const [file, text] of stale) writeFileSync(at(file), text);
}
