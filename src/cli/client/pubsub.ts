import { randomBytes } from 'node:crypto';
import { xml, type XmlElement, type XmppClient } from '@xmpp/client';

const NS = 'http://jabber.org/protocol/pubsub';
const NS_EVENT = `${NS}#event`;
const NS_OWNER = `${NS}#owner`;
const NS_STANZAS = 'urn:ietf:params:xml:ns:xmpp-stanzas';
const NS_DATA = 'jabber:x:data';
const NS_DISCO_ITEMS = 'http://jabber.org/protocol/disco#items';

export interface Item {
  id: string;
  payload: XmlElement | undefined;
}

/** The server's refusal of a request (RFC 6120 §8.3.3). */
export class Refusal extends Error {
  constructor(
    readonly condition: string,
    /** The same request may do later (RFC 6120 §8.3.2). */
    readonly wait: boolean,
  ) {
    super(`refused: ${condition}`);
  }
}

/** Condition of the stanza error that the server answered with. */
export function conditionOf(error: unknown): string | undefined {
  return error instanceof Refusal ? error.condition : undefined;
}

/** How long an answer may take. */
const ANSWER_TIMEOUT_MS = 15_000;

/** A client's view of one pub-sub service (XEP-0060). Requests reject with a {@link Refusal}, or when the connection is lost. */
export class PubSubClient {
  private readonly waiting = new Map<string, (answer: XmlElement | Error) => void>();
  private readonly prefix = randomBytes(6).toString('base64url');
  private requests = 0;

  constructor(
    readonly xmpp: XmppClient,
    readonly service: string,
  ) {
    // One for each sensor that shares the connection.
    xmpp.setMaxListeners(0);
    xmpp.on('stanza', (stanza: XmlElement) => {
      const { id = '', type = '', from } = stanza.attrs;
      if (stanza.name === 'iq' && /^(result|error)$/.test(type) && from === service) this.waiting.get(id)?.(stanza);
    });
    xmpp.on('disconnect', () => {
      for (const settle of this.waiting.values()) settle(new Error('the connection was lost'));
    });
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
    const answer = await this.request('get', request);
    return itemsIn(answer?.getChild('items')).at(-1);
  }

  /** XEP-0060 §8.4. */
  async remove(node: string): Promise<void> {
    await this.request('set', xml('pubsub', { xmlns: NS_OWNER }, xml('delete', { node })));
  }

  /** Names of the nodes that the service shows (XEP-0060 §5.2). */
  async nodes(): Promise<string[]> {
    const request = xml('query', { xmlns: NS_DISCO_ITEMS });
    const answer = await this.request('get', request);
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

  private set(...children: XmlElement[]): Promise<XmlElement | undefined> {
    return this.request('set', xml('pubsub', { xmlns: NS }, ...children));
  }

  /**
   * Resolves to the payload of the answer. The library's own iq caller is not used: it takes an error that arrives before its
   * write is confirmed for one that nobody handles, which ends the process, and it waits for answers that went down with
   * their connection.
   */
  private request(type: 'get' | 'set', payload: XmlElement): Promise<XmlElement | undefined> {
    // While it logs in again nothing but the login may be sent.
    if (this.xmpp.status !== 'online') return Promise.reject(new Error('the connection was lost'));
    const id = `${this.prefix}-${++this.requests}`;
    return new Promise((resolve, reject) => {
      const settle = (answer: XmlElement | Error) => {
        clearTimeout(timer);
        this.waiting.delete(id);
        if (answer instanceof Error) reject(answer);
        else if (answer.attrs['type'] === 'error')
          reject(new Refusal(conditionIn(answer), answer.getChild('error')?.attrs['type'] === 'wait'));
        else resolve(answer.getChildElements()[0]);
      };
      const timer = setTimeout(() => settle(new Error('no answer')), ANSWER_TIMEOUT_MS);
      this.waiting.set(id, settle);
      this.xmpp.send(xml('iq', { type, to: this.service, id }, payload)).catch(settle);
    });
  }
}

/** The defined condition is the first child in its namespace that is not the text. */
function conditionIn(answer: XmlElement): string {
  const children = answer.getChild('error')?.getChildElements() ?? [];
  return (
    children.find((child) => child.attrs['xmlns'] === NS_STANZAS && child.name !== 'text')?.name ??
    'undefined-condition'
  );
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
