import { type Account, type Affiliation, type NodeRecord, StoreError, type SubscriptionRecord } from '../store.js';

export interface StoredAccount extends Account {
  user: string;
}

/** A node as it lies in its table. Affiliations are pairs, so that any bare JID is a legal one. */
export interface StoredNode extends Omit<NodeRecord, 'affiliations'> {
  incarnation: number;
  affiliations: [bare: string, affiliation: Affiliation][];
}

export function toRecord(stored: StoredNode): NodeRecord {
  const { incarnation: _, affiliations, ...facts } = stored;
  if (!Array.isArray(affiliations)) throw new StoreError('corrupt', 'The record of a node is damaged.');
  return { ...facts, affiliations: Object.fromEntries(affiliations) };
}

export function toStored(record: NodeRecord, incarnation: number): StoredNode {
  const { name, creator, created, version, config, affiliations } = record;
  const held = Object.entries(affiliations).filter(([, affiliation]) => affiliation !== 'none');
  return { name, creator, created, version, config, affiliations: held, incarnation };
}

/** Only what the interface names, so that nothing else that a caller's object carries is kept. */
export function toStoredSubscription(record: SubscriptionRecord): SubscriptionRecord {
  const { node, jid, bare, subid, state, options, created } = record;
  return { node, jid, bare, subid, state, ...(options && { options }), created };
}
