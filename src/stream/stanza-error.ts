import { Element } from '../xml/element.js';

export const NS_STANZAS = 'urn:ietf:params:xml:ns:xmpp-stanzas';

export type ErrorType = 'auth' | 'cancel' | 'continue' | 'modify' | 'wait';

/** Defined conditions with the error type that RFC 6120 §8.3.3 gives each. */
export const CONDITIONS = {
  'bad-request': 'modify',
  conflict: 'cancel',
  'feature-not-implemented': 'cancel',
  forbidden: 'auth',
  gone: 'cancel',
  'internal-server-error': 'cancel',
  'item-not-found': 'cancel',
  'jid-malformed': 'modify',
  'not-acceptable': 'modify',
  'not-allowed': 'cancel',
  'not-authorized': 'auth',
  'policy-violation': 'modify',
  'recipient-unavailable': 'wait',
  redirect: 'modify',
  'registration-required': 'auth',
  'remote-server-not-found': 'cancel',
  'remote-server-timeout': 'wait',
  'resource-constraint': 'wait',
  'service-unavailable': 'cancel',
  'subscription-required': 'auth',
  'undefined-condition': 'modify',
  'unexpected-request': 'wait',
} as const satisfies Record<string, ErrorType>;
export type Condition = keyof typeof CONDITIONS;

/** A typed refusal: a value, not an exception. Only the edge turns it into XML. */
export class StanzaError {
  constructor(
    readonly condition: Condition,
    readonly type: ErrorType,
    readonly text: string | undefined,
    /** Application-specific condition (RFC 6120 §8.3.4). */
    readonly application: Element | undefined,
    /** What goes before the error in the stanza (RFC 6120 §8.3.1), where the sender has to see it. */
    readonly payload: Element | undefined = undefined,
  ) {}

  /** `<error/>` as RFC 6120 §8.3.2 shows it. */
  toElement(): Element {
    const children: Element[] = [new Element(this.condition, NS_STANZAS)];
    if (this.text !== undefined) children.push(new Element('text', NS_STANZAS, {}, [this.text]));
    if (this.application) children.push(this.application);
    return new Element('error', 'jabber:client', { type: this.type }, children);
  }
}

/** Shapes a refusal; the error type is the condition's own unless given. */
export function refuse(
  condition: Condition,
  more: { text?: string; type?: ErrorType; application?: Element; payload?: Element } = {},
): StanzaError {
  return new StanzaError(condition, more.type ?? CONDITIONS[condition], more.text, more.application, more.payload);
}
