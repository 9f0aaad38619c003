import { z } from 'zod';
import { schema, type Config } from './config.js';

/** Of the environment variables. */
export const PREFIX = 'THRUM_';

/** One setting of the configuration, flattened out of the schema. */
export interface Option {
  /** Dotted: `c2s.port`. */
  key: string;
  path: readonly string[];
  /** `THRUM_C2S_PORT`. */
  variable: string;
  /** What a written value is read as: `text` is taken as it stands, `list` may be given comma-separated, the rest is YAML. */
  form: 'text' | 'list' | 'scalar';
  /** What may be written, in words. */
  allowed: string;
  default: unknown;
  meaning: string;
}

export interface Section {
  key: string;
  meaning: string;
}

/** The part of JSON Schema that the configuration uses. */
interface Shape {
  type?: string;
  description?: string;
  default?: unknown;
  properties?: Record<string, Shape>;
  anyOf?: Shape[];
  enum?: string[];
  const?: string;
  minimum?: number;
  maximum?: number;
}

/** All settings in the order of the schema, and the sections that hold some. */
export const { options, sections } = flatten(z.toJSONSchema(schema, { io: 'input' }) as Shape);

const byKey = new Map(options.map((option) => [option.key, option]));

/** The setting of that dotted key. */
export function findOption(key: string): Option | undefined {
  return byKey.get(key);
}

/** A setting's value in a configuration. */
export function valueOf(config: Config, option: Option): unknown {
  return option.path.reduce<unknown>((value, name) => (value as Record<string, unknown>)[name], config);
}

function flatten(root: Shape): { options: Option[]; sections: Section[] } {
  const options: Option[] = [];
  const sections: Section[] = [];
  const visit = (shape: Shape, path: readonly string[]): void => {
    const key = path.join('.');
    if (!shape.properties) {
      options.push({
        key,
        path,
        variable: `${PREFIX}${path.join('_').toUpperCase()}`,
        form: shape.type === 'array' ? 'list' : shape.type === 'string' && !shape.enum ? 'text' : 'scalar',
        allowed: inWords(shape),
        default: shape.default,
        meaning: shape.description ?? '',
      });
      return;
    }
    if (path.length > 0) sections.push({ key, meaning: shape.description ?? '' });
    for (const [name, inner] of Object.entries(shape.properties)) visit(inner, [...path, name]);
  };
  visit(root, []);
  return { options, sections };
}

function inWords(shape: Shape): string {
  if (shape.anyOf) return shape.anyOf.map(inWords).join(', or ');
  if (shape.const !== undefined) return shape.const;
  if (shape.enum) return shape.enum.join(', ').replace(/, ([^,]*)$/, ' or $1');
  switch (shape.type) {
    case 'boolean':
      return 'true or false';
    case 'integer':
      return `a whole number ${range(shape.minimum, shape.maximum)}`;
    case 'array':
      return 'a list';
    default:
      return 'text';
  }
}

function range(least: number | undefined, most: number | undefined): string {
  return most === undefined || most >= Number.MAX_SAFE_INTEGER ? `from ${least ?? 0} up` : `from ${least} to ${most}`;
}
