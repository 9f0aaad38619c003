import { type Jid, parseJid } from '../jid/jid.js';
import type { SubscriptionRecord, SubscriptionState } from '../store/store.js';
import type { Actor, Engine } from './engine.js';
import { secretId } from './ids.js';
import { lastToSubscriber } from './latecomers.js';
import type { NodeFacts } from './node.js';
import type { Submitted } from './options.js';
import { Refusal, type RefusalCode, unsupported } from './refusals.js';
import { type SubscriptionOptions, changeOptions, expandOptions } from './subscription-options.js';
import { delivers, isActive } from './subscriptions.js';

/** A subscription that somebody speaks of: at which node, whose, and which. */
export interface Reference {
  node: string;
  /** As it was written. */
  jid: string | undefined;
  subid: string | undefined;
}

/** The address, if it is the actor's own or an administrator speaks for it (XEP-0060 §6.1.3.1, §6.2.3.3). */
function speaksFor(actor: Actor, jid: string | undefined, refusal: RefusalCode): Jid | Refusal {
  if (jid === undefined) return new Refusal('jid-required');
  const parsed = parseJid(jid);
  if (parsed === undefined) return new Refusal('invalid-jid');
  return parsed.bare === actor.jid.bare || actor.admin ? parsed : new Refusal(refusal);
}

// --- by the subscriber -----------------------------------------------------------------------------------------------------

/** XEP-0060 §6.1, with the options in the same request §6.3.7. */
export async function subscribe(
  engine: Engine,
  actor: Actor,
  { node: name, jid }: Omit<Reference, 'subid'>,
  submitted: Submitted | undefined,
): Promise<SubscriptionRecord | Refusal> {
  const subscriber = speaksFor(actor, jid, 'invalid-jid');
  if (subscriber instanceof Refusal) return subscriber;
  const known = await engine.node(name);
  if (known instanceof Refusal) return known;
  const { facts } = known;
  const may = facts.maySubscribe(subscriber.bare);
  if (may === 'no') return notAllowed(facts, subscriber.bare);
  if (!facts.policy.config.subscribe) return unsupported('subscribe');
  const { nodes } = engine.store;
  const before = await nodes.subscription(name, subscriber.full);
  if (before?.state === 'pending' && may === 'ask') {
    // Perhaps no owner was there to be asked, and one is now (§8.6: at any time).
    engine.notices.authorization(facts.owners(), before);
    return new Refusal('pending-subscription');
  }
  const options = submitted === undefined ? expandOptions(before) : changeOptions(expandOptions(before), submitted);
  if (options === undefined) return new Refusal('invalid-options');
  // One subscription for each JID: asking again shows the one that there is (§6.1.6).
  if (isActive(before) && submitted === undefined) return before;
  const subscription: SubscriptionRecord = {
    node: name,
    jid: subscriber.full,
    bare: subscriber.bare,
    subid: before?.subid ?? secretId(),
    state: may === 'yes' || isActive(before) ? 'subscribed' : 'pending',
    options: { ...options },
    created: before?.created ?? Date.now(),
  };
  if (before === undefined) {
    const refused = await tooMany(engine, actor, subscriber.bare);
    if (refused !== undefined) return refused;
    const kept = await nodes.addSubscription(subscription);
    if (kept === undefined) return new Refusal('node-not-found');
    // Another session of the account was quicker.
    if (kept.subid !== subscription.subid) return subscribe(engine, actor, { node: name, jid }, submitted);
  } else if (!(await nodes.replaceSubscription(subscription))) {
    // It has unsubscribed meanwhile, or the node is gone.
    return subscribe(engine, actor, { node: name, jid }, submitted);
  }
  const refused = await stillMay(engine, subscription);
  if (refused !== undefined) return refused;
  if (subscription.state === 'pending') {
    engine.notices.authorization(facts.owners(), subscription);
    return subscription;
  }
  await engine.subscriptions.changed(name, subscription.jid, subscription.bare);
  if (isActive(before)) return subscription;
  tellOwners(engine, facts, subscription, 'subscribed');
  if (delivers(subscription)) lastToSubscriber(engine, name, subscriber);
  return subscription;
}

/** XEP-0060 §6.2: resolves to the subscription that there was. */
export async function unsubscribe(
  engine: Engine,
  actor: Actor,
  reference: Reference,
): Promise<SubscriptionRecord | Refusal> {
  const found = await find(engine, actor, reference, 'no-such-subscriber');
  if (found instanceof Refusal) return found;
  const { subscription, facts } = found;
  await dismiss(engine, subscription);
  tellOwners(engine, facts, subscription, 'none');
  return subscription;
}

async function find(
  engine: Engine,
  actor: Actor,
  { node, jid, subid }: Reference,
  missing: RefusalCode,
): Promise<{ subscription: SubscriptionRecord; facts: NodeFacts } | Refusal> {
  const subscriber = speaksFor(actor, jid, 'forbidden');
  if (subscriber instanceof Refusal) return subscriber;
  const known = await engine.node(node);
  if (known instanceof Refusal) return known;
  const subscription = await engine.store.nodes.subscription(node, subscriber.full);
  if (subscription === undefined) return new Refusal(missing);
  if (subid !== undefined && subid !== subscription.subid) return new Refusal('invalid-subid');
  return { subscription, facts: known.facts };
}

/** XEP-0060 §6.3.2. */
export async function subscriptionOptions(
  engine: Engine,
  actor: Actor,
  reference: Reference,
): Promise<SubscriptionOptions | Refusal> {
  const found = await find(engine, actor, reference, 'options-not-subscribed');
  return found instanceof Refusal ? found : expandOptions(found.subscription);
}

/** XEP-0060 §6.3.5; without submitted options only the right to change them is checked. */
export async function configureSubscription(
  engine: Engine,
  actor: Actor,
  reference: Reference,
  submitted: Submitted | undefined,
): Promise<Refusal | undefined> {
  const found = await find(engine, actor, reference, 'options-not-subscribed');
  if (found instanceof Refusal || submitted === undefined) return found instanceof Refusal ? found : undefined;
  const { subscription } = found;
  const options = changeOptions(expandOptions(subscription), submitted);
  if (options === undefined) return new Refusal('invalid-options');
  const changed = { ...subscription, options: { ...options } };
  if (!(await engine.store.nodes.replaceSubscription(changed))) return new Refusal('options-not-subscribed');
  const refused = await stillMay(engine, subscription);
  if (refused !== undefined) return refused;
  await engine.subscriptions.changed(subscription.node, subscription.jid, subscription.bare);
  return undefined;
}

/** XEP-0060 §5.6: of the actor's bare JID and all its resources, at all nodes or at one. */
export async function subscriptionsOf(
  engine: Engine,
  actor: Actor,
  node: string | undefined,
): Promise<SubscriptionRecord[] | Refusal> {
  if (node !== undefined) {
    const known = await engine.node(node);
    if (known instanceof Refusal) return known;
  }
  const all = await engine.store.nodes.subscriptionsOf(actor.jid.bare);
  return node === undefined ? all : all.filter((subscription) => subscription.node === node);
}

/** The subscriber may not have one more. Each session reads all of them, so there must be an end. */
export async function tooMany(engine: Engine, actor: Actor, bare: string): Promise<Refusal | undefined> {
  const { enabled, subscriptions_per_account: most } = engine.config.limits;
  if (!enabled || actor.admin || (await engine.store.nodes.countSubscriptionsOf(bare)) < most) return undefined;
  return new Refusal('too-many-subscriptions', `an account may have ${most} subscriptions`);
}

// --- changes of state ----------------------------------------------------------------------------------------------------------

function notAllowed(facts: NodeFacts, bare: string): Refusal {
  return new Refusal(facts.affiliation(bare) === 'none' ? 'closed-node' : 'forbidden');
}

/**
 * Takes back a subscription that was written and may not be any more. Owners who change who may look through the subscriptions after
 * that (§8.7.4, §14.3), and do not find one that is written later by who looked before.
 */
async function stillMay(engine: Engine, subscription: SubscriptionRecord): Promise<Refusal | undefined> {
  const { node, jid, bare } = subscription;
  const now = await engine.node(node);
  if (now instanceof Refusal) return now;
  if (now.facts.maySubscribe(bare) !== 'no') return undefined;
  await engine.store.nodes.removeSubscription(node, jid);
  await engine.subscriptions.changed(node, jid, bare);
  return notAllowed(now.facts, bare);
}

/**
 * Subscribed from now on, by an owner's doing: the subscriber is told (§12.14) and gets the last item (§12.10). False when it may not be,
 * or, unless it is new, has been taken back meanwhile.
 */
export async function admit(engine: Engine, subscription: SubscriptionRecord, isNew = false): Promise<boolean> {
  const admitted: SubscriptionRecord = { ...subscription, state: 'subscribed' };
  const { nodes } = engine.store;
  if (isNew) {
    const kept = await nodes.addSubscription(admitted);
    // The subscriber was quicker.
    if (kept !== undefined && kept.subid !== admitted.subid) return isActive(kept) || admit(engine, kept);
    if (kept === undefined) return false;
  } else if (!(await nodes.replaceSubscription(admitted))) return false;
  if ((await stillMay(engine, admitted)) !== undefined) return false;
  await engine.subscriptions.changed(admitted.node, admitted.jid, admitted.bare);
  engine.notices.subscription(admitted, 'subscribed');
  const jid = parseJid(admitted.jid);
  if (jid !== undefined && delivers(admitted)) lastToSubscriber(engine, admitted.node, jid);
  return true;
}

/** Not subscribed any more. Whatever ended it, the subscriber is told, at the address that was subscribed (§12.14). */
export async function dismiss(engine: Engine, subscription: SubscriptionRecord): Promise<void> {
  const { node, jid, bare } = subscription;
  await engine.store.nodes.removeSubscription(node, jid);
  await engine.subscriptions.changed(node, jid, bare);
  engine.notices.subscription(subscription, 'none');
}

/** The node option notify_sub: owners hear about new subscribers and unsubscribes (§16.4.4). */
function tellOwners(
  engine: Engine,
  facts: NodeFacts,
  subscription: SubscriptionRecord,
  state: SubscriptionState,
): void {
  if (!facts.policy.config.notify_sub) return;
  for (const owner of facts.owners()) {
    if (owner !== subscription.bare) engine.notices.subscription(subscription, state, owner);
  }
}
