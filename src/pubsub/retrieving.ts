import type { PageRequest } from '../xml/rsm.js';
import { CAPABILITIES } from './capability.js';
import type { Actor, Engine } from './engine.js';
import type { Published } from './last-items.js';
import type { NodeFacts } from './node.js';
import { Refusal, unsupported } from './refusals.js';
import { isActive } from './subscriptions.js';

export interface Retrieve {
  node: string;
  /** Particular items (XEP-0060 §6.5.8); all when empty. */
  ids: readonly string[];
  /** The most recent ones (§6.5.7). */
  max: number | undefined;
  subid: string | undefined;
  page: PageRequest | undefined;
}

/** Items in chronological order. `whole` when nothing was left out. */
export interface Retrieved {
  items: readonly Published[];
  whole: boolean;
  /** Of the whole result set where that is known, and the place of the first item in it. */
  count: number | undefined;
  index: number;
  /** Items show who published them. */
  publisher: boolean;
}

/** Most items in one answer; more are had page by page (§6.5.4). */
export const PAGE_ITEMS = 1000;

/** XEP-0060 §6.5. */
export async function retrieve(engine: Engine, actor: Actor, request: Retrieve): Promise<Retrieved | Refusal> {
  const known = await engine.node(request.node);
  if (known instanceof Refusal) return known;
  const { facts } = known;
  const refused = await mayRetrieve(engine, actor, request, facts);
  if (refused !== undefined) return refused;
  const { policy } = facts;
  const publisher = policy.namesPublisher;
  if (!policy.persist) {
    if (!policy.keepsLast) return unsupported('persistent-items');
    // §6.5.5: the last item is all that there is.
    const found = single((await engine.lastItems.of([known])).get(request.node), request);
    return found instanceof Refusal ? found : { ...found, publisher };
  }
  const found = await stored(engine, request, facts);
  if (found instanceof Refusal) return found;
  return { ...fit(found, engine.config.limits.stanza_bytes, request), publisher };
}

type Found = Omit<Retrieved, 'publisher'>;

function single(last: Published | undefined, { ids, page }: Retrieve): Found | Refusal {
  const set = last === undefined || (ids.length > 0 && !ids.includes(last.id)) ? [] : [last];
  if (ids.length > 0 || page === undefined) return { items: set, whole: true, count: set.length, index: 0 };
  if (page.index !== undefined) return new Refusal('index-unsupported');
  // What is before and after the only one is nothing.
  const beside = [page.after, page.before || undefined].filter((id) => id !== undefined);
  if (beside.some((id) => id !== last?.id)) return new Refusal('item-not-found');
  const items = beside.length > 0 || page.max === 0 ? [] : set;
  return { items, whole: false, count: set.length, index: 0 };
}

async function stored(engine: Engine, request: Retrieve, { policy }: NodeFacts): Promise<Found | Refusal> {
  const { items } = engine.store;
  const { node, ids, max, page } = request;
  const notBefore = policy.notBefore(Date.now());
  const enough = engine.config.limits.stanza_bytes;
  if (ids.length > 0) {
    const asked = [...new Set(ids)];
    const there: Published[] = [];
    let at = 0;
    for (; at < asked.length && weight(there) <= enough; at += SLICE) {
      there.push(...(await items.get(node, asked.slice(at, at + SLICE), notBefore)));
    }
    return { items: there, whole: at >= asked.length, count: undefined, index: 0 };
  }
  if (page?.index !== undefined) return new Refusal('index-unsupported');
  const limit = Math.min(page?.max ?? PAGE_ITEMS, max ?? PAGE_ITEMS, PAGE_ITEMS);
  const backwards = fromTheEnd(request);
  let slice = { limit: Math.min(Math.max(limit, 1), SLICE), after: page?.after, before: page?.before, notBefore };
  if (backwards) slice.before ??= '';
  const result = await items.page(node, slice);
  if (result === undefined) return new Refusal('item-not-found');
  const { count } = result;
  // §2.7 of XEP-0059: only the count was asked for.
  if (limit === 0) return { items: [], whole: false, count, index: 0 };
  let { items: found, index } = result;
  for (let last = found.length; last === slice.limit && found.length < limit && weight(found) <= enough;) {
    slice = { ...slice, limit: Math.min(limit - found.length, SLICE) };
    if (backwards) slice.before = found[0]!.id;
    else slice.after = found.at(-1)!.id;
    const more = await items.page(node, slice);
    // There are no more, or the one at the end has gone meanwhile.
    if (more === undefined || more.items.length === 0) break;
    last = more.items.length;
    found = backwards ? [...more.items, ...found] : [...found, ...more.items];
    if (backwards) index = more.index;
  }
  return { items: found, whole: page === undefined && found.length >= Math.min(max ?? count, count), count, index };
}

/** Items that are read at a time: they may be large and very many, and what an answer cannot hold need not be in memory, either. */
const SLICE = 64;

function weight(items: readonly Published[]): number {
  return items.reduce((sum, item) => sum + sizeOf(item), 0);
}

/** The most recent are asked for (§6.5.7), or what precedes an item. */
function fromTheEnd({ page, max }: Retrieve): boolean {
  return page?.before !== undefined || (max !== undefined && page?.after === undefined);
}

/** Roughly what an item costs beside its payload, in bytes. */
const ITEM_OVERHEAD = 64;

function sizeOf({ id, payload }: Published): number {
  return payload.length + id.length + ITEM_OVERHEAD;
}

/** An answer is no longer than a stanza that we would take ourselves; a page that was cut can be continued. */
function fit(found: Found, limit: number, request: Retrieve): Found {
  // From the end that the next page joins on, so that nothing between two pages is lost.
  const newestFirst = fromTheEnd(request);
  const order = newestFirst ? [...found.items].reverse() : found.items;
  let bytes = 0;
  let taken = 0;
  for (const item of order) {
    bytes += sizeOf(item);
    if (bytes > limit && taken > 0) break;
    taken++;
  }
  if (taken === found.items.length) return found;
  const start = newestFirst ? found.items.length - taken : 0;
  return {
    items: found.items.slice(start, start + taken),
    whole: false,
    count: found.count,
    index: found.index + start,
  };
}

/** XEP-0060 §6.5.1, with the affiliations' privileges of §4.1. */
export async function mayRetrieve(
  engine: Engine,
  actor: Actor,
  { node, subid }: Pick<Retrieve, 'node' | 'subid'>,
  facts: NodeFacts,
): Promise<Refusal | undefined> {
  const standing = engine.standing(actor, facts);
  if (standing === 'outcast' || standing === 'publish-only') return new Refusal('forbidden');
  const { access_model: model } = facts.policy.config;
  const asks = model === 'authorize' && standing !== 'owner' && standing !== 'publisher';
  if (asks || subid !== undefined) {
    const { nodes } = engine.store;
    const own = [await nodes.subscription(node, actor.jid.bare), await nodes.subscription(node, actor.jid.full)];
    const active = own.filter((subscription) => isActive(subscription));
    if (asks && active.length === 0) return new Refusal('not-subscribed');
    if (subid !== undefined && active.length > 0 && active.every((subscription) => subscription.subid !== subid)) {
      return new Refusal('invalid-subid');
    }
  }
  if (model === 'whitelist' && !CAPABILITIES[standing].retrieve) return new Refusal('closed-node');
  return undefined;
}
