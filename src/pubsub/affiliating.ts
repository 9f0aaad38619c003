import { parseJid } from '../jid/jid.js';
import type { Affiliation } from '../store/store.js';
import { TRANSITIONS, isAffiliation } from './capability.js';
import type { Actor, Engine } from './engine.js';
import { Refusal, type RefusedEntry } from './refusals.js';
import { admit, dismiss } from './subscribing.js';

export interface AffiliationEntry {
  node: string;
  affiliation: Affiliation;
}

/** XEP-0060 §5.7: the actor's affiliations, at all nodes or at one. */
export async function affiliationsOf(
  engine: Engine,
  actor: Actor,
  node: string | undefined,
): Promise<AffiliationEntry[] | Refusal> {
  if (node === undefined) return engine.store.nodes.affiliationsOf(actor.jid.bare);
  const known = await engine.node(node);
  if (known instanceof Refusal) return known;
  const affiliation = known.facts.affiliation(actor.jid.bare);
  return affiliation === 'none' ? [] : [{ node, affiliation }];
}

/** XEP-0060 §8.9.1: all entities that are affiliated with the node. */
export async function affiliatedWith(
  engine: Engine,
  actor: Actor,
  name: string,
): Promise<[string, Affiliation][] | Refusal> {
  const known = await engine.ownedNode(actor, name);
  return known instanceof Refusal ? known : [...known.facts.affiliations()];
}

/** One wish of an owner: the address as it was written, and the affiliation if one was. */
export interface AffiliationChange {
  jid: string;
  affiliation: string | undefined;
}

/** XEP-0060 §8.9.2: changes what can be changed, and returns the rest as it is (§8.9.2.4). */
export async function setAffiliations(
  engine: Engine,
  actor: Actor,
  name: string,
  wishes: readonly AffiliationChange[],
): Promise<Refusal | undefined> {
  const known = await engine.ownedNode(actor, name);
  if (known instanceof Refusal) return known;
  const wanted = new Map<string, string>();
  const listed = new Set<string>();
  const malformed: RefusedEntry[] = [];
  for (const { jid, affiliation } of wishes) {
    // Affiliations are based on the bare JID (§4.1).
    const bare = parseJid(jid)?.bare;
    if (bare === undefined) malformed.push({ jid, value: 'none' });
    else if (listed.has(bare)) return new Refusal('bad-request', `${bare} is listed twice`);
    else if (affiliation !== undefined) wanted.set(bare, affiliation);
    if (bare !== undefined) listed.add(bare);
  }
  const { enabled, affiliations_per_node: limit } = engine.config.limits;
  const most = enabled && !actor.admin ? limit : Infinity;
  let verdict: Verdict | undefined;
  const record = await engine.store.nodes.update(name, (node) => {
    verdict = judge(node.affiliations, wanted, most);
    return verdict.changed.size === 0 ? undefined : { ...node, affiliations: verdict.affiliations };
  });
  if (record === undefined || verdict === undefined) return new Refusal('node-not-found');
  const { changed, refused } = verdict;
  if (changed.size > 0) {
    await engine.changed(name);
    const now = await engine.node(name);
    if (now instanceof Refusal) return now;
    await reconcile(engine, name, changed);
    for (const bare of changed) engine.notices.affiliation(bare, name, now.facts.affiliation(bare));
  }
  const list = [...malformed, ...refused];
  return list.length === 0
    ? undefined
    : new Refusal('not-acceptable', undefined, undefined, { of: 'affiliations', node: name, list });
}

interface Verdict {
  affiliations: Record<string, Affiliation>;
  changed: Set<string>;
  refused: RefusedEntry[];
}

/** What of the wishes the state chart allows (§4.1), with at least one owner left (§8.9.2.4), and at most so many affiliated. */
export function judge(now: Record<string, Affiliation>, wanted: ReadonlyMap<string, string>, most = Infinity): Verdict {
  const after = new Map(Object.entries(now));
  const changed = new Set<string>();
  const refused: RefusedEntry[] = [];
  // New owners first, so that an old one may resign in the same request.
  const byOwnersLast = [...wanted].sort((a, b) => Number(now[a[0]] === 'owner') - Number(now[b[0]] === 'owner'));
  let owners = [...after.values()].filter((value) => value === 'owner').length;
  for (const [bare, value] of byOwnersLast) {
    const before = after.get(bare) ?? 'none';
    if (value === before) continue;
    const lastOwner = before === 'owner' && owners === 1;
    const full = before === 'none' && after.size >= most;
    if (!isAffiliation(value) || !TRANSITIONS[before].includes(value) || lastOwner || full) {
      refused.push({ jid: bare, value: before });
      continue;
    }
    if (before === 'owner') owners--;
    if (value === 'owner') owners++;
    if (value === 'none') after.delete(bare);
    else after.set(bare, value);
    changed.add(bare);
  }
  return { affiliations: Object.fromEntries(after), changed, refused };
}

/**
 * Subscriptions follow the access model and the affiliations as they are now: who may not be subscribed any more is dismissed, who waits
 * and needs no approval any more is admitted (XEP-0060 §8.7.4, §14.3). `only` limits it to those bare JIDs.
 */
export async function reconcile(engine: Engine, name: string, only?: ReadonlySet<string>): Promise<void> {
  const all = await engine.store.nodes.subscriptionsOfNode(name);
  for (const subscription of all) {
    if (only !== undefined && !only.has(subscription.bare)) continue;
    // There may be many, and another owner may have changed something meanwhile.
    const known = await engine.node(name);
    if (known instanceof Refusal) return;
    const standing = known.facts.maySubscribe(subscription.bare);
    if (standing === 'no') await dismiss(engine, subscription);
    else if (standing === 'yes' && subscription.state === 'pending') await admit(engine, subscription);
  }
}
