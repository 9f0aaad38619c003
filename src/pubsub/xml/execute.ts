import type { Element } from '../../xml/element.js';
import { affiliatedWith, affiliationsOf, setAffiliations } from '../affiliating.js';
import type { Actor, Engine } from '../engine.js';
import { configuration, configure, createNode, deleteNode } from '../managing.js';
import { defaultConfig } from '../options.js';
import { publish } from '../publishing.js';
import { Refusal } from '../refusals.js';
import { purge, retract } from '../retracting.js';
import { retrieve } from '../retrieving.js';
import { setSubscriptions, subscribersOf } from '../subscribers.js';
import { configureSubscription, subscribe, subscriptionOptions, subscriptionsOf, unsubscribe } from '../subscribing.js';
import { expandOptions } from '../subscription-options.js';
import type { Action, ActionOf } from './actions.js';
import * as encode from './encode.js';

type Answer = Element | undefined | Refusal;
type Executor<Kind extends Action['kind']> = (engine: Engine, actor: Actor, action: ActionOf<Kind>) => Promise<Answer>;

/** Writes what the engine gave, and passes its refusals on. */
async function result<Value>(
  given: Promise<Value | Refusal>,
  write: (value: Value) => Element | undefined,
): Promise<Answer> {
  const value = await given;
  return value instanceof Refusal ? value : write(value);
}

const EXECUTORS: { [Kind in Action['kind']]: Executor<Kind> } = {
  create: (engine, actor, { node, config }) => result(createNode(engine, actor, node, config), encode.created),
  configuration: (engine, actor, { node }) =>
    result(configuration(engine, actor, node), (config) => encode.configuration(node, config)),
  configure: (engine, actor, { node, config }) => configure(engine, actor, node, config),
  'default-configuration': async (engine) => encode.defaultConfiguration(defaultConfig(engine.limits)),
  delete: (engine, actor, { node, redirect }) => deleteNode(engine, actor, node, redirect),
  purge: (engine, actor, { node }) => purge(engine, actor, node),
  publish: (engine, actor, action) => result(publish(engine, actor, action), (id) => encode.published(action.node, id)),
  retract: (engine, actor, action) => retract(engine, actor, action),
  retrieve: (engine, actor, action) =>
    result(retrieve(engine, actor, action), (found) => encode.items(action.node, found)),
  subscribe: (engine, actor, { node, jid, options }) =>
    result(subscribe(engine, actor, { node, jid }, options), (subscription) =>
      encode.subscribed(subscription, options && expandOptions(subscription)),
    ),
  unsubscribe: (engine, actor, action) => result(unsubscribe(engine, actor, action), encode.unsubscribed),
  'subscription-options': (engine, actor, { node, jid, subid }) =>
    result(subscriptionOptions(engine, actor, { node, jid, subid }), (values) =>
      encode.options({ node, jid: jid!, subid }, values),
    ),
  'configure-subscription': (engine, actor, action) => configureSubscription(engine, actor, action, action.options),
  'default-subscription-options': async (engine, _actor, { node }) => {
    const known = node === undefined ? undefined : await engine.node(node);
    return known instanceof Refusal ? known : encode.defaultOptions(node, expandOptions(undefined));
  },
  'own-subscriptions': (engine, actor, { node }) =>
    result(subscriptionsOf(engine, actor, node), (list) => encode.ownSubscriptions(node, list)),
  'own-affiliations': (engine, actor, { node }) =>
    result(affiliationsOf(engine, actor, node), (list) => encode.ownAffiliations(node, list)),
  subscribers: (engine, actor, { node }) =>
    result(subscribersOf(engine, actor, node), (list) => encode.subscribers(node, list)),
  'set-subscribers': (engine, actor, { node, changes }) => setSubscriptions(engine, actor, node, changes),
  affiliated: (engine, actor, { node }) =>
    result(affiliatedWith(engine, actor, node), (list) => encode.affiliated(node, list)),
  'set-affiliations': (engine, actor, { node, changes }) => setAffiliations(engine, actor, node, changes),
};

export function execute(engine: Engine, actor: Actor, action: Action): Promise<Answer> {
  const executor = EXECUTORS[action.kind] as Executor<Action['kind']>;
  return executor(engine, actor, action);
}
