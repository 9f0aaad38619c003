import { CAPABILITIES } from './capability.js';
import type { Actor, Engine } from './engine.js';
import { Refusal, unsupported } from './refusals.js';
import { purged, retracted } from './xml/events.js';

export interface Retract {
  node: string;
  ids: readonly string[];
  /** What the request says of notifying; the node's configuration decides when it says nothing. */
  notify: boolean | undefined;
}

/** XEP-0060 §7.2: all of the items or, when one of them is not there or not the actor's to delete, none (§12.11). */
export async function retract(engine: Engine, actor: Actor, request: Retract): Promise<Refusal | undefined> {
  const { node: name, ids } = request;
  const known = await engine.node(name);
  if (known instanceof Refusal) return known;
  const { facts } = known;
  const may = CAPABILITIES[engine.standing(actor, facts)].retract;
  if (may === 'none') return new Refusal('forbidden');
  if (!facts.policy.persist) return unsupported('persistent-items');
  const items = await engine.store.items.get(name, ids, facts.policy.notBefore(Date.now()));
  if (items.length < new Set(ids).size) return new Refusal('item-not-found');
  if (may === 'own' && items.some((item) => item.publisher !== actor.jid.bare)) return new Refusal('forbidden');
  const gone = await engine.inTurn(name, actor, engine.store.items.retract(name, ids), (removed) => {
    if (removed.length === 0 || !(request.notify ?? facts.policy.config.notify_retract)) return;
    engine.notify(name, facts, retracted(name, removed));
  });
  return gone.length === 0 ? new Refusal('item-not-found') : undefined;
}

/** XEP-0060 §8.5. */
export async function purge(engine: Engine, actor: Actor, name: string): Promise<Refusal | undefined> {
  const known = await engine.node(name);
  if (known instanceof Refusal) return known;
  const { facts } = known;
  if (!CAPABILITIES[engine.standing(actor, facts)].purge) return new Refusal('forbidden');
  if (!facts.policy.persist) return unsupported('persistent-items');
  await engine.inTurn(name, actor, engine.store.items.purge(name), () => {
    if (facts.policy.config.notify_retract) engine.notify(name, facts, purged(name));
  });
  return undefined;
}
