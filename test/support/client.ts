import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { openCarrier, secured, streamCarrier, type Carrier, type CarrierEvents, type Via } from './carrier.js';
import { describe, matches, type Matcher } from './match.js';
import { external, plain, Scram, type ChannelBinding, type ClientExchange } from './sasl.js';
import { encodeFrame, OPCODE } from './websocket.js';
import { escape, parseXml, StreamReader, XmlElement } from './xml.js';

export { escape, parseXml, XmlElement } from './xml.js';
export type { Via } from './carrier.js';
export type { Matcher } from './match.js';

export const NS = {
  client: 'jabber:client',
  streams: 'http://etherx.jabber.org/streams',
  streamErrors: 'urn:ietf:params:xml:ns:xmpp-streams',
  stanzaErrors: 'urn:ietf:params:xml:ns:xmpp-stanzas',
  tls: 'urn:ietf:params:xml:ns:xmpp-tls',
  sasl: 'urn:ietf:params:xml:ns:xmpp-sasl',
  bind: 'urn:ietf:params:xml:ns:xmpp-bind',
  framing: 'urn:ietf:params:xml:ns:xmpp-framing',
  sm: 'urn:xmpp:sm:3',
  pubsub: 'http://jabber.org/protocol/pubsub',
  pubsubOwner: 'http://jabber.org/protocol/pubsub#owner',
  pubsubEvent: 'http://jabber.org/protocol/pubsub#event',
  pubsubErrors: 'http://jabber.org/protocol/pubsub#errors',
} as const;

/** Where a server listens; `TestServer` is one. */
export interface Address {
  host: string;
  domain: string;
  c2s: number;
  c2s_tls: number;
  http: number;
  https?: number | undefined;
}

export interface ConnectOptions {
  via?: Via;
  /** Options for `tls.connect`, e.g. a client certificate. */
  tls?: object;
  /** HTTP headers of the WebSocket upgrade. */
  headers?: Record<string, string>;
  /** Where to come from, e.g. 127.0.0.2 to be somebody else on Linux. */
  localAddress?: string;
  /** Sent before anything else, as a load balancer would. */
  preamble?: Buffer;
}

export type Mechanism =
  'PLAIN' | 'EXTERNAL' | 'SCRAM-SHA-1' | 'SCRAM-SHA-256' | 'SCRAM-SHA-1-PLUS' | 'SCRAM-SHA-256-PLUS';

export interface LoginOptions extends ConnectOptions {
  user: string;
  password?: string;
  resource?: string;
  /** The default takes PLAIN where it is offered: it costs least. */
  mechanism?: Mechanism;
  /** Sends initial presence, and waits for its echo. */
  available?: boolean;
}

/** Long enough for a busy machine; only a failing test ever waits so long. */
const PATIENCE_MS = 20_000;
/** Every account of a test has this password unless it says otherwise. */
export const PASSWORD = 'secret';

/**
 * A client that does what the test's lines say, and shows what the server sends as trees. It has no opinion of what is right:
 * what arrives waits, in order, until the test takes it with `expect` or `next`.
 */
export class RawClient {
  /** Arrived and not yet taken, in order. */
  readonly unread: XmlElement[] = [];
  /** The server's last stream header, or `<open/>`. */
  header: XmlElement | undefined;
  /** Sees every element as it arrives, before anybody takes it. */
  watcher: ((element: XmlElement) => void) | undefined;
  /** Set by `bind`: the full JID. */
  jid = '';
  /** The server ended the stream (`</stream:stream>` or `<close/>`). */
  ended = false;
  /** The socket is closed. */
  readonly closed: Promise<void>;
  private isClosed = false;
  private carrier!: Carrier;
  private reader: StreamReader | undefined;
  private readonly waiting: { matcher: Matcher; give(element: XmlElement): void; fail(error: Error): void }[] = [];
  private ids = 0;
  private resolveClosed!: () => void;
  private broken: Error | undefined;

  private constructor(
    readonly address: Address,
    readonly via: Via,
  ) {
    this.closed = new Promise((resolve) => (this.resolveClosed = resolve));
  }

  /** Connects, and no more. */
  static async connect(address: Address, options: ConnectOptions = {}): Promise<RawClient> {
    const via = options.via ?? 'tcp';
    const client = new RawClient(address, via);
    const { host, domain } = address;
    const { tls, headers, localAddress, preamble } = options;
    const target = { host, port: portOf(address, via), domain, tls, headers, localAddress, preamble };
    client.carrier = await openCarrier(via, target, client.events);
    return client;
  }

  /** Connects and goes as far as a bound session. The account must exist. */
  static async login(address: Address, options: LoginOptions): Promise<RawClient> {
    const client = await RawClient.connect(address, options);
    let features = await client.open();
    if (options.via === 'starttls') features = await client.starttls(options.tls);
    const offered =
      features
        .child('mechanisms')
        ?.elements()
        .map((mechanism) => mechanism.text()) ?? [];
    const mechanism = options.mechanism ?? (offered.includes('PLAIN') ? 'PLAIN' : 'SCRAM-SHA-256');
    await client.authenticate(mechanism, options.user, options.password ?? PASSWORD);
    await client.bind(options.resource);
    if (options.available) await client.sendPresence();
    return client;
  }

  get socket(): Socket {
    return this.carrier.socket;
  }

  get tls(): TLSSocket | undefined {
    return this.socket instanceof TLSSocket ? this.socket : undefined;
  }

  get framed(): boolean {
    return this.via === 'websocket' || this.via === 'wss';
  }

  get bareJid(): string {
    return this.jid.split('/')[0]!;
  }

  // --- negotiation ---------------------------------------------------------------------------------------------------

  /** Sends a stream header and resolves to the server's `<stream:features/>`. */
  async open(attributes = `to='${this.address.domain}' version='1.0'`): Promise<XmlElement> {
    this.sendHeader(attributes);
    return this.expect({ name: 'features', ns: NS.streams });
  }

  sendHeader(attributes = `to='${this.address.domain}' version='1.0'`): void {
    if (this.framed) return this.write(`<open xmlns='${NS.framing}' ${attributes}/>`);
    this.begin(`<?xml version='1.0'?><stream:stream xmlns='${NS.client}' xmlns:stream='${NS.streams}' ${attributes}>`);
  }

  /** Sends exactly that where a stream begins: what comes back is read as a new stream. */
  begin(text: string | Buffer): void {
    if (!this.framed) this.restartReader();
    this.write(text);
  }

  /** STARTTLS (RFC 6120 §5) and a new stream; resolves to its features. */
  async starttls(options: object = {}): Promise<XmlElement> {
    this.write(`<starttls xmlns='${NS.tls}'/>`);
    await this.expect({ name: 'proceed', ns: NS.tls });
    const plain = this.socket;
    plain.removeAllListeners('data');
    plain.removeAllListeners('close');
    this.carrier = streamCarrier(await secured(plain, this.address.domain, options), this.events);
    return this.open();
  }

  /** SASL; on success a new stream is opened, whose features it resolves to. Rejects with the failure's condition. */
  async authenticate(
    mechanism: Mechanism,
    user: string,
    password = PASSWORD,
    binding: ChannelBinding['name'] = 'tls-exporter',
  ): Promise<XmlElement> {
    const answer = await this.tryAuthenticate(mechanism, user, password, binding);
    if (answer.name !== 'success') throw new Error(`login failed: ${answer.toString()}`);
    return this.open();
  }

  /** SASL; resolves to `<success/>` or `<failure/>`. */
  async tryAuthenticate(
    mechanism: Mechanism,
    user: string,
    password = PASSWORD,
    binding: ChannelBinding['name'] = 'tls-exporter',
  ): Promise<XmlElement> {
    const exchange = this.exchange(mechanism, user, password, binding);
    const initial = exchange.initial().toString('base64');
    this.write(`<auth xmlns='${NS.sasl}' mechanism='${mechanism}'>${initial === '' ? '=' : initial}</auth>`);
    for (;;) {
      const answer = await this.expect((element) => element.ns === NS.sasl);
      const data = answer.text() === '' ? undefined : Buffer.from(answer.text(), 'base64');
      if (answer.name === 'success') exchange.success(data);
      if (answer.name !== 'challenge') return answer;
      const response = exchange.challenge(data ?? Buffer.alloc(0));
      this.write(`<response xmlns='${NS.sasl}'>${response.toString('base64')}</response>`);
    }
  }

  private exchange(mechanism: Mechanism, user: string, password: string, name: ChannelBinding['name']): ClientExchange {
    if (mechanism === 'PLAIN') return plain({ user, password });
    if (mechanism === 'EXTERNAL') return external(user);
    const binding = mechanism.endsWith('-PLUS') ? { name, data: this.channelBinding(name) } : undefined;
    return new Scram(mechanism.startsWith('SCRAM-SHA-256') ? 'sha256' : 'sha1', { user, password }, binding);
  }

  /** RFC 9266 and RFC 5929 §4 (for certificates that are signed with SHA-256). */
  channelBinding(name: ChannelBinding['name']): Buffer {
    if (this.tls === undefined) throw new Error('channel binding needs TLS');
    if (name === 'tls-exporter') return this.tls.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0));
    return createHash('sha256').update(this.tls.getPeerCertificate(true).raw).digest();
  }

  /** Binds a resource (RFC 6120 §7) and resolves to the full JID. */
  async bind(resource?: string): Promise<string> {
    const wanted = resource === undefined ? '' : `<resource>${escape(resource)}</resource>`;
    const result = await this.request('set', `<bind xmlns='${NS.bind}'>${wanted}</bind>`);
    return (this.jid = result.get('bind', 'jid').text());
  }

  // --- sending -------------------------------------------------------------------------------------------------------

  /** Sends XML. Over WebSocket each call is one message, and a stanza without a namespace gets the one it needs there. */
  send(xml: string): void {
    if (!this.framed) return this.write(xml);
    this.write(xml.replace(/^\s*<(iq|message|presence)\b(?![^>]*\sxmlns=)/, `<$1 xmlns='${NS.client}'`));
  }

  /** Sends exactly that. */
  write(text: string | Buffer): void {
    this.carrier.write(text);
  }

  /** Sends in pieces of `size` bytes, each its own write and, as far as the kernel goes along, its own segment. */
  async writeSlowly(text: string, size = 1): Promise<void> {
    const bytes = this.framed ? encodeFrame(OPCODE.text, Buffer.from(text)) : Buffer.from(text);
    for (let at = 0; at < bytes.length && !this.isClosed; at += size) {
      this.socket.write(bytes.subarray(at, at + size));
      await turn();
    }
  }

  /** Initial presence; resolves when the server has taken it. */
  async sendPresence(children = ''): Promise<void> {
    this.send(`<presence>${children}</presence>`);
    await this.ping();
  }

  /** Sends a request and resolves to its result or error, whichever comes. `to` undefined asks one's own account. */
  async iq(type: 'get' | 'set', payload: string, to?: string): Promise<XmlElement> {
    const id = `t${++this.ids}`;
    this.send(`<iq type='${type}' id='${id}'${to === undefined ? '' : ` to='${escape(to)}'`}>${payload}</iq>`);
    return this.expect((element) => element.name === 'iq' && element.attr('id') === id);
  }

  /** As {@link iq}, and fails the test unless the answer is a result. */
  async request(type: 'get' | 'set', payload: string, to?: string): Promise<XmlElement> {
    const answer = await this.iq(type, payload, to);
    if (answer.attr('type') !== 'result') throw new Error(`expected a result, got ${answer.toString()}`);
    return answer;
  }

  /** As {@link iq}, and fails the test unless the answer is an error; resolves to its facts. */
  async refused(type: 'get' | 'set', payload: string, to?: string): Promise<ErrorFacts> {
    const answer = await this.iq(type, payload, to);
    if (answer.attr('type') !== 'error') throw new Error(`expected an error, got ${answer.toString()}`);
    return errorOf(answer);
  }

  /** A round trip to the server: all that it handled before is here when it resolves. */
  async ping(to = this.address.domain): Promise<void> {
    await this.iq('get', "<ping xmlns='urn:xmpp:ping'/>", to);
  }

  // --- receiving -----------------------------------------------------------------------------------------------------

  /** The first element, arrived or to come, that fits; others stay for later. */
  expect(matcher: Matcher, timeoutMs = PATIENCE_MS): Promise<XmlElement> {
    const at = this.unread.findIndex((element) => matches(element, matcher));
    if (at >= 0) return Promise.resolve(this.unread.splice(at, 1)[0]!);
    const what = describe(matcher);
    const seen = () => (this.unread.length === 0 ? 'nothing' : this.unread.map(String).join('\n  '));
    if (this.isClosed) return Promise.reject(this.broken ?? new Error(`closed before ${what} came; unread: ${seen()}`));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.splice(this.waiting.indexOf(entry), 1);
        reject(new Error(`${what} did not come; unread: ${seen()}`));
      }, timeoutMs);
      const entry = {
        matcher,
        give: (element: XmlElement) => {
          clearTimeout(timer);
          resolve(element);
        },
        fail: (error: Error) => {
          clearTimeout(timer);
          reject(new Error(`${error.message} while waiting for ${what}; unread: ${seen()}`));
        },
      };
      this.waiting.push(entry);
    });
  }

  /** The very next element. */
  next(timeoutMs = PATIENCE_MS): Promise<XmlElement> {
    return this.expect(() => true, timeoutMs);
  }

  message(facts: object = {}): Promise<XmlElement> {
    return this.expect({ name: 'message', ...facts });
  }

  /** A pub-sub notification of that node; resolves to the `<message/>`. */
  event(node?: string): Promise<XmlElement> {
    return this.expect((element) => {
      const event = element.name === 'message' ? element.child('event', NS.pubsubEvent) : undefined;
      return event !== undefined && (node === undefined || event.elements()[0]?.attr('node') === node);
    });
  }

  /**
   * Nothing (that fits) has come and not been taken. There is no waiting: a ping goes round first, and the server keeps order. `via`
   * is whose round trip it is, where another entity than the server would have sent it.
   */
  async expectNothing(matcher: Matcher = () => true, via = this.address.domain): Promise<void> {
    await this.ping(via);
    const found = this.unread.filter((element) => matches(element, matcher));
    if (found.length > 0) throw new Error(`expected nothing, got ${found.map(String).join('\n  ')}`);
  }

  /** A stream error of that condition, after which the server closes (RFC 6120 §4.9.1.1). Resolves to `<stream:error/>`. */
  async expectStreamError(condition: string): Promise<XmlElement> {
    const error = await this.expect({ name: 'error', ns: NS.streams });
    const found = error.elements(undefined, NS.streamErrors).map((child) => child.name);
    if (!found.includes(condition)) throw new Error(`expected ${condition}, got ${error.toString()}`);
    await this.closed;
    return error;
  }

  /** A slow reader: what the server sends stays in the kernel's buffers, then in the server. */
  pauseReading(): void {
    this.socket.pause();
  }

  resumeReading(): void {
    this.socket.resume();
  }

  // --- leaving -------------------------------------------------------------------------------------------------------

  /** Closes the stream in order (RFC 6120 §4.4) and waits for the server to do so too. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.write(this.framed ? `<close xmlns='${NS.framing}'/>` : '</stream:stream>');
    await this.closed;
  }

  /** The cable is pulled: no more is sent, not even an end. */
  cut(): void {
    // Node cannot reset below TLS.
    if (this.tls === undefined) this.socket.resetAndDestroy();
    this.socket.destroy();
  }

  // --- inside --------------------------------------------------------------------------------------------------------

  private readonly events: CarrierEvents = {
    text: (text) => (this.framed ? this.frame(text) : this.reader?.write(text)),
    closed: () => this.lost(new Error('the connection was closed')),
  };

  private restartReader(): void {
    this.reader?.stop();
    this.reader = new StreamReader({
      header: (element) => (this.header = element),
      element: (element) => this.arrived(element),
      footer: () => this.streamEnded(),
      malformed: (error) => this.lost(new Error(`the server sent malformed XML: ${error.message}`)),
    });
  }

  private frame(text: string): void {
    let element: XmlElement;
    try {
      element = parseXml(text);
    } catch (error) {
      return this.lost(new Error(`the server sent malformed XML: ${(error as Error).message} in ${text}`));
    }
    if (element.ns === NS.framing && element.name === 'open') this.header = element;
    else if (element.ns === NS.framing && element.name === 'close') this.streamEnded();
    else this.arrived(element);
  }

  private arrived(element: XmlElement): void {
    this.watcher?.(element);
    const at = this.waiting.findIndex(({ matcher }) => matches(element, matcher));
    if (at >= 0) this.waiting.splice(at, 1)[0]!.give(element);
    else this.unread.push(element);
  }

  private streamEnded(): void {
    this.ended = true;
    this.carrier.end();
  }

  private lost(error: Error): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.broken = error;
    this.carrier?.socket.destroy();
    for (const { fail } of this.waiting.splice(0)) fail(error);
    this.resolveClosed();
  }
}

export interface ErrorFacts {
  /** cancel, modify, auth, wait or continue. */
  type: string | undefined;
  /** RFC 6120 §8.3.3. */
  condition: string | undefined;
  /** The application's own condition, as its name. */
  application: string | undefined;
  element: XmlElement;
}

/** What the `<error/>` in a stanza says. */
export function errorOf(stanza: XmlElement): ErrorFacts {
  const error = stanza.get('error');
  return {
    type: error.attr('type'),
    condition: error.elements(undefined, NS.stanzaErrors).find((child) => child.name !== 'text')?.name,
    application: error.elements().find((child) => child.ns !== NS.stanzaErrors)?.name,
    element: error,
  };
}

function portOf(address: Address, via: Via): number {
  switch (via) {
    case 'tls':
      return address.c2s_tls;
    case 'websocket':
      return address.http;
    case 'wss':
      if (address.https === undefined) throw new Error('the server has no https listener');
      return address.https;
    default:
      return address.c2s;
  }
}
