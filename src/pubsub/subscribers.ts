import { parseJid } from '../jid/jid.js';
import type { SubscriptionRecord } from '../store/store.js';
import type { Actor, Engine } from './engine.js';
import { secretId } from './ids.js';
import type { NodeFacts } from './node.js';
import { Refusal, type RefusedEntry } from './refusals.js';
import { type Reference, admit, dismiss, tooMany } from './subscribing.js';
import { isActive } from './subscriptions.js';

/** XEP-0060 §8.8.1: who is subscribed; those who wait are not listed. */
export async function subscribersOf(
  engine: Engine,
  actor: Actor,
  name: string,
): Promise<SubscriptionRecord[] | Refusal> {
  const known = await engine.ownedNode(actor, name);
  if (known instanceof Refusal) return known;
  return (await engine.store.nodes.subscriptionsOfNode(name)).filter(isActive);
}

/** One wish of an owner: the address as it was written, and the state if one was. */
export interface SubscriptionChange {
  jid: string;
  state: string | undefined;
  subid: string | undefined;
}

/** XEP-0060 §8.8.2: changes what can be changed, and returns the rest as it is (§8.8.2.4). */
export async function setSubscriptions(
  engine: Engine,
  actor: Actor,
  name: string,
  wishes: readonly SubscriptionChange[],
): Promise<Refusal | undefined> {
  const known = await engine.ownedNode(actor, name);
  if (known instanceof Refusal) return known;
  const list: RefusedEntry[] = [];
  for (const wish of wishes) {
    const refused = await setSubscription(engine, actor, name, known.facts, wish);
    if (refused !== undefined) list.push(refused);
  }
  return list.length === 0
    ? undefined
    : new Refusal('not-acceptable', undefined, undefined, { of: 'subscriptions', node: name, list });
}

async function setSubscription(
  engine: Engine,
  actor: Actor,
  name: string,
  facts: NodeFacts,
  { jid, state, subid }: SubscriptionChange,
): Promise<RefusedEntry | undefined> {
  const subscriber = parseJid(jid);
  const before = subscriber && (await engine.store.nodes.subscription(name, subscriber.full));
  const refused: RefusedEntry = { jid, value: before?.state ?? 'none' };
  if (subscriber === undefined || (subid !== undefined && subid !== before?.subid)) return refused;
  if (state === undefined || state === before?.state) return undefined;
  if (state === 'none') {
    if (before !== undefined) await dismiss(engine, before);
    return undefined;
  }
  // An owner's word is the approval, but not against the affiliation that it gave.
  if (state !== 'subscribed' || facts.maySubscribe(subscriber.bare) === 'no') return refused;
  if (before === undefined && (await tooMany(engine, actor, subscriber.bare)) !== undefined) return refused;
  const fresh = { node: name, jid: subscriber.full, bare: subscriber.bare, subid: secretId(), created: Date.now() };
  const added = await admit(engine, before ?? { ...fresh, state: 'pending' }, before === undefined);
  return added ? undefined : refused;
}

/** An owner's answer to a subscription request (XEP-0060 §8.6). */
export async function decide(
  engine: Engine,
  actor: Actor,
  { node: name, jid, subid }: Reference,
  allow: boolean,
): Promise<Refusal | undefined> {
  const known = await engine.ownedNode(actor, name);
  if (known instanceof Refusal) return known;
  const subscriber = parseJid(jid ?? '');
  const pending = subscriber && (await engine.store.nodes.subscription(name, subscriber.full));
  if (pending === undefined) return new Refusal('no-such-subscriber');
  if (subid !== undefined && subid !== pending.subid) return new Refusal('invalid-subid');
  // Another owner was quicker (§12.13: the first answer counts).
  if (pending.state !== 'pending') return undefined;
  if (allow) await admit(engine, pending);
  else await dismiss(engine, pending);
  return undefined;
}
