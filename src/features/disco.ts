import type { Entries } from '../cluster/directory.js';
import type { Config } from '../config/config.js';
import { refuse } from '../stream/stanza-error.js';
import type { Session } from '../session/session.js';
import { el, type Element } from '../xml/element.js';
import { defineFeature, type Feature, type IqAnswer, type IqHandler, type Route } from './feature.js';
import type { FeatureSet } from './registry.js';

const NS_INFO = 'http://jabber.org/protocol/disco#info';
const NS_ITEMS = 'http://jabber.org/protocol/disco#items';
const INFO: Route = `iq:get:${NS_INFO}:query`;
const ITEMS: Route = `iq:get:${NS_ITEMS}:query`;

export interface DiscoContext {
  config: Config;
  /** The set that this feature is part of. */
  features: () => FeatureSet;
  /** The pub-sub service's own answer; `more` are the features that others answer for it. */
  pubsubInfo?: (node: string | undefined, more: readonly string[]) => IqAnswer | Promise<IqAnswer>;
}

/** Service discovery of the server, of accounts, and of what the registry adds to the pub-sub service. */
export function disco({ config, features, pubsubInfo }: DiscoContext): Feature {
  const server = withoutNodes(() =>
    describe({ category: 'server', type: 'im', name: 'Thrum' }, features().disco('server'), features().forms(config)),
  );
  const services = withoutNodes(() => {
    const jid = `${config.pubsub.host_prefix}.${config.domain}`;
    return el('query', NS_ITEMS, {}, el('item', NS_ITEMS, { jid, name: 'Publish-Subscribe' }));
  });
  const account = withoutNodes(({ session }) => {
    const type = session.isAdmin ? 'admin' : 'registered';
    return describe({ category: 'account', type }, features().disco('account'), []);
  });
  const resources = withoutNodes(({ session }) => {
    const elsewhere = session.context.directory.remote(session.jid.bare);
    if (!(elsewhere instanceof Promise)) return resourcesOf(session, elsewhere);
    return elsewhere.then((entries) => resourcesOf(session, entries));
  });
  // What others may learn of an account is governed by presence subscriptions; without one, nothing, whether the
  // account exists or not (XEP-0030 §8).
  const noInfo: IqHandler = () => refuse('service-unavailable');
  const noItems: IqHandler = ({ payload }) => el('query', NS_ITEMS, { node: payload.attr('node') });
  const pubsub: IqHandler | undefined =
    pubsubInfo && (({ payload }) => pubsubInfo(payload.attr('node'), features().disco('pubsub')));
  const supported = [NS_INFO, NS_ITEMS];
  return defineFeature({
    spec: 'XEP-0030',
    title: 'Service Discovery',
    version: '2.5.0',
    disco: { server: supported, account: supported, pubsub: supported },
    routes: {
      server: { [INFO]: server, [ITEMS]: services },
      account: { [INFO]: account, [ITEMS]: resources },
      contact: { [INFO]: noInfo, [ITEMS]: noItems },
      pubsub: pubsub ? { [INFO]: pubsub } : {},
    },
  });
}

/** There are no nodes here (XEP-0030 §7). */
function withoutNodes(handler: IqHandler): IqHandler {
  return (request) => (request.payload.attr('node') === undefined ? handler(request) : refuse('item-not-found'));
}

function describe(identity: Record<string, string>, features: readonly string[], forms: readonly Element[]): Element {
  const list = features.map((feature) => el('feature', NS_INFO, { var: feature }));
  return el('query', NS_INFO, {}, el('identity', NS_INFO, identity), ...list, ...forms);
}

/** The account's available resources, at this worker and among `entries` of others (XEP-0030 §4.1). */
function resourcesOf(session: Session, entries: Entries): Element {
  const { bare } = session.jid;
  const here = session.context.registry.bare(bare).filter((other) => other.available);
  const elsewhere = entries.filter((entry) => entry.available);
  const jids = [...here.map((other) => other.jid.full), ...elsewhere.map((entry) => `${bare}/${entry.resource}`)];
  return el('query', NS_ITEMS, {}, ...jids.map((jid) => el('item', NS_ITEMS, { jid })));
}
