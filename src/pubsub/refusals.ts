import type { Condition, ErrorType } from '../stream/stanza-error.js';

/** A refusal's stanza error: its condition, its type where XEP-0060 differs from RFC 6120, and its child in pubsub#errors. */
interface Shape {
  condition: Condition;
  type?: ErrorType;
  detail?: string;
}

/** Every way in which the engine says no, as XEP-0060 names it. `unsupported` also tells the feature. */
export const REFUSALS = {
  /** The node does not exist (§6.1.3.12, §7.1.3.3, …). */
  'node-not-found': { condition: 'item-not-found' },
  'item-not-found': { condition: 'item-not-found' },
  /** Insufficient privileges, or blocked (§6.1.3.8, §7.1.3.1, §8.2.3.2, …). */
  forbidden: { condition: 'forbidden' },
  'bad-request': { condition: 'bad-request' },
  'not-acceptable': { condition: 'not-acceptable' },
  'internal-error': { condition: 'internal-server-error', type: 'wait' },
  'store-full': { condition: 'resource-constraint' },
  /** §7.2.3.3, §8.2.3.3. */
  'nodeid-required': { condition: 'bad-request', detail: 'nodeid-required' },
  /** §6.3.4.3. */
  'jid-required': { condition: 'bad-request', detail: 'jid-required' },
  /** §6.1.3.1. */
  'invalid-jid': { condition: 'bad-request', detail: 'invalid-jid' },
  /** §6.1.3.4, §6.5.9.8. */
  'closed-node': { condition: 'not-allowed', detail: 'closed-node' },
  /** §6.1.3.7. */
  'pending-subscription': { condition: 'not-authorized', detail: 'pending-subscription' },
  /** §6.1.3.9. */
  'too-many-subscriptions': { condition: 'policy-violation', type: 'wait', detail: 'too-many-subscriptions' },
  /** §6.2.3.2. */
  'no-such-subscriber': { condition: 'unexpected-request', type: 'cancel', detail: 'not-subscribed' },
  /** §6.3.4.2. */
  'options-not-subscribed': { condition: 'unexpected-request', type: 'modify', detail: 'not-subscribed' },
  /** §6.2.3.5, §6.3.4.5, §6.5.9.2. */
  'invalid-subid': { condition: 'not-acceptable', detail: 'invalid-subid' },
  /** §6.3.6.2. */
  'invalid-options': { condition: 'bad-request', detail: 'invalid-options' },
  /** §6.5.9.3. */
  'not-subscribed': { condition: 'not-authorized', detail: 'not-subscribed' },
  /** §7.1.3.4. */
  'node-full': { condition: 'conflict', detail: 'node-full' },
  /** §7.1.3.5. */
  'payload-too-big': { condition: 'not-acceptable', detail: 'payload-too-big' },
  /** §7.1.3.6. */
  'invalid-payload': { condition: 'bad-request', detail: 'invalid-payload' },
  /** §7.1.3.7. */
  'item-required': { condition: 'bad-request', detail: 'item-required' },
  'payload-required': { condition: 'bad-request', detail: 'payload-required' },
  'item-forbidden': { condition: 'bad-request', detail: 'item-forbidden' },
  /** §7.1.5. */
  'precondition-not-met': { condition: 'conflict', detail: 'precondition-not-met' },
  /** §8.1.1. */
  'node-exists': { condition: 'conflict' },
  /** As XEP-0248 §7.2.3.3 has it for the nodes of a collection. */
  'max-nodes-exceeded': { condition: 'not-allowed', detail: 'max-nodes-exceeded' },
  /** §8.1.2. */
  'unsupported-access-model': { condition: 'not-acceptable', detail: 'unsupported-access-model' },
  /** Of the service or the node; `feature` says which (§6.1.3.10, §7.2.3.5, …). */
  unsupported: { condition: 'feature-not-implemented', detail: 'unsupported' },
  /** A message that is nothing to the service. */
  'no-message': { condition: 'service-unavailable' },
  /** XEP-0059 §2.6: pages by index. */
  'index-unsupported': { condition: 'feature-not-implemented' },
} as const satisfies Record<string, Shape>;

export type RefusalCode = keyof typeof REFUSALS;

/** An entry of a list that could not be changed, as it was before (§8.8.2.4, §8.9.2.4). */
export interface RefusedEntry {
  jid: string;
  /** The affiliation or subscription state that still holds. */
  value: string;
}

/** A typed no: a value, not an exception. */
export class Refusal {
  constructor(
    readonly code: RefusalCode,
    readonly text: string | undefined = undefined,
    /** Of `unsupported`: the name of the feature, without the namespace. */
    readonly feature: string | undefined = undefined,
    /** Of `not-acceptable` changes of a list: what was left as it is. All others were changed. */
    readonly entries:
      { of: 'affiliations' | 'subscriptions'; node: string; list: RefusedEntry[] } | undefined = undefined,
  ) {}
}

export function unsupported(feature: string): Refusal {
  return new Refusal('unsupported', undefined, feature);
}
