import { parseJid } from '../jid/jid.js';

/** The service's bounds on what a node may ask for. */
export interface NodeLimits {
  /** What `max_items=max` stands for. */
  itemsPerNode: number;
  /** Largest payload in bytes. */
  payloadBytes: number;
}

/** How an option is written in a data form, read from one and checked. */
export interface OptionKind<T> {
  field: 'boolean' | 'text-single' | 'list-single' | 'jid-multi';
  label: string;
  choices?: readonly string[];
  default(limits: NodeLimits): T;
  /** Undefined when the values are not acceptable. */
  read(values: readonly string[], limits: NodeLimits): T | undefined;
  /** The canonical form: what is stored, shown and compared. */
  write(value: T): string[];
}

const INTEGER = /^\+?\d{1,15}$/;
/** Longest free text of an option, in characters. */
const TEXT_LENGTH = 4096;

function text(label: string): OptionKind<string> {
  return {
    field: 'text-single',
    label,
    default: () => '',
    read: (values) => (values.length <= 1 && (values[0] ?? '').length <= TEXT_LENGTH ? (values[0] ?? '') : undefined),
    write: (value) => (value === '' ? [] : [value]),
  };
}

/** XML Schema booleans: "0", "false", "1", "true" (XEP-0060 §6.3.3). */
export function readBoolean(values: readonly string[]): boolean | undefined {
  const value = values.length === 1 ? values[0]!.trim() : '';
  if (value === '1' || value === 'true') return true;
  return value === '0' || value === 'false' ? false : undefined;
}

export function flag(label: string, initial: boolean): OptionKind<boolean> {
  return {
    field: 'boolean',
    label,
    default: () => initial,
    read: readBoolean,
    write: (value) => [value ? '1' : '0'],
  };
}

function choice<const Choice extends string>(
  label: string,
  choices: readonly Choice[],
  initial: NoInfer<Choice>,
): OptionKind<Choice> {
  return {
    field: 'list-single',
    label,
    choices,
    default: () => initial,
    read: (values) => (values.length === 1 ? choices.find((known) => known === values[0]!.trim()) : undefined),
    write: (value) => [value],
  };
}

/** The datatype "integer-or-max" (XEP-0060 §12.23). */
function integerOrMax(
  label: string,
  initial: number | 'max',
  least: number,
  most: (limits: NodeLimits) => number,
): OptionKind<number | 'max'> {
  return {
    field: 'text-single',
    label,
    default: () => initial,
    read: (values, limits) => {
      const value = values.length === 1 ? values[0]!.trim() : '';
      if (value === 'max') return 'max';
      const number = INTEGER.test(value) ? Number(value) : -1;
      return number >= least && number <= most(limits) ? number : undefined;
    },
    write: (value) => [String(value)],
  };
}

const payloadSize: OptionKind<number> = {
  field: 'text-single',
  label: 'The maximum payload size in bytes',
  default: (limits) => limits.payloadBytes,
  read: (values, limits) => {
    const value = values.length === 1 ? values[0]!.trim() : '';
    const number = INTEGER.test(value) ? Number(value) : 0;
    return number >= 1 && number <= limits.payloadBytes ? number : undefined;
  },
  write: (value) => [String(value)],
};

const contact: OptionKind<readonly string[]> = {
  field: 'jid-multi',
  label: 'The JIDs of those to contact with questions',
  default: () => [],
  read: (values) => {
    const jids = values.filter((value) => value !== '').map((value) => parseJid(value)?.full);
    return jids.length <= 100 && jids.every((jid) => jid !== undefined) ? jids : undefined;
  },
  write: (value) => [...value],
};

/** Ten years: more seconds than that are as good as `max`. */
const EXPIRE_MOST = 315_360_000;

/**
 * The options of a node (XEP-0060 §16.4.4), by their name without `pubsub#`. What the registry lists and this table does not is
 * not understood here, and so it is ignored in a submitted form (XEP-0004 §3.2) and refused as a precondition (§7.1.5).
 */
export const NODE_OPTIONS = {
  title: text('A friendly name for the node'),
  description: text('A description of the node'),
  type: text('The namespace of the payloads; when set, others are refused'),
  language: text('The default language of the node'),
  contact,
  access_model: choice('Who may subscribe and retrieve items', ['open', 'authorize', 'whitelist'], 'open'),
  publish_model: choice('Who may publish', ['publishers', 'subscribers', 'open'], 'publishers'),
  persist_items: flag('Whether to persist items to storage', true),
  max_items: integerOrMax(
    'The maximum number of items to persist. `max` for no specific limit other than the server imposed maximum.',
    10,
    1,
    (limits) => limits.itemsPerNode,
  ),
  item_expire: integerOrMax(
    'Number of seconds after which items are gone. `max` for no limit.',
    'max',
    1,
    () => EXPIRE_MOST,
  ),
  publish_node_full: choice(
    'What happens when publishing to a node that has max_items items',
    ['retract-oldest', 'discard-oldest', 'reject'],
    'retract-oldest',
  ),
  max_payload_size: payloadSize,
  deliver_notifications: flag('Whether to deliver event notifications', true),
  deliver_payloads: flag('Whether to deliver payloads with event notifications', true),
  notification_type: choice('The delivery style for notifications', ['headline', 'normal'], 'headline'),
  send_last_published_item: choice(
    'When to send the last published item',
    ['never', 'on_sub', 'on_sub_and_presence'],
    'on_sub_and_presence',
  ),
  notify_config: flag('Whether to notify subscribers when the node configuration changes', false),
  notify_delete: flag('Whether to notify subscribers when the node is deleted', true),
  notify_retract: flag('Whether to notify subscribers when items are removed from the node', true),
  notify_sub: flag('Whether to notify owners about new subscribers and unsubscribes', false),
  subscribe: flag('Whether to allow subscriptions', true),
  itemreply: choice('Whether items show who published them', ['none', 'publisher'], 'none'),
  node_type: choice('Whether the node is a leaf (default)', ['leaf'], 'leaf'),
} satisfies Record<string, OptionKind<never> | OptionKind<unknown>>;

export type NodeOption = keyof typeof NODE_OPTIONS;
type ValueOf<Kind> = Kind extends OptionKind<infer T> ? T : never;
export type NodeConfig = { readonly [Name in NodeOption]: ValueOf<(typeof NODE_OPTIONS)[Name]> };

/** Values by option name, as they came in a form. */
export type Submitted = ReadonlyMap<string, readonly string[]>;
/** What the store keeps: options that differ from their default, in canonical form. */
export type Sparse = Record<string, string | string[]>;

export const nodeOptionNames = Object.keys(NODE_OPTIONS) as NodeOption[];

/** The option's kind, with its value's type forgotten. */
export function optionKind(name: NodeOption): OptionKind<unknown> {
  return NODE_OPTIONS[name] as OptionKind<unknown>;
}

export function isNodeOption(name: string): name is NodeOption {
  return Object.hasOwn(NODE_OPTIONS, name);
}

export function defaultConfig(limits: NodeLimits): NodeConfig {
  return expand({}, limits);
}

/** The whole configuration of what was stored. Values that the service would not take any more fall back to the default. */
export function expand(sparse: Sparse, limits: NodeLimits): NodeConfig {
  const config: Record<string, unknown> = {};
  for (const name of nodeOptionNames) {
    const kind = optionKind(name);
    const stored = sparse[name];
    const value = stored === undefined ? undefined : kind.read(typeof stored === 'string' ? [stored] : stored, limits);
    config[name] = value ?? kind.default(limits);
  }
  return config as NodeConfig;
}

/** Only what differs from the defaults. */
export function condense(config: NodeConfig, limits: NodeLimits): Sparse {
  const sparse: Sparse = {};
  for (const name of nodeOptionNames) {
    const kind = optionKind(name);
    const value = kind.write(config[name]);
    const initial = kind.write(kind.default(limits));
    if (value.length !== initial.length || value.some((part, i) => part !== initial[i])) {
      sparse[name] = value.length === 1 ? value[0]! : value;
    }
  }
  return sparse;
}

/** An option whose submitted value is not acceptable. */
export class BadOption {
  constructor(
    readonly name: NodeOption,
    readonly values: readonly string[],
  ) {}
}

/**
 * `base` with what was submitted. Omitted options keep their value (XEP-0004 §3.5), unknown ones are ignored (XEP-0004 §3.2).
 * An option that is submitted without a value goes back to its default (XEP-0004 §3.6).
 */
export function change(base: NodeConfig, submitted: Submitted, limits: NodeLimits): NodeConfig | BadOption {
  const config: Record<string, unknown> = { ...base };
  for (const [name, values] of submitted) {
    if (!isNodeOption(name)) continue;
    const kind = optionKind(name);
    const empty = values.length === 0 || (values.length === 1 && values[0] === '');
    const value = empty ? kind.default(limits) : kind.read(values, limits);
    if (value === undefined) return new BadOption(name, values);
    config[name] = value;
  }
  return config as NodeConfig;
}

/** Whether the node is configured as the precondition says (XEP-0060 §7.1.5). */
export function meets(config: NodeConfig, submitted: Submitted, limits: NodeLimits): boolean {
  for (const [name, values] of submitted) {
    if (!isNodeOption(name)) return false;
    const kind = optionKind(name);
    const wanted = kind.read(values, limits);
    if (wanted === undefined || kind.write(wanted).join('\n') !== kind.write(config[name]).join('\n')) return false;
  }
  return true;
}
