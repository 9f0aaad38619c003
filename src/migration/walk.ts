import type { Account, ItemRecord, NodeRecord, Store, SubscriptionRecord } from '../store/store.js';

/**
 * How far a walk through a store has come: all accounts up to one; or all accounts, and all nodes up to one, the last of which may
 * be done only up to an item.
 */
export type Cursor = { kind: 'accounts'; user?: string } | { kind: 'nodes'; node?: string; item?: string };

export const BEGINNING: Cursor = { kind: 'accounts' };

/** A piece of a store. A node comes before its subscriptions, and both before its items, which come oldest first. */
export interface Batch {
  accounts: { user: string; account: Account }[];
  nodes: NodeRecord[];
  subscriptions: SubscriptionRecord[];
  items: { node: string; item: ItemRecord }[];
  /** Where the walk goes on after this batch. */
  cursor: Cursor;
}

/** Accounts in a batch; names of nodes read at a time; items of one node, where it has that many. */
const AT_ONCE = 500;
/** Nodes in a batch, and how many items of each at most: such a batch holds 1024 payloads. */
const NODES = 64;
const FIRST_ITEMS = 16;
/** Nearly that many bytes of payloads are asked for at a time. */
const PAGE_BYTES = 4 * 2 ** 20;

/** Everything that a store keeps, piece by piece, so that memory stays bounded however much it is. */
export async function* walk(store: Store, from: Cursor = BEGINNING): AsyncGenerator<Batch> {
  if (from.kind === 'accounts') yield* accounts(store, from.user);
  const { node, item } = from.kind === 'nodes' ? from : {};
  if (node !== undefined && item !== undefined) yield* moreItems(store, node, item);
  yield* nodes(store, node);
}

function empty(cursor: Cursor): Batch {
  return { accounts: [], nodes: [], subscriptions: [], items: [], cursor };
}

async function* accounts(store: Store, after: string | undefined): AsyncGenerator<Batch> {
  for (;;) {
    const users = await store.accounts.list(after, AT_ONCE);
    const last = users.at(-1);
    if (last === undefined) return;
    const found = await Promise.all(users.map((user) => store.accounts.get(user)));
    const batch = empty({ kind: 'accounts', user: last });
    users.forEach((user, i) => found[i] && batch.accounts.push({ user, account: found[i] }));
    yield batch;
    after = last;
  }
}

async function* nodes(store: Store, after: string | undefined): AsyncGenerator<Batch> {
  for (;;) {
    const names = await store.nodes.list(after, AT_ONCE);
    if (names.length === 0) return;
    for (let i = 0; i < names.length; i += NODES) yield* some(store, names.slice(i, i + NODES));
    after = names.at(-1);
  }
}

async function* some(store: Store, names: readonly string[]): AsyncGenerator<Batch> {
  let batch = empty({ kind: 'nodes' });
  for (const found of await Promise.all(names.map((name) => beginning(store, name)))) {
    const { name, record, subscriptions, items, whole } = found;
    if (record !== undefined) {
      batch.nodes.push(record);
      for (const subscription of subscriptions) batch.subscriptions.push(subscription);
      for (const item of items) batch.items.push({ node: name, item });
    }
    batch.cursor = { kind: 'nodes', node: name };
    if (whole) continue;
    const { id } = items.at(-1)!;
    yield { ...batch, cursor: { ...batch.cursor, item: id } };
    yield* moreItems(store, name, id);
    batch = empty(batch.cursor);
  }
  yield batch;
}

/** A node with its first items; `whole` when it has no more. */
async function beginning(store: Store, name: string) {
  const [record, subscriptions, page] = await Promise.all([
    store.nodes.get(name),
    store.nodes.subscriptionsOfNode(name),
    store.items.page(name, { limit: FIRST_ITEMS }),
  ]);
  const items = record === undefined ? [] : (page?.items ?? []);
  return { name, record, subscriptions, items, whole: items.length === 0 || items.length === page?.count };
}

/** The items of a node after one of them. */
async function* moreItems(store: Store, node: string, after: string): AsyncGenerator<Batch> {
  let limit = FIRST_ITEMS;
  for (;;) {
    const page = await store.items.page(node, { limit, after });
    const last = page?.items.at(-1);
    if (page === undefined || last === undefined) return;
    const whole = page.index + page.items.length >= page.count;
    yield {
      ...empty({ kind: 'nodes', node, ...(!whole && { item: last.id }) }),
      items: page.items.map((item) => ({ node, item })),
    };
    if (whole) return;
    after = last.id;
    const bytes = page.items.reduce((sum, { payload }) => sum + payload.length, 0);
    limit = Math.min(AT_ONCE, Math.max(1, Math.floor((PAGE_BYTES * page.items.length) / (bytes + 1))));
  }
}
