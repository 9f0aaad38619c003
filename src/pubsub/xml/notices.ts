import { type Jid, parseJid } from '../../jid/jid.js';
import type { Affiliation, SubscriptionRecord, SubscriptionState } from '../../store/store.js';
import { type Element, el } from '../../xml/element.js';
import type { StanzaError } from '../../stream/stanza-error.js';
import { freshId } from '../ids.js';
import { authorizationForm } from './forms.js';
import { NS_CLIENT, NS_EVENT, NS_PUBSUB } from './namespaces.js';

/** Messages to single entities, which go the router's way. */
export class Notices {
  constructor(
    private readonly host: string,
    private readonly post: { deliver(to: Jid, stanza: Element): void },
  ) {}

  /** A subscription is in another state now: its subscriber is told (XEP-0060 §12.14), or somebody else. */
  subscription({ node, jid, subid }: SubscriptionRecord, state: SubscriptionState, to = jid): void {
    const change = el('subscription', NS_EVENT, { node, jid, subid, subscription: state });
    this.send(to, 'headline', el('event', NS_EVENT, {}, change));
  }

  /** XEP-0060 §8.9.4. */
  affiliation(bare: string, node: string, affiliation: Affiliation): void {
    const change = el('affiliation', NS_PUBSUB, { jid: bare, affiliation });
    this.send(bare, 'headline', el('pubsub', NS_PUBSUB, {}, el('affiliations', NS_PUBSUB, { node }, change)));
  }

  /** Asks the owners whether somebody may subscribe (XEP-0060 §8.6, §12.13: all of them, the first answer counts). */
  authorization(owners: readonly string[], subscription: SubscriptionRecord): void {
    for (const owner of owners) this.send(owner, 'normal', authorizationForm(subscription));
  }

  /** The node is gone (XEP-0060 §8.4.2): for those who get no notifications. */
  deleted(to: string, node: string, redirect: string | undefined): void {
    const inner = redirect === undefined ? undefined : el('redirect', NS_EVENT, { uri: redirect });
    this.send(to, 'headline', el('event', NS_EVENT, {}, el('delete', NS_EVENT, { node }, inner)));
  }

  /** A message of somebody's comes back with an error. */
  refused(to: Jid, message: Element, error: StanzaError): void {
    const attrs = { type: 'error', id: message.attr('id'), from: this.host, to: to.full };
    this.post.deliver(to, el('message', NS_CLIENT, attrs, error.toElement()));
  }

  private send(to: string, type: 'headline' | 'normal', content: Element): void {
    const jid = parseJid(to);
    if (jid === undefined) return;
    this.post.deliver(jid, el('message', NS_CLIENT, { from: this.host, to, id: freshId(), type }, content));
  }
}
