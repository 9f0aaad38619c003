import { counters } from '../metrics/counters.js';
import { EVENT } from '../xml/scanner.js';
import { E } from '../xml/envelope.js';
import type { Element } from '../xml/element.js';
import { domainpart } from '../jid/idna.js';
import { parseJid } from '../jid/jid.js';
import type { StreamFailure } from './errors.js';
import { NS_STREAM, USUAL_SCOPE, isSupported, likeHeader, readHeader } from './header.js';
import type { Bound, StreamHost } from './host.js';
import { Input } from './input.js';
import { Negotiation } from './negotiation.js';
import type { Outbox } from './outbox.js';
import { OwnStream } from './own-stream.js';
import type { Receiver, Transport } from './transport.js';
import { flusher } from './flusher.js';

const NS_SERVER = 'jabber:server';

export type Next = Promise<StreamFailure | undefined> | StreamFailure | undefined;

/** The way to the worker that has the session. */
interface Relay extends Receiver {
  readonly peer: number;
}

/**
 * One stream's life (RFC 6120 §4): from the first header through negotiation to the last close. Bytes come from a
 * transport and go through {@link Input}, the stanzas of a bound stream to its session. Knows no feature.
 */
export class Connection extends OwnStream implements Receiver {
  /** Coarse time of the last byte from the peer, in milliseconds. */
  lastHeard = Date.now();
  /** When the connection was made; negotiation has to end within the limit. */
  readonly since = Date.now();
  /** A sign of life was asked for and has not come. */
  probed = false;
  /** The language of the stream (RFC 6120 §4.7.4), empty when the peer named none. */
  lang = '';
  /** Inherited declarations for trees of this stream's stanzas, when they are not the usual two. */
  scope: Record<string, string> = USUAL_SCOPE;
  private readonly input: Input;
  private negotiation: Negotiation | undefined;
  /** Where bytes go instead, when another worker holds the session. */
  private relay: Relay | undefined;

  constructor(host: StreamHost, transport: Transport) {
    super(host, transport);
    this.input = new Input(this);
    this.negotiation = new Negotiation(this);
    host.connections.add(this);
    host.log.debug({ connection: this.id, address: transport.remoteAddress, via: transport.kind }, 'connected');
    // Not from in here: the transport would tell of its end somebody whom it does not know yet.
    if (this.stream === 0) {
      queueMicrotask(() => this.fail({ condition: 'resource-constraint', text: 'too many streams' }));
    }
  }

  /** Another worker has the session. */
  get relayed(): boolean {
    return this.relay !== undefined;
  }

  /** That worker. */
  get relayedTo(): number | undefined {
    return this.relay?.peer;
  }

  /** Scanner handle. */
  get stream(): number {
    return this.input.handle;
  }

  /** Nothing waits to be handled or written. */
  get idle(): boolean {
    return !this.input.busy && this.outbox.empty && this.transport.writable;
  }

  // --- input ---------------------------------------------------------------------------------------------------------

  receive(bytes: Uint8Array, last: boolean): void {
    if (this.over || this.ending) return;
    counters.bytesIn += bytes.length;
    flusher.receivedAt = performance.now();
    this.lastHeard = Date.now();
    this.probed = false;
    if (this.relay !== undefined) this.relay.receive(bytes, last);
    else this.input.receive(bytes, last);
  }

  /** What the scanner found: an event with its envelope. */
  handle(event: number): Next {
    if (event === EVENT.stanza) return this.bound !== undefined ? this.bound.handle() : this.negotiation?.element();
    if (event === EVENT.streamOpen) return this.header();
    if (event === EVENT.streamClose) {
      this.peerClosed();
      return undefined;
    }
    return this.host.scanner.error as StreamFailure;
  }

  /** After SASL or TLS a new stream begins on the same carrier (RFC 6120 §4.3.3). */
  restart(): void {
    this.headerSent = false;
    this.scope = USUAL_SCOPE;
    this.host.scanner.restart(this.stream);
  }

  // --- headers -------------------------------------------------------------------------------------------------------

  /** The peer's stream header (RFC 6120 §4.2, §4.7). */
  private header(): Next {
    const header = readHeader(this.host.scanner, this.stream);
    this.scope = header.scope;
    if (header.fault !== undefined) return header.fault;
    this.lang = header.lang;
    return this.opened(header.to, header.from, header.supported);
  }

  /** `<open/>` of a framed stream (RFC 7395 §3.4). */
  openFrame(element: Element): Next {
    this.lang = element.attr('xml:lang') ?? '';
    return this.opened(element.attr('to'), element.attr('from'), isSupported(element.attr('version')));
  }

  private opened(to: string | undefined, from: string | undefined, supported: boolean): Next {
    const { domain } = this.host.config;
    this.claimed = from === undefined ? undefined : parseJid(from);
    this.sendHeader();
    // No address is ours: there is but one host here (RFC 6120 §4.7.2).
    if (to !== undefined && to !== domain && domainpart(to) !== domain) {
      return { condition: 'host-unknown', text: `this server serves ${domain}` };
    }
    if (from !== undefined && this.claimed === undefined) return { condition: 'invalid-from' };
    if (!supported) {
      return { condition: 'unsupported-version', text: "version='1.0' is needed" };
    }
    if (this.host.draining) return { condition: 'system-shutdown' };
    return this.negotiation?.opened();
  }

  /** The element in the scanner's envelope as a tree. */
  tree(): Element {
    const { scanner, tree } = this.host;
    return tree.parse(scanner.bytes.subarray(scanner.env[E.start]!, scanner.env[E.end]!), this.scope);
  }

  /** An element that nothing here takes (RFC 6120 §4.9.3.24). */
  unsupported(element: Element): StreamFailure | undefined {
    if (element.ns === NS_STREAM && element.name === 'error') {
      // The peer has found a mistake of ours, and closes (RFC 6120 §4.9.1.1).
      this.peerClosed();
      return undefined;
    }
    if (element.ns === NS_SERVER) return { condition: 'invalid-namespace', text: 'this is a stream of a client' };
    return { condition: 'unsupported-stanza-type', text: `<${element.name}/> is not known here` };
  }

  // --- what the session does with the connection ---------------------------------------------------------------------

  /** Negotiation is over: stanzas go to the session from here on. */
  bind(bound: Bound): void {
    this.bound = bound;
    this.lent = true;
    this.negotiation = undefined;
  }

  /** The same for a session that was before, and has a queue; what this stream had to say is said ({@link sayAll}). */
  carry(bound: Bound, outbox: Outbox): void {
    this.outbox = outbox;
    this.bind(bound);
  }

  /** From here on bytes go, unread, to another worker. */
  relayTo(relay: Relay): void {
    this.relay = relay;
    this.negotiation = undefined;
    this.input.passTo(relay);
  }

  /** The other worker asks for more, or for less. */
  writable(): void {
    if (this.relay !== undefined) return this.relay.writable();
    this.outbox.flush();
    this.leave();
  }

  /** A connection that another worker has negotiated goes on here: the peer's header, with what it declared, is behind us. */
  adopted(lang: string, scope = USUAL_SCOPE): void {
    const { scanner, config } = this.host;
    this.lang = lang;
    this.scope = scope;
    this.headerSent = true;
    this.negotiation = undefined;
    if (this.stream === 0) return;
    scanner.limit(this.stream, config.limits.stanza_bytes);
    if (this.transport.framed) return;
    const header = Buffer.from(likeHeader(scope));
    scanner.input.set(header, 0);
    scanner.feed(this.stream, header.length);
    scanner.next(this.stream);
  }

  /** The worker with the socket is closing. */
  dismissed(): void {
    this.leaving = true;
    this.leave();
  }

  /** Tells the worker with the session that the socket has to go. */
  dismissRelay(): void {
    if (this.leaving) return;
    this.leaving = true;
    this.relay?.dismissed();
  }

  /** The carrier is gone, whoever closed it. */
  closed(): void {
    if (this.over) return;
    this.over = true;
    this.host.log.debug({ connection: this.id }, 'disconnected');
    this.letGo(false);
    this.relay?.closed();
    this.negotiation?.abort();
    this.negotiation = undefined;
    this.input.close();
    this.host.connections.delete(this);
    this.host.gate.leave(this.transport.remoteAddress);
  }
}
