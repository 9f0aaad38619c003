import { pino } from 'pino';
import { type Config, defaults } from '../../../src/config/config.js';
import { type Jid, parseJid } from '../../../src/jid/jid.js';
import { PubSub } from '../../../src/pubsub/pubsub.js';
import type { HotPublish } from '../../../src/pubsub/submitting.js';
import { StanzaError } from '../../../src/stream/stanza-error.js';
import type { Session } from '../../../src/session/session.js';
import type { Store } from '../../../src/store/store.js';
import type { Shared } from '../../../src/stream/outbox.js';
import type { Element } from '../../../src/xml/element.js';
import { TreeBuilder } from '../../../src/xml/tree.js';
import { Hub, type TestBus } from './bus.js';
import { memoryStore } from './store.js';

export const HOST = 'pubsub.localhost';
export const NS = 'http://jabber.org/protocol/pubsub';

const tree = await TreeBuilder.create();
export const parseXml = (xml: string): Element => tree.parse(Buffer.from(xml), { '': 'jabber:client' });

/** A session as the engine sees it; what it gets is kept, parsed. */
export class Client {
  readonly raw: string[] = [];
  available = false;
  priority = 0;
  ended = false;
  pubsub: unknown = undefined;
  private arrived: (() => void)[] = [];

  constructor(
    readonly world: World,
    readonly worker: Worker,
    readonly jid: Jid,
  ) {}

  deliver(head: Buffer | undefined, shared: Shared): boolean {
    this.sendBytes(head === undefined ? shared.bytes : Buffer.concat([head, shared.bytes]));
    return true;
  }

  sendBytes(xml: Buffer | string): void {
    if (this.ended) throw new Error(`${this.jid.full} has ended`);
    this.raw.push(xml.toString());
    for (const wake of this.arrived.splice(0)) wake();
  }

  send(stanza: Element): void {
    this.sendBytes(stanza.serialize('jabber:client'));
  }

  /** All that came and was not taken yet. */
  take(): Element[] {
    return this.raw.splice(0).map(parseXml);
  }

  /** The next stanza. */
  async next(): Promise<Element> {
    while (this.raw.length === 0) await new Promise<void>((resolve) => this.arrived.push(resolve));
    return parseXml(this.raw.shift()!);
  }

  get session(): Session {
    return this as unknown as Session;
  }

  /** Sends an iq to the service; the answer's payload, or the error. */
  async iq(type: 'get' | 'set', payload: string): Promise<Element | StanzaError | undefined> {
    return this.worker.pubsub.handleIq({
      type,
      id: 'iq',
      from: this.jid,
      to: parseJid(HOST),
      payload: parseXml(payload),
      lang: undefined,
      session: this.session,
    });
  }

  /** The same, to succeed. */
  async ok(type: 'get' | 'set', payload: string): Promise<Element | undefined> {
    const answer = await this.iq(type, payload);
    if (answer instanceof StanzaError) throw new Error(`${payload}: ${answer.toElement().toString()}`);
    // As it goes over the wire.
    return answer && parseXml(answer.serialize('jabber:client'));
  }

  set(content: string): Promise<Element | undefined> {
    return this.ok('set', `<pubsub xmlns='${NS}'>${content}</pubsub>`);
  }

  get(content: string): Promise<Element | undefined> {
    return this.ok('get', `<pubsub xmlns='${NS}'>${content}</pubsub>`);
  }

  own(type: 'get' | 'set', content: string): Promise<Element | undefined> {
    return this.ok(type, `<pubsub xmlns='${NS}#owner'>${content}</pubsub>`);
  }

  create(node: string, config: Record<string, string | string[]> = {}): Promise<Element | undefined> {
    return this.set(`<create node='${node}'/><configure>${form('node_config', config)}</configure>`);
  }

  subscribe(node: string, jid = this.jid.bare): Promise<Element | undefined> {
    return this.set(`<subscribe node='${node}' jid='${jid}'/>`);
  }

  publish(node: string, id: string, payload = `<v xmlns='urn:x'>${id}</v>`): Promise<Element | undefined> {
    return this.set(`<publish node='${node}'><item id='${id}'>${payload}</item></publish>`);
  }

  /** The condition with which a publish is refused; undefined when it is not. */
  async refused(node: string): Promise<string | undefined> {
    const publish = `<publish node='${node}'><item><v xmlns='urn:x'/></item></publish>`;
    const answer = await this.iq('set', `<pubsub xmlns='${NS}'>${publish}</pubsub>`);
    return answer instanceof StanzaError ? answer.condition : undefined;
  }

  /** On the hot path; false when it has to be sent in the usual way. */
  hot(node: string, itemId: string | undefined, payload = `<v xmlns='urn:x'>${itemId}</v>`, id = 'hot'): boolean {
    const view = Buffer.from(payload);
    const hot: HotPublish = { id, node, itemId, payload: view };
    const taken = this.worker.pubsub.publish(this.session, hot);
    // The view is valid only during the call.
    view.fill(0x21);
    return taken;
  }

  message(content: string, attrs = ''): Promise<void> {
    const xml = `<message from='${this.jid.full}' to='${HOST}' ${attrs}>${content}</message>`;
    return this.worker.pubsub.handleMessage(this.jid, parseXml(xml));
  }

  async come(priority = 0): Promise<void> {
    this.available = true;
    this.priority = priority;
    await this.worker.pubsub.sessionAvailable(this.session);
  }

  leave(): void {
    this.available = false;
    this.worker.pubsub.sessionUnavailable(this.session);
  }

  close(): void {
    this.ended = true;
    this.worker.pubsub.sessionClosed(this.session);
    this.worker.clients.splice(this.worker.clients.indexOf(this), 1);
  }
}

export interface Worker {
  pubsub: PubSub;
  bus: TestBus;
  clients: Client[];
  /** What it logged that somebody should look at. */
  lines: Record<string, unknown>[];
}

export interface WorldOptions {
  workers?: number;
  change?: (config: Config) => void;
  pick?: (choices: number) => number;
  store?: Store;
}

/** One pool of workers over one store. */
export class World {
  readonly workers: Worker[] = [];
  readonly hub: Hub;
  readonly store: Store;
  private readonly config = defaults();

  constructor({ workers = 1, change, pick, store }: WorldOptions = {}) {
    this.store = store ?? memoryStore();
    change?.(this.config);
    this.hub = new Hub(pick);
    for (let i = 0; i < workers; i++) this.start();
  }

  /** One more worker. */
  start(): Worker {
    const worker: Worker = { bus: this.hub.join(), clients: [], lines: [], pubsub: undefined as never };
    const router = {
      deliver: (to: Jid, stanza: Element) => this.route(to, stanza),
      sessionsOf: (bare: string) =>
        worker.clients.filter((client) => client.jid.bare === bare).map((client) => client.session),
      sessions: () => worker.clients.map((client) => client.session),
    };
    const { config, store } = this;
    const write = (line: string): void => void worker.lines.push(JSON.parse(line) as Record<string, unknown>);
    const log = pino({ level: 'warn' }, { write });
    worker.pubsub = new PubSub({ host: HOST, config, store, bus: worker.bus, router, log });
    this.workers.push(worker);
    return worker;
  }

  private route(to: Jid, stanza: Element): void {
    for (const { clients } of this.workers) {
      for (const client of clients) {
        const meant =
          to.resource === '' ? client.jid.bare === to.bare && client.available : client.jid.full === to.full;
        if (meant) client.send(stanza);
      }
    }
  }

  /** A session that is bound; `come()` makes it available. */
  bind(full: string, worker = 0): Client {
    const at = this.workers[worker]!;
    const client = new Client(this, at, parseJid(full)!);
    at.clients.push(client);
    return client;
  }

  async login(full: string, worker = 0): Promise<Client> {
    const client = this.bind(full, worker);
    await client.come();
    return client;
  }

  /** Resolves when nothing is under way between and inside the workers. */
  async quiet(): Promise<void> {
    for (let i = 0; i < 3; i++) {
      for (const { pubsub, bus } of this.workers) {
        await new Promise<void>((resolve) => setImmediate(resolve));
        await pubsub.settled();
        await bus.barrier();
      }
    }
  }
}

/** A submitted form of the pubsub kind. */
export function form(type: string, values: Record<string, string | string[]>): string {
  const fields = Object.entries(values).map(([name, value]) => {
    const list = typeof value === 'string' ? [value] : value;
    return `<field var='pubsub#${name}'>${list.map((one) => `<value>${one}</value>`).join('')}</field>`;
  });
  return (
    `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>` +
    `<value>${NS}#${type}</value></field>${fields.join('')}</x>`
  );
}

/** Item ids in an event message. */
export function itemIds(message: Element): string[] {
  const items = message.child('event', `${NS}#event`)?.child('items');
  return items === undefined ? [] : items.elements('item').map((item) => item.attr('id') ?? '');
}
