import type { NodeRecord } from '../store/store.js';
import { reconcile } from './affiliating.js';
import { CAPABILITIES } from './capability.js';
import type { Actor, Engine } from './engine.js';
import { secretId } from './ids.js';
import { BadOption, type NodeConfig, type Submitted, change, condense, defaultConfig, expand } from './options.js';
import { Refusal, unsupported } from './refusals.js';
import { configured, deleted } from './xml/events.js';

/** Access models of the XEP that the service does not have. */
const OTHER_ACCESS_MODELS = ['presence', 'roster'];

/** Service policy (XEP-0060 §8.1.1). */
export function mayCreate(engine: Engine, actor: Actor): boolean {
  return actor.admin || engine.config.pubsub.create === 'anyone';
}

function refusalOf({ name, values }: BadOption): Refusal {
  if (name === 'access_model' && OTHER_ACCESS_MODELS.includes(values[0] ?? '')) {
    return new Refusal('unsupported-access-model');
  }
  if (name === 'node_type' && values[0] === 'collection') return unsupported('collections');
  return new Refusal('not-acceptable', `pubsub#${name} cannot be ${values.join(', ') || 'empty'}`);
}

/** The configuration of a new node: the defaults with what was submitted. */
export function initialConfig({ limits }: Engine, submitted: Submitted | undefined): NodeConfig | Refusal {
  const initial = change(defaultConfig(limits), submitted ?? new Map(), limits);
  return initial instanceof BadOption ? refusalOf(initial) : initial;
}

/** XEP-0060 §8.1: resolves to the NodeID, which the service makes up for an instant node. */
export async function createNode(
  engine: Engine,
  actor: Actor,
  wanted: string | undefined,
  submitted: Submitted | undefined,
): Promise<string | Refusal> {
  if (!mayCreate(engine, actor)) return new Refusal('forbidden');
  const name = wanted ?? secretId();
  const bad = engine.badName('node', name);
  if (bad !== undefined) return bad;
  const { limits, config } = engine;
  const initial = initialConfig(engine, submitted);
  if (initial instanceof Refusal) return initial;
  const { bare } = actor.jid;
  const { nodes } = engine.store;
  if (config.limits.enabled && !actor.admin && (await nodes.countByCreator(bare)) >= config.limits.nodes_per_owner) {
    return new Refusal('max-nodes-exceeded', `an account may create ${config.limits.nodes_per_owner} nodes`);
  }
  const record: NodeRecord = {
    name,
    creator: bare,
    created: Date.now(),
    version: 1,
    config: condense(initial, limits),
    affiliations: { [bare]: 'owner' },
  };
  return (await nodes.create(record)) ? name : new Refusal('node-exists');
}

/** XEP-0060 §8.2.2: the configuration as it is. */
export async function configuration(engine: Engine, actor: Actor, name: string): Promise<NodeConfig | Refusal> {
  const known = await engine.ownedNode(actor, name);
  return known instanceof Refusal ? known : known.facts.policy.config;
}

/** XEP-0060 §8.2.4: a change of the configuration; without one, only the right to make it is checked. */
export async function configure(
  engine: Engine,
  actor: Actor,
  name: string,
  submitted: Submitted | undefined,
): Promise<Refusal | undefined> {
  const known = await engine.ownedNode(actor, name);
  if (known instanceof Refusal || submitted === undefined) return known instanceof Refusal ? known : undefined;
  const { limits, store } = engine;
  const before = known.facts.policy;
  const wanted = change(before.config, submitted, limits);
  if (wanted instanceof BadOption) return refusalOf(wanted);
  const record = await store.nodes.update(name, (node) => {
    const changed = change(expand(node.config, limits), submitted, limits);
    return changed instanceof BadOption ? undefined : { ...node, config: condense(changed, limits) };
  });
  if (record === undefined) return new Refusal('node-not-found');
  await engine.changed(name);
  const now = await engine.node(name);
  if (now instanceof Refusal) return now;
  const { facts } = now;
  await makeRoom(engine, name, before.persist && !facts.policy.persist ? 0 : facts.policy.maxItems);
  if (facts.policy.config.notify_config) {
    await engine.inTurn(name, actor, Promise.resolve(), () =>
      engine.notify(name, facts, configured(name, facts.policy.config)),
    );
  }
  if (before.config.access_model !== facts.policy.config.access_model) await reconcile(engine, name);
  return undefined;
}

/** How many items are looked at in one go: their payloads come with them. */
const ROOM_STEP = 100;

/** Items beyond what the node may keep now are gone at once. */
async function makeRoom(engine: Engine, name: string, maxItems: number): Promise<void> {
  const { items } = engine.store;
  if (maxItems === 0) {
    await items.purge(name);
    return;
  }
  for (let excess = (await items.count(name)) - maxItems; excess > 0; excess -= ROOM_STEP) {
    const oldest = await items.page(name, { limit: Math.min(excess, ROOM_STEP) });
    const ids = oldest?.items.map((item) => item.id) ?? [];
    if (ids.length === 0) return;
    await items.retract(name, ids);
  }
}

/** XEP-0060 §8.4. `redirect` is the URI of a node that takes this one's place. */
export async function deleteNode(
  engine: Engine,
  actor: Actor,
  name: string,
  redirect: string | undefined,
): Promise<Refusal | undefined> {
  const known = await engine.node(name);
  if (known instanceof Refusal) return known;
  const { facts } = known;
  if (!CAPABILITIES[engine.standing(actor, facts)].delete) return new Refusal('forbidden');
  const tells = facts.policy.config.notify_delete && facts.policy.delivers;
  const pending = tells
    ? (await engine.store.nodes.subscriptionsOfNode(name)).filter(({ state }) => state === 'pending')
    : [];
  const removed = await engine.inTurn(name, actor, engine.store.nodes.remove(name), (there) => {
    if (there && tells) engine.notify(name, facts, deleted(name, redirect));
  });
  if (!removed) return new Refusal('node-not-found');
  // Pending subscribers are no recipients, but should hear of it, too (§8.4.2).
  for (const { jid } of pending) engine.notices.deleted(jid, name, redirect);
  await engine.changed(name, true);
  return undefined;
}
