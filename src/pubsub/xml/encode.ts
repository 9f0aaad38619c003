import type { Affiliation, SubscriptionRecord, SubscriptionState } from '../../store/store.js';
import { type Element, el } from '../../xml/element.js';
import { escapeAttr } from '../../xml/escape.js';
import { pageResult } from '../../xml/rsm.js';
import type { AffiliationEntry } from '../affiliating.js';
import type { NodeConfig } from '../options.js';
import type { Retrieved } from '../retrieving.js';
import type { SubscriptionOptions } from '../subscription-options.js';
import { configurationForm, subscriptionForm } from './forms.js';
import { NS_OWNER, NS_PUBSUB } from './namespaces.js';
import { Raw } from './raw.js';

/** The payloads of results. */

function pubsub(...children: (Element | undefined)[]): Element {
  return el('pubsub', NS_PUBSUB, {}, ...children);
}

function owner(...children: (Element | undefined)[]): Element {
  return el('pubsub', NS_OWNER, {}, ...children);
}

/** XEP-0060 §8.1.1. */
export function created(node: string): Element {
  return pubsub(el('create', NS_PUBSUB, { node }));
}

/** §7.1.2. */
export function published(node: string, id: string | undefined): Element {
  const item = id === undefined ? undefined : el('item', NS_PUBSUB, { id });
  return pubsub(el('publish', NS_PUBSUB, { node }, item));
}

/** §6.1.2, §6.3.7. */
export function subscribed(subscription: SubscriptionRecord, options: SubscriptionOptions | undefined): Element {
  const form = options && el('options', NS_PUBSUB, {}, subscriptionForm('result', options));
  return pubsub(subscriptionElement(subscription, subscription.state), form);
}

/** §6.2.2. */
export function unsubscribed(subscription: SubscriptionRecord): Element {
  return pubsub(subscriptionElement(subscription, 'none'));
}

function subscriptionElement({ node, jid, subid }: SubscriptionRecord, state: SubscriptionState): Element {
  return el('subscription', NS_PUBSUB, { node, jid, subid, subscription: state });
}

/** §5.6. */
export function ownSubscriptions(node: string | undefined, list: readonly SubscriptionRecord[]): Element {
  const entries = list.map((subscription) => subscriptionElement(subscription, subscription.state));
  return pubsub(el('subscriptions', NS_PUBSUB, { node }, ...entries));
}

/** §5.7. */
export function ownAffiliations(node: string | undefined, list: readonly AffiliationEntry[]): Element {
  const entries = list.map((entry) =>
    el('affiliation', NS_PUBSUB, { node: entry.node, affiliation: entry.affiliation }),
  );
  return pubsub(el('affiliations', NS_PUBSUB, { node }, ...entries));
}

/** §8.8.1.2. */
export function subscribers(node: string, list: readonly SubscriptionRecord[]): Element {
  const entries = list.map(({ jid, state, subid }) =>
    el('subscription', NS_OWNER, { jid, subscription: state, subid }),
  );
  return owner(el('subscriptions', NS_OWNER, { node }, ...entries));
}

/** §8.9.1.2. */
export function affiliated(node: string, list: readonly [string, Affiliation][]): Element {
  const entries = list.map(([jid, affiliation]) => el('affiliation', NS_OWNER, { jid, affiliation }));
  return owner(el('affiliations', NS_OWNER, { node }, ...entries));
}

/** §8.2.2. */
export function configuration(node: string, config: NodeConfig): Element {
  return owner(el('configure', NS_OWNER, { node }, configurationForm('form', config)));
}

/** §8.3.3. */
export function defaultConfiguration(config: NodeConfig): Element {
  return owner(el('default', NS_OWNER, {}, configurationForm('form', config)));
}

/** §6.3.3. */
export function options(
  reference: { node: string; jid: string; subid: string | undefined },
  values: SubscriptionOptions,
): Element {
  return pubsub(el('options', NS_PUBSUB, reference, subscriptionForm('form', values)));
}

/** §6.4.2. */
export function defaultOptions(node: string | undefined, values: SubscriptionOptions): Element {
  return pubsub(el('default', NS_PUBSUB, { node }, subscriptionForm('result', values)));
}

/** §6.5.3, §6.5.4. Payloads go out as the bytes that they came in as. */
export function items(node: string, found: Retrieved): Element {
  const list = found.items.map(({ id, publisher, payload }) => {
    const shown = found.publisher ? ` publisher='${escapeAttr(publisher)}'` : '';
    const open = `<item id='${escapeAttr(id)}'${shown}`;
    return payload.length === 0 ? `${open}/>` : `${open}>${Buffer.from(payload).toString()}</item>`;
  });
  const element = el('items', NS_PUBSUB, { node });
  if (list.length > 0) element.append(new Raw(list.join('')));
  if (found.whole) return pubsub(element);
  const { count, index } = found;
  const ends = { first: found.items[0]?.id, last: found.items.at(-1)?.id };
  return pubsub(element, pageResult({ count, index, ...ends }));
}
