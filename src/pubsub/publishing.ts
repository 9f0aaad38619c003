import { counters } from '../metrics/counters.js';
import { escapeAttr } from '../xml/escape.js';
import type { Actor, Engine, KnownNode } from './engine.js';
import { freshId } from './ids.js';
import { createNode, initialConfig, mayCreate } from './managing.js';
import { type NodeFacts, Policy } from './node.js';
import { type Submitted, isNodeOption, meets } from './options.js';
import { Refusal } from './refusals.js';
import { type Keep, refusalOf, submit } from './submitting.js';
import { isActive } from './subscriptions.js';
import { happened } from './xml/events.js';

export interface Publish {
  node: string;
  /** A payload is self-contained XML; `ns` is its root's namespace. */
  item: { id: string | undefined; payload: { bytes: Buffer; ns: string } | undefined } | undefined;
  /** Preconditions, by option name (XEP-0060 §7.1.5). */
  options: Submitted | undefined;
}

/** XEP-0060 §7.1 whole. Resolves to the item's id, undefined where the node takes no items. */
export async function publish(engine: Engine, actor: Actor, request: Publish): Promise<string | undefined | Refusal> {
  const answer = await attempt(engine, actor, request);
  if (answer instanceof Refusal) counters.publishErrors++;
  return answer;
}

async function attempt(engine: Engine, actor: Actor, request: Publish): Promise<string | undefined | Refusal> {
  const { item } = request;
  let facts: NodeFacts;
  do {
    const known = await destination(engine, actor, request);
    if (known instanceof Refusal) return known;
    facts = known.facts;
    const refused = unfit(engine, facts.policy, item);
    if (refused !== undefined) return refused;
    await engine.cluster.uncongested();
    // That may have taken long: who was banned meanwhile, say, may not publish any more.
  } while (engine.nodes.peek(request.node)?.facts !== facts);
  const reader = actor.session === undefined ? undefined : engine.readerOf(actor.session);
  const node = engine.nodes.ensure(request.node);
  if (item === undefined) {
    // Transient and without payload: an event that something happened (XEP-0060 §4.3).
    counters.publishes++;
    await engine.inTurn(request.node, actor, Promise.resolve(), () =>
      engine.notify(request.node, facts, happened(request.node)),
    );
    return undefined;
  }
  const itemId = item.id ?? freshId();
  return new Promise((resolve) => {
    const done = (published: boolean, failure: unknown): void =>
      resolve(published ? itemId : refusalOf(engine, failure));
    const payload = item.payload?.bytes ?? NOTHING;
    const keep = keeperOf(engine, request.node, facts.policy);
    submit(engine, node, facts, actor.jid.bare, reader, itemId, escapeAttr(itemId), payload, done, keep);
  });
}

const NOTHING = Buffer.alloc(0);

/** The node to publish to, made where there is none (§7.1.4), if the actor may and the preconditions hold (§7.1.5). */
async function destination(
  engine: Engine,
  actor: Actor,
  { node: name, options, item }: Publish,
): Promise<{ facts: NodeFacts } | Refusal> {
  let known = await found(engine, actor, name);
  if (known instanceof Refusal) {
    if (!mayCreate(engine, actor)) return known;
    for (const option of options?.keys() ?? []) if (!isNodeOption(option)) return unknownPrecondition(option);
    // What is refused leaves no node behind.
    const config = initialConfig(engine, options);
    if (config instanceof Refusal) return config;
    const refused = unfit(engine, new Policy(config, engine.limits), item);
    if (refused !== undefined) return refused;
    const made = await createNode(engine, actor, name, options);
    if (made instanceof Refusal && made.code !== 'node-exists') return made;
    known = await engine.node(name);
    if (known instanceof Refusal || !(made instanceof Refusal)) return known;
  }
  const { facts } = known;
  if (!(await mayPublish(engine, actor, name, facts))) return new Refusal('forbidden');
  if (options !== undefined && !meets(facts.policy.config, options, engine.limits)) {
    return new Refusal('precondition-not-met');
  }
  return { facts };
}

/** The node; while the store is away as other workers of this host know it, if that is enough to decide. */
async function found(engine: Engine, actor: Actor, name: string): Promise<KnownNode | Refusal> {
  try {
    return await engine.node(name);
  } catch (error) {
    const facts = await engine.hearsay.facts(name, error);
    if (standsToPublish(actor, facts) === undefined) throw error;
    return { name, facts };
  }
}

function unknownPrecondition(name: string): Refusal {
  return new Refusal('precondition-not-met', `pubsub#${name} is not known`);
}

async function mayPublish(engine: Engine, actor: Actor, name: string, facts: NodeFacts): Promise<boolean> {
  const stands = standsToPublish(actor, facts);
  if (stands !== undefined) return stands;
  const { bare, full } = actor.jid;
  const { nodes } = engine.store;
  const subscribed = isActive(await nodes.subscription(name, bare)) || isActive(await nodes.subscription(name, full));
  // Good for the hot path, until the facts or the subscription change.
  if (subscribed && actor.session !== undefined) engine.readerOf(actor.session).permit = facts;
  return subscribed;
}

/** Whether the actor may publish; undefined when that is for its subscription to say. */
function standsToPublish({ admin, jid: { bare } }: Actor, facts: NodeFacts): boolean | undefined {
  if (admin || facts.mayPublish(bare)) return true;
  const asks = facts.policy.config.publish_model === 'subscribers' && facts.affiliation(bare) !== 'outcast';
  return asks ? undefined : false;
}

function unfit(engine: Engine, policy: Policy, item: Publish['item']): Refusal | undefined {
  const refused = mismatch(policy, item);
  if (refused !== undefined || item?.id === undefined) return refused;
  return item.id === '' ? new Refusal('not-acceptable', 'the item id is empty') : engine.badName('item', item.id);
}

/** Whether the request fits the event type that the node is configured for (§4.3, §7.1.3.5 to §7.1.3.7). */
function mismatch(policy: Policy, item: Publish['item']): Refusal | undefined {
  if (item === undefined) {
    if (policy.persist) return new Refusal('item-required');
    return policy.payloads ? new Refusal('payload-required') : undefined;
  }
  if (!policy.persist && !policy.payloads) return new Refusal('item-forbidden');
  const { payload } = item;
  if (payload === undefined) return policy.payloads ? new Refusal('payload-required') : undefined;
  if (payload.bytes.length > policy.payloadLimit) {
    return new Refusal('payload-too-big', `the payload has ${payload.bytes.length} bytes of ${policy.payloadLimit}`);
  }
  const { type } = policy.config;
  return type !== '' && payload.ns !== type
    ? new Refusal('invalid-payload', `this node takes payloads of ${type}`)
    : undefined;
}

/** How an item gets into a node that rejects what it has no room for (§7.1.2.5, §7.1.3.4); undefined for all others, which are never full. */
function keeperOf(engine: Engine, name: string, policy: Policy): Keep | undefined {
  const { maxItems, config } = policy;
  if (!policy.persist || config.publish_node_full !== 'reject') return undefined;
  return async (item) => {
    const outcome = await engine.store.items.add(name, item, maxItems, policy.notBefore(Date.now()));
    if (outcome === 'full') throw new Refusal('node-full');
    return outcome === 'kept';
  };
}
