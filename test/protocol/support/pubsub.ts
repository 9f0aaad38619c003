import { NS, type RawClient, type XmlElement } from '../../support/client.js';

export const SERVICE = 'pubsub.localhost';
const FORM_TYPE = 'http://jabber.org/protocol/pubsub#node_config';

/** Options of a node as a submitted form, by their names without `pubsub#`. */
export function form(options: Record<string, string>): string {
  const fields = Object.entries(options).map(
    ([name, value]) => `<field var='pubsub#${name}'><value>${value}</value></field>`,
  );
  return `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>${FORM_TYPE}</value></field>${fields.join('')}</x>`;
}

export function pubsub(content: string, ns: string = NS.pubsub): string {
  return `<pubsub xmlns='${ns}'>${content}</pubsub>`;
}

/** A publish of one small reading, as a stanza. */
export function publish(node: string, item: string, id = `p${item}`, payload = item): string {
  const content = `<publish node='${node}'><item id='${item}'><v xmlns='urn:x'>${payload}</v></item></publish>`;
  return `<iq type='set' id='${id}' to='${SERVICE}'>${pubsub(content)}</iq>`;
}

export async function create(owner: RawClient, node: string, options: Record<string, string> = {}): Promise<void> {
  await owner.request('set', pubsub(`<create node='${node}'/><configure>${form(options)}</configure>`), SERVICE);
}

export async function configure(owner: RawClient, node: string, options: Record<string, string>): Promise<void> {
  await owner.request('set', pubsub(`<configure node='${node}'>${form(options)}</configure>`, NS.pubsubOwner), SERVICE);
}

export async function remove(owner: RawClient, node: string): Promise<void> {
  await owner.request('set', pubsub(`<delete node='${node}'/>`, NS.pubsubOwner), SERVICE);
}

export async function subscribe(client: RawClient, node: string): Promise<void> {
  await client.request('set', pubsub(`<subscribe node='${node}' jid='${client.bareJid}'/>`), SERVICE);
}

export async function unsubscribe(client: RawClient, node: string): Promise<void> {
  await client.request('set', pubsub(`<unsubscribe node='${node}' jid='${client.bareJid}'/>`), SERVICE);
}

/** Ids of the items that a notification brings. */
export function itemIds(message: XmlElement): string[] {
  return message
    .get('event', 'items')
    .elements('item')
    .map((item) => item.attr('id')!);
}

/** Ids of all items that a node has, oldest first. */
export async function storedItems(client: RawClient, node: string): Promise<string[]> {
  const ids: string[] = [];
  for (;;) {
    const after = ids.length === 0 ? '' : `<after>${ids.at(-1)}</after>`;
    const set = `<set xmlns='http://jabber.org/protocol/rsm'><max>500</max>${after}</set>`;
    const result = await client.request('get', pubsub(`<items node='${node}'/>${set}`), SERVICE);
    const page = result.get('pubsub', 'items').elements('item');
    if (page.length === 0) return ids;
    ids.push(...page.map((item) => item.attr('id')!));
  }
}

/** Publishes one item after the other, some at a time, until it is told to stop or its connection ends. */
export class Sensor {
  /** Items whose publish was answered with a result, in that order. */
  readonly acknowledged: string[] = [];
  private next = 0;
  private stopped = false;
  private settle!: () => void;
  /** Resolves when all was answered after `stop`, or the connection has ended. */
  readonly done: Promise<void>;

  constructor(
    private readonly client: RawClient,
    private readonly node: string,
    window = 16,
  ) {
    this.done = new Promise((resolve) => (this.settle = resolve));
    client.watcher = (element) => {
      if (element.name === 'iq') this.answered(element);
    };
    void client.closed.then(() => this.settle());
    for (let i = 0; i < window; i++) this.publish();
  }

  /** Resolves when so many were acknowledged. */
  async reached(count: number): Promise<void> {
    while (this.acknowledged.length < count) await new Promise<void>((resolve) => (this.progress = resolve));
  }

  stop(): void {
    this.stopped = true;
  }

  private progress: () => void = () => undefined;

  private publish(): void {
    this.client.send(publish(this.node, String(this.next++)));
  }

  private answered(iq: XmlElement): void {
    if (iq.attr('type') !== 'result') throw new Error(`the publish failed: ${iq.toString()}`);
    this.acknowledged.push(iq.attr('id')!.slice(1));
    this.progress();
    if (!this.stopped) this.publish();
    else if (this.acknowledged.length === this.next) this.settle();
  }
}
