import type { Store } from '../store/store.js';
import { canonical } from './canonical.js';
import { walk } from './walk.js';

/** How the two stores are called in the sentences. */
export interface Names {
  source: string;
  target: string;
}

/** A sentence about the first thing that is not the same in both; undefined when everything is. */
export async function firstDifference(source: Store, target: Store, names: Names): Promise<string | undefined> {
  return (await lacking(source, target, names)) ?? (await surplus(source, target, names));
}

/** The first thing of the source that the target has not, or has otherwise. */
async function lacking(source: Store, target: Store, names: Names): Promise<string | undefined> {
  const cursors = new ItemCursor(target);
  for await (const batch of walk(source)) {
    for (const { user, account } of batch.accounts) {
      const other = await target.accounts.get(user);
      if (other === undefined) return missing(`the account ${user}`, names.target);
      if (canonical.account(user, other) !== canonical.account(user, account))
        return `the account ${user} has other keys, or another date, in ${names.target}`;
    }
    for (const node of batch.nodes) {
      const other = await target.nodes.get(node.name);
      if (other === undefined) return missing(`the node ${node.name}`, names.target);
      if (canonical.node(other) !== canonical.node(node))
        return `the node ${node.name} has another configuration, or other affiliations, in ${names.target}`;
    }
    for (const subscription of batch.subscriptions) {
      const { node, jid } = subscription;
      const other = await target.nodes.subscription(node, jid);
      if (other === undefined) return missing(`the subscription of ${jid} to ${node}`, names.target);
      if (canonical.subscription(other) !== canonical.subscription(subscription))
        return `the subscription of ${jid} to ${node} is another one in ${names.target}`;
    }
    for (const { node, item } of batch.items) {
      const other = await cursors.next(node);
      if (other !== undefined && canonical.item(other) === canonical.item(item)) continue;
      const what = `the item ${item.id} of the node ${node}`;
      const [found] = await target.items.get(node, [item.id]);
      if (found === undefined) return missing(what, names.target);
      if (canonical.item(found) !== canonical.item(item))
        return `${what} has another payload, publisher or date in ${names.target}`;
      return other === undefined
        ? `${what} stands elsewhere in ${names.target}`
        : `where ${names.source} has ${what}, ${names.target} has ${other.id}: the order is another one`;
    }
  }
  return undefined;
}

/** The first thing that only the target has; what both have is the same. */
async function surplus(source: Store, target: Store, names: Names): Promise<string | undefined> {
  const itemsOf = new Map<string, number>();
  for await (const batch of walk(target)) {
    for (const { user } of batch.accounts)
      if ((await source.accounts.get(user)) === undefined) return missing(`the account ${user}`, names.source);
    for (const { name } of batch.nodes)
      if ((await source.nodes.get(name)) === undefined) return missing(`the node ${name}`, names.source);
    for (const { node, jid } of batch.subscriptions)
      if ((await source.nodes.subscription(node, jid)) === undefined)
        return missing(`the subscription of ${jid} to ${node}`, names.source);
    for (const { node, item } of batch.items) {
      if (!itemsOf.has(node)) {
        itemsOf.clear();
        itemsOf.set(node, await source.items.count(node));
      }
      const left = itemsOf.get(node)! - 1;
      itemsOf.set(node, left);
      if (left < 0) return missing(`the item ${item.id} of the node ${node}`, names.source);
    }
  }
  return undefined;
}

function missing(what: string, where: string): string {
  return `${what} is not in ${where}`;
}

const PAGE = 100;

/** Reads the items of one node after the other, oldest first. */
class ItemCursor {
  private node: string | undefined;
  private page: Awaited<ReturnType<Store['items']['latest']>> = [];
  private at = 0;

  constructor(private readonly store: Store) {}

  async next(node: string) {
    if (node !== this.node || this.at === this.page.length) {
      const after = node === this.node ? this.page.at(-1)?.id : undefined;
      const query = { limit: PAGE, ...(after !== undefined && { after }) };
      this.page = (await this.store.items.page(node, query))?.items ?? [];
      this.node = node;
      this.at = 0;
    }
    return this.page[this.at++];
  }
}
