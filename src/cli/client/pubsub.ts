import { xml, type XmlElement, type XmppClient } from '@xmpp/client';

const NS = 'http://jabber.org/protocol/pubsub';
const NS_EVENT = `${NS}#event`;
const NS_OWNER = `${NS}#owner`;
const NS_DATA = 'jabber:x:data';
const NS_DISCO_ITEMS = 'http://jabber.org/protocol/disco#items';

export interface Item {
  id: string;
  payload: XmlElement | undefined;
}

/** Condition of a stanza error that the server answered with (RFC 6120 §8.3.3). */
export function conditionOf(error: unknown): string | undefined {
  return (error as { condition?: string }).condition;
}

/** A client's view of one pub-sub service (XEP-0060). Requests reject with the server's stanza error. */
export class PubSubClient {
  constructor(
    readonly xmpp: XmppClient,
    readonly service: string,
  ) {
    // One for each request that waits for its answer.
    xmpp.setMaxListeners(0);
  }

  /** XEP-0060 §8.1.3; false when the node exists already. */
  async create(node: string, config: Record<string, string>): Promise<boolean> {
    try {
      await this.set(xml('create', { node }), xml('configure', {}, form(config)));
      return true;
    } catch (error) {
      if (conditionOf(error) === 'conflict') return false;
      throw error;
    }
  }

  /** XEP-0060 §7.1. */
  async publish(node: string, id: string, payload: XmlElement): Promise<void> {
    await this.set(xml('publish', { node }, xml('item', { id }, payload)));
  }

  /** XEP-0060 §6.1, with the full JID: the subscription is of this session. Resolves to its subid. */
  async subscribe(node: string): Promise<string | undefined> {
    const answer = await this.set(xml('subscribe', { node, jid: String(this.xmpp.jid) }));
    return answer?.getChild('subscription')?.attrs['subid'];
  }

  async unsubscribe(node: string, subid: string | undefined): Promise<void> {
    await this.set(xml('unsubscribe', { node, jid: String(this.xmpp.jid), ...(subid && { subid }) }));
  }

  /** The newest item (XEP-0060 §6.5.7). */
  async latest(node: string): Promise<Item | undefined> {
    const request = xml('pubsub', { xmlns: NS }, xml('items', { node, max_items: '1' }));
    const answer = await this.answered(() => this.xmpp.iqCaller.get(request, this.service));
    return itemsIn(answer?.getChild('items')).at(-1);
  }

  /** XEP-0060 §8.4. */
  async remove(node: string): Promise<void> {
    const request = xml('pubsub', { xmlns: NS_OWNER }, xml('delete', { node }));
    await this.answered(() => this.xmpp.iqCaller.set(request, this.service));
  }

  /** Names of the nodes that the service shows (XEP-0060 §5.2). */
  async nodes(): Promise<string[]> {
    const request = xml('query', { xmlns: NS_DISCO_ITEMS });
    const answer = await this.answered(() => this.xmpp.iqCaller.get(request, this.service));
    return (answer?.getChildren('item') ?? []).map((item) => item.attrs['node'] ?? '').filter((name) => name !== '');
  }

  /** Hears of every item published at subscribed nodes (XEP-0060 §7.1.2.1) and of nodes that are deleted (§8.4.2). */
  listen(onItem: (node: string, item: Item) => void, onDeleted?: (node: string) => void): void {
    this.xmpp.on('stanza', (stanza: XmlElement) => {
      if (stanza.name !== 'message' || stanza.attrs['from'] !== this.service) return;
      const event = stanza.getChild('event', NS_EVENT);
      const items = event?.getChild('items');
      for (const item of itemsIn(items)) onItem(items!.attrs['node'] ?? '', item);
      const deleted = event?.getChild('delete');
      if (deleted) onDeleted?.(deleted.attrs['node'] ?? '');
    });
  }

  private async set(...children: XmlElement[]): Promise<XmlElement | undefined> {
    return this.answered(() => this.xmpp.iqCaller.set(xml('pubsub', { xmlns: NS }, ...children), this.service));
  }

  /**
   * The library would wait half a minute for an answer that went down with its connection, or for one to a request that it
   * sent while it was still logging in again.
   */
  private async answered<T>(request: () => Promise<T>): Promise<T> {
    if (this.xmpp.status !== 'online') throw new Error('the connection was lost');
    let lose: (() => void) | undefined;
    const lost = new Promise<never>((_, reject) => {
      lose = () => reject(new Error('the connection was lost'));
      this.xmpp.once('disconnect', lose);
    });
    try {
      return await Promise.race([request(), lost]);
    } finally {
      this.xmpp.off('disconnect', lose!);
    }
  }
}

function itemsIn(items: XmlElement | undefined): Item[] {
  return (items?.getChildren('item') ?? []).map((item) => ({
    id: item.attrs['id'] ?? '',
    payload: item.getChildElements()[0],
  }));
}

/** A submitted node configuration (XEP-0060 §8.2.4). */
function form(config: Record<string, string>): XmlElement {
  const field = (name: string, value: string, type?: string) =>
    xml('field', { var: name, ...(type && { type }) }, xml('value', {}, value));
  return xml(
    'x',
    { xmlns: NS_DATA, type: 'submit' },
    field('FORM_TYPE', `${NS}#node_config`, 'hidden'),
    ...Object.entries(config).map(([name, value]) => field(`pubsub#${name}`, value)),
  );
}
