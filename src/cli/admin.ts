import type { Affiliation, NodeRecord, Store } from '../store/store.js';

/**
 * What `thrum user` and `thrum node` do. A running broker serves these over its control socket, with its own ways to
 * change accounts and nodes, so that caches, sessions and subscribers learn of it; without one they work on the store.
 */
export interface AdminDependencies {
  store: Store;
  accounts: {
    create(user: string, password: string): Promise<'created' | 'exists' | 'invalid'>;
    setPassword(user: string, password: string): Promise<'changed' | 'missing' | 'invalid'>;
    remove(user: string): Promise<boolean>;
  };
  /** Deletes a node and tells its subscribers; else the store's own removal is used. */
  removeNode?: (name: string) => Promise<boolean>;
  /** Called after an account is gone or has a new password: its sessions end. */
  revoked?: (user: string, why: 'removed' | 'password') => void | Promise<void>;
}

export interface UserSummary {
  user: string;
  /** Milliseconds since the epoch. */
  created: number;
}

export interface NodeSummary {
  name: string;
  creator: string;
  created: number;
  items: number;
  subscriptions: number;
  access: string;
}

export interface NodeDetails extends NodeSummary {
  config: Record<string, string | string[]>;
  affiliations: Record<string, Affiliation>;
  subscribers: { jid: string; state: string }[];
}

/** A page of a list: after that name, at most that many. */
export interface Page {
  after?: string;
  limit: number;
}

export type Operations = ReturnType<typeof operations>;

/** The operations by the name under which the control socket offers them. All arguments and results are JSON. */
export function operations(deps: AdminDependencies) {
  const { store, accounts } = deps;
  return {
    'user.add': (a: { user: string; password: string }) => accounts.create(a.user, a.password),
    'user.passwd': async (a: { user: string; password: string }) => {
      const outcome = await accounts.setPassword(a.user, a.password);
      if (outcome === 'changed') await deps.revoked?.(a.user, 'password');
      return outcome;
    },
    'user.remove': async (a: { user: string }) => {
      const removed = await accounts.remove(a.user);
      if (removed) await deps.revoked?.(a.user, 'removed');
      return removed;
    },
    'user.list': async (page: Page): Promise<UserSummary[]> => {
      const users = await store.accounts.list(page.after, page.limit);
      const found = await Promise.all(users.map((user) => store.accounts.get(user)));
      return users.map((user, index) => ({ user, created: found[index]?.created ?? 0 }));
    },
    'node.list': async (page: Page): Promise<NodeSummary[]> => {
      const names = await store.nodes.list(page.after, page.limit);
      const found = await Promise.all(names.map((name) => summary(store, name)));
      return found.flatMap((node) => (node === undefined ? [] : [node.summary]));
    },
    'node.show': async ({ name }: { name: string }): Promise<NodeDetails | null> => {
      const found = await summary(store, name);
      if (found === undefined) return null;
      const { config, affiliations } = found.node;
      const subscribers = (await store.nodes.subscriptionsOfNode(name)).map(({ jid, state }) => ({ jid, state }));
      return { ...found.summary, subscriptions: subscribers.length, config, affiliations, subscribers };
    },
    'node.remove': (a: { name: string }) => (deps.removeNode ? deps.removeNode(a.name) : store.nodes.remove(a.name)),
  };
}

async function summary(store: Store, name: string): Promise<{ summary: NodeSummary; node: NodeRecord } | undefined> {
  const [node, items, subscriptions] = await Promise.all([
    store.nodes.get(name),
    store.items.count(name),
    store.nodes.countSubscriptions(name),
  ]);
  if (!node) return undefined;
  const { creator, created, config } = node;
  const access = String(config['access_model'] ?? 'open');
  return { summary: { name, creator, created, items, subscriptions, access }, node };
}
