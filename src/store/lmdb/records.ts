import type { Affiliation, NodeRecord, SubscriptionRecord } from '../store.js';
import type { Objects } from './environment.js';

/** A node as it lies in its table. Affiliations are pairs, so that any bare JID is a legal one. */
export interface StoredNode extends Omit<NodeRecord, 'affiliations'> {
  incarnation: number;
  affiliations: [bare: string, affiliation: Affiliation][];
}

export type StoredSubscription = SubscriptionRecord;

export type NodeTable = Objects<StoredNode>;
export type SubscriptionTable = Objects<StoredSubscription>;

export function toRecord(stored: StoredNode): NodeRecord {
  const { incarnation: _, affiliations, ...facts } = stored;
  return { ...facts, affiliations: Object.fromEntries(affiliations) };
}

export function toStored(record: NodeRecord, incarnation: number): StoredNode {
  const { name, creator, created, version, config, affiliations } = record;
  const held = Object.entries(affiliations).filter(([, affiliation]) => affiliation !== 'none');
  return { name, creator, created, version, config, affiliations: held, incarnation };
}

/** Only what the interface names, so that nothing else that a caller's object carries is kept. */
export function toStoredSubscription(record: SubscriptionRecord): StoredSubscription {
  const { node, jid, bare, subid, state, options, created } = record;
  return { node, jid, bare, subid, state, ...(options && { options }), created };
}
