import { existsSync } from 'node:fs';
import type { z } from 'zod';
import { checkWhole, type Finding } from './checks.js';
import { schema, type Config } from './config.js';
import { findOption } from './options.js';
import type { Problem } from './problem.js';
import { fromAssignments, fromEnvironment, fromFile, type Source } from './sources.js';

/** The file that is read when it is there and no other is named. */
export const DEFAULT_FILE = 'thrum.yaml';

export interface Sources {
  /** Path of a YAML file; else the variable THRUM_CONFIG; else {@link DEFAULT_FILE} where it exists. */
  file?: string | undefined;
  environment?: NodeJS.ProcessEnv;
  /** `key=value`, the last word on each key. */
  set?: readonly string[];
}

/** `config` is there only when no problem is worse than a warning; `problems` are all that were found, in the order of the sources. */
export interface Loaded {
  config: Config | undefined;
  problems: Problem[];
  file: string | undefined;
}

/** Reads the configuration: file, then `THRUM_…` variables, then `--set`, each overriding what came before. */
export function loadConfig(sources: Sources): Loaded {
  const environment = sources.environment ?? process.env;
  const file = sources.file ?? (environment['THRUM_CONFIG'] || (existsSync(DEFAULT_FILE) ? DEFAULT_FILE : undefined));
  const layers = [
    ...(file === undefined ? [] : [fromFile(file)]),
    fromEnvironment(environment),
    fromAssignments(sources.set ?? []),
  ];
  const merged = merge(layers);
  const parsed = schema.safeParse(merged.values);
  const problems = [...merged.problems];
  if (parsed.success) {
    const found = checkWhole(parsed.data).filter(
      ({ key, inFile }) => !inFile || IN_FILE.test(merged.places.get(key!) ?? ''),
    );
    problems.push(...found.map((finding) => located(finding, merged.places)));
  }
  if (!parsed.success)
    problems.push(...parsed.error.issues.map((issue) => located(explain(issue, merged.values), merged.places)));
  const usable = parsed.success && !problems.some((problem) => !problem.warning);
  return { config: usable ? parsed.data : undefined, problems, file };
}

/** Line and column of a place in the file. */
const IN_FILE = /:\d+:\d+$/;

function merge(layers: readonly Source[]): Source {
  const places = new Map(layers.flatMap((layer) => [...layer.places]));
  const values: Record<string, unknown> = {};
  for (const layer of layers) overlay(values, layer.values);
  return { values, places, problems: layers.flatMap((layer) => layer.problems) };
}

function overlay(target: Record<string, unknown>, values: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(values)) {
    const below = target[name];
    if (isSection(value) && isSection(below)) overlay(below, value);
    else target[name] = isSection(value) ? structuredClone(value) : value;
  }
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function explain(issue: z.core.$ZodIssue, values: unknown): Finding {
  const path = issue.path.map(String);
  const key = path.join('.');
  const written = path.reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], values);
  const option = optionAt(path);
  if (!option)
    return { key, what: `${show(written)} is not a section`, remedy: 'write its settings below it, indented' };
  const inList = path.length > option.path.length;
  const quoted = option.form === 'text' && typeof written !== 'string' ? ' in quotes' : '';
  const own = issue.code === 'invalid_format' ? `: ${issue.message}` : '';
  return {
    key: option.key,
    what: `${show(written)} cannot be used${own}`,
    remedy: `write ${inList ? 'a list of text' : option.allowed}${quoted} (default: ${show(option.default)})`,
  };
}

/** An issue may lie in an entry of a list. */
function optionAt(path: readonly string[]) {
  return findOption(path.join('.')) ?? findOption(path.slice(0, -1).join('.'));
}

function show(value: unknown): string {
  return typeof value === 'string' && value !== '' ? `"${value}"` : JSON.stringify(value);
}

function located({ beside, inFile: _, ...found }: Finding, places: ReadonlyMap<string, string>): Problem {
  return { where: places.get(found.key ?? '') ?? places.get(beside ?? '') ?? 'defaults', ...found };
}
