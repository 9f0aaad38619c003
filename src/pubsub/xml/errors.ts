import { StanzaError, refuse } from '../../stream/stanza-error.js';
import { Element, el } from '../../xml/element.js';
import { REFUSALS, type Refusal } from '../refusals.js';
import { NS_ERRORS, NS_OWNER } from './namespaces.js';

/** A refusal of the engine as XEP-0060 has it on the wire: the condition, and its child in pubsub#errors. */
export function stanzaError(refusal: Refusal): StanzaError {
  const shape: { condition: StanzaError['condition']; type?: StanzaError['type']; detail?: string } =
    REFUSALS[refusal.code];
  const application =
    shape.detail === undefined ? undefined : el(shape.detail, NS_ERRORS, { feature: refusal.feature });
  return refuse(shape.condition, {
    text: refusal.text,
    type: shape.type,
    application,
    payload: refusal.entries && unchanged(refusal.entries),
  });
}

const ENTRY = {
  affiliations: { name: 'affiliation', value: 'affiliation' },
  subscriptions: { name: 'subscription', value: 'subscription' },
} as const;

/** The entries that could not be changed, as they still are (XEP-0060 §8.8.2.4, §8.9.2.4). */
function unchanged({ of, node, list }: NonNullable<Refusal['entries']>): Element {
  const { name, value } = ENTRY[of];
  const entries = list.map((entry) => el(name, NS_OWNER, { jid: entry.jid, [value]: entry.value }));
  return el('pubsub', NS_OWNER, {}, el(of, NS_OWNER, { node }, ...entries));
}
