import type { Affiliation, Store } from '../store/store.js';

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
      const found = await Promise.all(names.map((name) => details(store, name)));
      return found
        .filter((node) => node !== undefined)
        .map(({ config: _, affiliations: __, subscribers: ___, ...rest }) => rest);
    },
    'node.show': async (a: { name: string }): Promise<NodeDetails | null> => (await details(store, a.name)) ?? null,
    'node.remove': (a: { name: string }) => (deps.removeNode ? deps.removeNode(a.name) : store.nodes.remove(a.name)),
  };
}

async function details(store: Store, name: string): Promise<NodeDetails | undefined> {
  const node = await store.nodes.get(name);
  if (!node) return undefined;
  const [items, subscriptions] = await Promise.all([store.items.count(name), store.nodes.subscriptionsOfNode(name)]);
  return {
    name,
    creator: node.creator,
    created: node.created,
    items,
    subscriptions: subscriptions.length,
    access: String(node.config['access_model'] ?? 'open'),
    config: node.config,
    affiliations: node.affiliations,
    subscribers: subscriptions.map(({ jid, state }) => ({ jid, state })),
  };
}
