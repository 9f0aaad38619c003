import { type Element, el } from '../../xml/element.js';
import { NS_RSM, pageResult, readPageRequest } from '../../xml/rsm.js';
import type { Actor, Engine } from '../engine.js';
import { expand } from '../options.js';
import { Refusal } from '../refusals.js';
import { PAGE_ITEMS, retrieve } from '../retrieving.js';
import { isActive } from '../subscriptions.js';
import { PUBSUB_DISCO } from './features.js';
import { metaDataForm } from './forms.js';
import { NS_DISCO_INFO, NS_DISCO_ITEMS, NS_PUBSUB } from './namespaces.js';

const features = (names: readonly string[]): Element[] =>
  names.map((name) => el('feature', NS_DISCO_INFO, { var: name }));

/** The service itself (XEP-0060 §5.1). `more` are the features of other extensions that it has. */
export function serviceInfo(more: readonly string[]): Element {
  const all = [...new Set([NS_DISCO_INFO, NS_DISCO_ITEMS, NS_RSM, ...PUBSUB_DISCO, ...more])];
  const identity = el('identity', NS_DISCO_INFO, { category: 'pubsub', type: 'service', name: 'Thrum' });
  return el('query', NS_DISCO_INFO, {}, identity, ...features(all));
}

/** One node and its metadata (XEP-0060 §5.3, §5.4). */
export async function nodeInfo(engine: Engine, name: string): Promise<Element | Refusal> {
  const known = await engine.node(name);
  if (known instanceof Refusal) return known;
  const { facts } = known;
  const { nodes } = engine.store;
  // Only where subscriptions need approval do some wait for it; reading them all takes long where they are many.
  const subscribers =
    facts.policy.config.access_model === 'authorize'
      ? (await nodes.subscriptionsOfNode(name)).filter(isActive).length
      : await nodes.countSubscriptions(name);
  const title = facts.policy.config.title || undefined;
  const identity = el('identity', NS_DISCO_INFO, { category: 'pubsub', type: 'leaf', name: title });
  return el(
    'query',
    NS_DISCO_INFO,
    { node: name },
    identity,
    ...features([NS_DISCO_INFO, NS_DISCO_ITEMS, NS_PUBSUB]),
    metaDataForm(facts, subscribers),
  );
}

/** The service's nodes in order of their names (XEP-0060 §5.2), page by page where asked or where they are many. */
export async function nodeList(engine: Engine, query: Element): Promise<Element | Refusal> {
  const page = readPageRequest(query);
  if (page === 'malformed') return new Refusal('bad-request');
  // Names are walked forwards; what lies before one is not known without walking all.
  if (page?.before !== undefined || page?.index !== undefined) return new Refusal('index-unsupported');
  const { nodes } = engine.store;
  const stanzaBytes = engine.config.limits.stanza_bytes;
  const limit = Math.min(page?.max ?? PAGE_ITEMS, PAGE_ITEMS);
  const found = limit === 0 ? [] : await nodes.list(page?.after, limit + 1);
  const entries = await Promise.all(
    found.slice(0, limit).map(async (name) => {
      // Not through what is kept in memory: whoever looks at all nodes would fill it with them.
      const record = await nodes.get(name);
      if (record === undefined) return undefined;
      const title = expand(record.config, engine.limits).title || undefined;
      return el('item', NS_DISCO_ITEMS, { jid: engine.host, node: name, name: title });
    }),
  );
  // No answer is longer than a stanza that we would take ourselves.
  let bytes = 0;
  const past = entries.findIndex((item, i) => (bytes += item?.toString().length ?? 0) > stanzaBytes && i > 0);
  const names = found.slice(0, past < 0 ? limit : past);
  const list = el('query', NS_DISCO_ITEMS, {}, ...entries.slice(0, names.length));
  if (page === undefined && found.length === names.length) return list;
  return list.append(pageResult({ count: await nodes.count(), first: names[0], last: names.at(-1) }));
}

/** The items of a node, by the same rights as their contents (XEP-0060 §5.5). */
export async function itemList(engine: Engine, actor: Actor, name: string, query: Element): Promise<Element | Refusal> {
  const page = readPageRequest(query);
  if (page === 'malformed') return new Refusal('bad-request');
  const found = await retrieve(engine, actor, { node: name, ids: [], max: undefined, subid: undefined, page });
  const empty = el('query', NS_DISCO_ITEMS, { node: name });
  // A node without items to show has an empty list of them.
  if (found instanceof Refusal) return found.code === 'unsupported' ? empty : found;
  const list = empty.append(...found.items.map(({ id }) => el('item', NS_DISCO_ITEMS, { jid: engine.host, name: id })));
  if (found.whole) return list;
  const { count, index, items } = found;
  return list.append(pageResult({ count, index, first: items[0]?.id, last: items.at(-1)?.id }));
}
