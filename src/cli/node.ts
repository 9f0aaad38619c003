import type { Config } from '../config/config.js';
import { suggest } from '../config/suggest.js';
import { administer, everything, type Administration } from './access.js';
import type { NodeDetails, NodeSummary } from './admin.js';
import { CliError } from './failure.js';
import { confirm } from './prompt.js';
import { printable, table } from './text.js';
import { isoTime } from './user.js';

/** Each resolves to what goes to stdout. */
export const nodeCommands = {
  async list(config: Config, options: { json?: boolean }): Promise<string> {
    const nodes = await administer(config, allNodes);
    if (options.json) return JSON.stringify(nodes, null, 2);
    if (nodes.length === 0) return 'no nodes; thrum sensor makes one';
    return table(
      ['node', 'items', 'subscriptions', 'access', 'owner', 'created'],
      nodes.map((node) => [
        printable(node.name),
        String(node.items),
        String(node.subscriptions),
        node.access,
        printable(node.creator),
        isoTime(node.created),
      ]),
      ['items', 'subscriptions'],
    );
  },

  async show(config: Config, name: string, options: { json?: boolean }): Promise<string> {
    const node = await administer(config, async (call) => {
      const found = await call('node.show', { name });
      if (!found) throw await missing(call, name);
      return found;
    });
    return options.json ? JSON.stringify(node, null, 2) : describe(node);
  },

  async remove(config: Config, name: string, options: { yes?: boolean }): Promise<string> {
    await confirm(`Remove ${printable(name)} with its items and subscriptions?`, options.yes);
    await administer(config, async (call) => {
      if (!(await call('node.remove', { name }))) throw await missing(call, name);
    });
    return `${printable(name)} removed`;
  },
};

async function allNodes(call: Administration): Promise<NodeSummary[]> {
  const all: NodeSummary[] = [];
  const page = (after: string | undefined, limit: number) => call('node.list', { ...(after && { after }), limit });
  for await (const node of everything(page, (entry) => entry.name)) all.push(node);
  return all;
}

async function missing(call: Administration, name: string): Promise<CliError> {
  const near = suggest(
    name,
    (await allNodes(call)).map((node) => node.name),
  );
  const hint = near === undefined ? 'thrum node list shows those that are' : `did you mean ${printable(near)}?`;
  return new CliError(`there is no node ${printable(name)}`, hint);
}

function describe(node: NodeDetails): string {
  const facts = [
    ['node', node.name],
    ['owner', node.creator],
    ['created', isoTime(node.created)],
    ['items', String(node.items)],
  ];
  const settings = Object.entries(node.config).map(([key, value]) => [key, [value].flat().join(', ')]);
  const people = Object.entries(node.affiliations);
  const subscribers = node.subscribers.map(({ jid, state }) => [jid, state]);
  const parts = [pairs(facts)];
  if (settings.length > 0) parts.push(`configuration\n${pairs(settings)}`);
  if (people.length > 0) parts.push(`affiliations\n${pairs(people)}`);
  if (subscribers.length > 0) parts.push(`subscriptions\n${pairs(subscribers)}`);
  return parts.join('\n\n');
}

function pairs(rows: readonly (readonly string[])[]): string {
  return table(
    ['', ''],
    rows.map((row) => row.map(printable)),
  )
    .split('\n')
    .slice(1)
    .join('\n');
}
