import type {
  ItemPage,
  ItemQuery,
  ItemRecord,
  NodeRecord,
  Store,
  SubscriptionRecord,
} from '../../../src/store/store.js';

/** Enough of a store for the engine, all in maps. */
export function memoryStore(): Store {
  const nodes = new Map<string, NodeRecord>();
  const items = new Map<string, Map<string, ItemRecord>>();
  const subs = new Map<string, Map<string, SubscriptionRecord>>();
  const turn = <T>(work: () => T): Promise<T> => new Promise((resolve) => setImmediate(() => resolve(work())));
  const copy = <T>(value: T): T => structuredClone(value);
  const all = (node: string, notBefore = 0): ItemRecord[] =>
    [...(items.get(node)?.values() ?? [])].filter((item) => item.published >= notBefore);
  return {
    accounts: undefined as never,
    nodes: {
      create: (node) =>
        turn(() => {
          if (nodes.has(node.name)) return false;
          nodes.set(node.name, copy(node));
          items.set(node.name, new Map());
          subs.set(node.name, new Map());
          return true;
        }),
      get: (name) => turn(() => copy(nodes.get(name))),
      update: (name, change) =>
        turn(() => {
          const node = nodes.get(name);
          if (node === undefined) return undefined;
          const changed = change(copy(node));
          if (changed !== undefined) nodes.set(name, { ...copy(changed), version: node.version + 1 });
          return copy(nodes.get(name));
        }),
      remove: (name) =>
        turn(() => {
          items.delete(name);
          subs.delete(name);
          return nodes.delete(name);
        }),
      list: (after, limit) =>
        turn(() =>
          [...nodes.keys()]
            .sort()
            .filter((name) => after === undefined || name > after)
            .slice(0, limit),
        ),
      count: () => turn(() => nodes.size),
      countByCreator: (bare) => turn(() => [...nodes.values()].filter((node) => node.creator === bare).length),
      affiliationsOf: (bare) =>
        turn(() =>
          [...nodes.values()].flatMap(({ name, affiliations }) =>
            affiliations[bare] === undefined ? [] : [{ node: name, affiliation: affiliations[bare] }],
          ),
        ),
      putSubscription: (subscription) =>
        turn(() => {
          subs.get(subscription.node)?.set(subscription.jid, copy(subscription));
          return subs.has(subscription.node);
        }),
      removeSubscription: (node, jid) => turn(() => subs.get(node)?.delete(jid) ?? false),
      subscription: (node, jid) => turn(() => copy(subs.get(node)?.get(jid))),
      subscriptionsOfNode: (node) => turn(() => [...(subs.get(node)?.values() ?? [])].map(copy)),
      subscriptionsOf: (bare) =>
        turn(() => [...subs.values()].flatMap((list) => [...list.values()].filter((s) => s.bare === bare)).map(copy)),
    },
    items: {
      publish: (node, item, maxItems) => {
        const kept = { ...item, payload: Buffer.from(item.payload) };
        return turn(() => {
          const list = items.get(node);
          if (list === undefined) return false;
          list.delete(item.id);
          list.set(item.id, kept);
          while (list.size > maxItems) list.delete(list.keys().next().value!);
          return true;
        });
      },
      retract: (node, ids) => turn(() => ids.filter((id) => items.get(node)?.delete(id))),
      purge: (node) =>
        turn(() => {
          const { size } = items.get(node) ?? { size: 0 };
          items.get(node)?.clear();
          return size;
        }),
      get: (node, ids, notBefore = 0) => turn(() => all(node, notBefore).filter((item) => ids.includes(item.id))),
      page: (node, { limit, after, before, notBefore }: ItemQuery) =>
        turn((): ItemPage | undefined => {
          const list = all(node, notBefore);
          const at = (id: string): number => list.findIndex((item) => item.id === id);
          if ((after && at(after) < 0) || (before && at(before) < 0)) return undefined;
          const from = after === undefined ? 0 : at(after) + 1;
          const to = before === undefined || before === '' ? list.length : at(before);
          const index = before === undefined ? from : Math.max(from, to - limit);
          return { items: list.slice(index, Math.min(to, index + limit)), count: list.length, index };
        }),
      latest: (node, limit, notBefore) => turn(() => all(node, notBefore).reverse().slice(0, limit)),
      count: (node, notBefore) => turn(() => all(node, notBefore).length),
      expire: (node, notBefore) =>
        turn(() => {
          const old = all(node).filter((item) => item.published < notBefore);
          for (const { id } of old) items.get(node)?.delete(id);
          return old.length;
        }),
    },
    flush: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}
