import { readFileSync } from 'node:fs';
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  LineCounter,
  type Node,
  parse,
  parseDocument,
  type YAMLMap,
} from 'yaml';
import { findOption, options, PREFIX, sections, type Option } from './options.js';
import type { Problem } from './problem.js';
import { suggest } from './suggest.js';

/** Settings as one source gives them, and where each was written. */
export interface Source {
  values: Record<string, unknown>;
  /** Dotted key to a place a person can find: `thrum.yaml:3:5`, `THRUM_C2S_PORT`, `--set c2s.port`. */
  places: Map<string, string>;
  problems: Problem[];
}

const keys = [...options.map((option) => option.key), ...sections.map((section) => section.key)];

/** One YAML file. A section or setting without a value counts as left out. */
export function fromFile(file: string): Source {
  const source = emptySource();
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    source.problems.push({
      where: file,
      what: `cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
      remedy: 'give a readable YAML file to --config, or leave it out to start with the defaults',
    });
    return source;
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  for (const error of document.errors) {
    const remedy = 'correct the YAML; strings with : # [ { or leading * & ! need quotes';
    source.problems.push({ where: place(error.pos[0]), what: error.message, remedy });
  }
  if (source.problems.length > 0 || document.contents === null) return source;
  if (isMap(document.contents)) readMap(document, document.contents, '', source.values, source, place);
  else if (!isScalar(document.contents) || document.contents.value !== null)
    source.problems.push({
      where: place(0),
      what: 'the file must hold settings, one `key: value` a line',
      remedy: 'see docs/configuration.md or `thrum config-reference`',
    });
  return source;
}

function readMap(
  document: Document,
  map: YAMLMap,
  prefix: string,
  values: Record<string, unknown>,
  source: Source,
  place: (offset: number) => string,
): void {
  for (const pair of map.items) {
    const name = isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
    const key = prefix + name;
    const written = pair.value as Node | null;
    const node = isAlias(written) ? written.resolve(document) : written;
    const at = place((pair.key as Node).range?.[0] ?? 0);
    const section = sections.some((candidate) => candidate.key === key);
    if (!section && !findOption(key)) {
      source.problems.push({ where: at, key, what: 'there is no such setting', remedy: didYouMean(key) });
      continue;
    }
    if (name.includes('.')) {
      const [first, last] = name.split('.');
      const remedy = `write "${first}:" in a line, and "${last}: …" indented below it`;
      source.problems.push({ where: at, key, what: 'is no setting of this level', remedy });
      continue;
    }
    const value: unknown = isScalar(node) ? node.value : (node?.toJS(document) ?? null);
    if (value === null) continue;
    source.places.set(key, section ? at : place(written?.range?.[0] ?? 0));
    if (section && isMap(node)) readMap(document, node, `${key}.`, (values[name] = {}), source, place);
    else values[name] = value;
  }
}

/** The `THRUM_…` variables. Names that are near none of ours belong to somebody else and are passed over. */
export function fromEnvironment(environment: NodeJS.ProcessEnv): Source {
  const source = emptySource();
  const byVariable = new Map(options.map((option) => [option.variable, option]));
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith(PREFIX) || variable === 'THRUM_CONFIG' || text === undefined) continue;
    const option = byVariable.get(variable);
    if (option) {
      assign(source, option, text, variable);
      continue;
    }
    const section = sections.find(({ key }) => variable === `${PREFIX}${key.toUpperCase()}`);
    if (section) {
      const remedy = `set ${PREFIX}${section.key.toUpperCase()}_… for each of its settings`;
      source.problems.push({ where: variable, what: 'names a section and is ignored', remedy, warning: true });
      continue;
    }
    const near = suggest(
      variable.slice(PREFIX.length),
      options.map((candidate) => candidate.variable.slice(PREFIX.length)),
    );
    if (near)
      source.problems.push({
        where: variable,
        what: 'the variable names no setting and is ignored',
        remedy: `did you mean ${PREFIX}${near}?`,
        warning: true,
      });
  }
  return source;
}

/** `key=value` from `--set`, in the order given. */
export function fromAssignments(assignments: readonly string[]): Source {
  const source = emptySource();
  for (const assignment of assignments) {
    const where = `--set ${assignment}`;
    const equals = assignment.indexOf('=');
    const key = assignment.slice(0, equals).trim();
    const option = findOption(key);
    if (equals < 1)
      source.problems.push({
        where,
        what: 'there is no value',
        remedy: 'write --set key=value, such as --set workers=2',
      });
    else if (option) assign(source, option, assignment.slice(equals + 1), `--set ${key}`);
    else if (sections.some((section) => section.key === key)) {
      const inner = options
        .filter((candidate) => candidate.key.startsWith(`${key}.`))
        .map((candidate) => candidate.key);
      source.problems.push({
        where,
        key,
        what: 'is a section, not a setting',
        remedy: `set one of ${inner.join(', ')}`,
      });
    } else source.problems.push({ where, key, what: 'there is no such setting', remedy: didYouMean(key) });
  }
  return source;
}

/** An entry of a list with commas, also where the list is no YAML: `[::1]:6379`. */
const ENTRY = /^(?:\[[^[\]]+\]:\d+|[^[\]{}]*)$/;

function assign(source: Source, option: Option, text: string, where: string): void {
  let value: unknown = text;
  if (option.form !== 'text') {
    try {
      value = parse(text, { logLevel: 'error' });
    } catch (error) {
      if (option.form !== 'list' || !entries(text).every((entry) => ENTRY.test(entry))) {
        const what = `is not valid YAML: ${(error as Error).message.split('\n')[0]}`;
        source.problems.push({ where, key: option.key, what, remedy: `write ${option.allowed}` });
        return;
      }
    }
    if (option.form === 'list' && !Array.isArray(value)) value = entries(text);
  }
  let section = source.values;
  for (const name of option.path.slice(0, -1)) section = (section[name] ??= {}) as Record<string, unknown>;
  section[option.path.at(-1)!] = value;
  source.places.set(option.key, where);
}

function entries(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);
}

function didYouMean(key: string): string {
  const leaf = key.slice(key.lastIndexOf('.') + 1);
  const near = suggest(key, keys) ?? options.find((option) => option.path.at(-1) === leaf)?.key;
  return near ? `did you mean ${near}?` : 'remove it; `thrum config-reference` lists the settings';
}

function emptySource(): Source {
  return { values: {}, places: new Map(), problems: [] };
}
