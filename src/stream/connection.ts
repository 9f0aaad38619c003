import { counters, count } from '../metrics/counters.js';
import { EVENT } from '../xml/scanner.js';
import { E } from '../xml/envelope.js';
import { escapeAttr, escapeText } from '../xml/escape.js';
import type { Element } from '../xml/element.js';
import { domainpart } from '../jid/idna.js';
import { parseJid, type Jid } from '../jid/jid.js';
import type { StreamCondition, StreamFailure } from './errors.js';
import { NS_STREAM, USUAL_SCOPE, isSupported, readHeader } from './header.js';
import type { Bound, StreamHost } from './host.js';
import { randomId } from './ids.js';
import { Negotiation } from './negotiation.js';
import { Outbox, Shared } from './outbox.js';
import type { Receiver, Transport } from './transport.js';
import { TokenBucket } from './token-bucket.js';
import { flusher } from './flusher.js';

const NS_FRAMING = 'urn:ietf:params:xml:ns:xmpp-framing';
const NS_SERVER = 'jabber:server';
const STREAM_END = Buffer.from('</stream:stream>');
const FRAME_END = Buffer.from(`<close xmlns='${NS_FRAMING}'/>`);
/** Bytes that may wait while one stanza is being handled, before reading stops. */
const HELD_BYTES = 64 * 1024;

/** Connections made so far. */
let made = 0;

export type Next = Promise<StreamFailure | undefined> | StreamFailure | undefined;

/**
 * One stream's life (RFC 6120 §4): from the first header through negotiation to the last close. Bytes come from a
 * transport, go through the scanner, and the stanzas of a bound stream to its session. Knows no feature.
 */
export class Connection implements Receiver {
  outbox: Outbox;
  /** The bound session, once there is one. */
  bound: Bound | undefined;
  /** Scanner handle. */
  readonly handle: number;
  /** Its number in the log of this worker. */
  readonly id = ++made;
  /** Coarse time of the last byte from the peer, in milliseconds. */
  lastHeard = Date.now();
  /** When the connection was made; negotiation has to end within the limit. */
  readonly since = Date.now();
  /** A sign of life was asked for and has not come. */
  probed = false;
  /** The language of the stream (RFC 6120 §4.7.4), empty when the peer named none. */
  lang = '';
  /** Who the peer's header says that it is, to be held against what it authenticates as (RFC 6120 §4.7.1, §6.4.6). */
  claimed: Jid | undefined;
  /** Inherited declarations for trees of this stream's stanzas, when they are not the usual two. */
  scope: Record<string, string> = USUAL_SCOPE;
  /** The outbox belongs to a session, which outlives this connection. */
  private lent = false;
  private headerSent = false;
  private ending = false;
  private over = false;
  private held = false;
  private paused = false;
  private waiting: Uint8Array[] = [];
  private readonly bucket: TokenBucket | undefined;
  private negotiation: Negotiation | undefined;
  /** Where bytes go instead, when another worker holds the session. */
  private relay: Receiver | undefined;

  constructor(
    readonly host: StreamHost,
    public transport: Transport,
  ) {
    const { limits, slow_reader } = host.config;
    this.outbox = new Outbox(limits.outbox_bytes, slow_reader, () => this.overflow());
    this.outbox.sink = transport;
    this.handle = host.scanner.open(transport.framed ? 'framed' : 'stream', {
      stanzaBytes: limits.stanza_bytes_unauthenticated,
      depth: limits.depth,
      attributes: limits.attributes,
    });
    if (limits.enabled) this.bucket = new TokenBucket(limits.bytes_per_second, limits.burst_bytes);
    this.negotiation = new Negotiation(this);
    host.connections.add(this);
    host.log.debug({ connection: this.id, address: transport.remoteAddress, via: transport.kind }, 'connected');
    if (this.handle === 0) this.fail({ condition: 'resource-constraint', text: 'too many streams' });
  }

  /** The carrier is gone. */
  get isOver(): boolean {
    return this.over;
  }

  /** Another worker has the session. */
  get relayed(): boolean {
    return this.relay !== undefined;
  }

  /** Nothing waits to be handled or written. */
  get idle(): boolean {
    return !this.held && this.outbox.empty && this.transport.writable;
  }

  // --- input ---------------------------------------------------------------------------------------------------------

  receive(bytes: Uint8Array, last: boolean): void {
    if (this.over || this.ending) return;
    counters.bytesIn += bytes.length;
    flusher.receivedAt = performance.now();
    this.lastHeard = Date.now();
    this.probed = false;
    if (this.relay !== undefined) return this.relay.receive(bytes, last);
    if (this.bucket !== undefined && !this.bucket.take(bytes.length)) this.slowDown(this.bucket.wait());
    if (this.held && this.transport.framed) return this.keep(bytes);
    this.scan(bytes, last);
  }

  private scan(bytes: Uint8Array, last: boolean): void {
    const { scanner } = this.host;
    const window = scanner.input.length;
    for (let at = 0; at < bytes.length && !this.over; at += window) {
      const part = bytes.length <= window ? bytes : bytes.subarray(at, at + window);
      scanner.input.set(part, 0);
      this.drive(scanner.feed(this.handle, part.length));
    }
    if (last && !this.over && !this.ending && !this.held) this.drive(scanner.endFrame(this.handle));
    if (this.held && !this.paused && scanner.pending(this.handle) > HELD_BYTES) {
      this.paused = true;
      this.transport.pause();
    }
  }

  /** After SASL or TLS a new stream begins on the same carrier (RFC 6120 §4.3.3). */
  restart(): void {
    this.headerSent = false;
    this.scope = USUAL_SCOPE;
    this.host.scanner.restart(this.handle);
  }

  /** Handles what the scanner found, one event after the other, until input runs out or a stanza has to be waited for. */
  private drive(event: number): void {
    const { scanner } = this.host;
    while (event !== EVENT.needMore) {
      const rest = scanner.env[E.rest];
      let next: Next;
      if (event === EVENT.stanza) next = this.bound !== undefined ? this.bound.handle() : this.negotiation?.element();
      else if (event === EVENT.streamOpen) next = this.header();
      else if (event === EVENT.streamClose) return this.peerClosed();
      else return this.fail(scanner.error as StreamFailure);
      if (next !== undefined) {
        if (!(next instanceof Promise)) return this.fail(next);
        this.hold(next);
        if (scanner.hold(this.handle) === EVENT.error) this.fail(scanner.error as StreamFailure);
        return;
      }
      if (this.over || this.ending || this.relay !== undefined) return;
      if (event === EVENT.stanza && rest === 0) return;
      event = scanner.next(this.handle);
    }
  }

  /** The rest of the input waits until `next` is settled: stanzas of one sender are handled in order (RFC 6120 §10.1). */
  private hold(next: Promise<StreamFailure | undefined>): void {
    this.held = true;
    next.then(
      (failure) => this.release(failure),
      (error: unknown) => {
        this.host.log.error({ err: error, connection: this.id }, 'a stanza could not be handled');
        this.release({ condition: 'internal-server-error' });
      },
    );
  }

  private release(failure: StreamFailure | undefined): void {
    this.held = false;
    if (this.over || this.ending) return;
    if (failure !== undefined) return this.fail(failure);
    if (this.relay !== undefined) return;
    this.drive(this.host.scanner.next(this.handle));
    if (this.transport.framed && !this.held && !this.over) this.drive(this.host.scanner.endFrame(this.handle));
    while (this.waiting.length > 0 && !this.held && !this.over) this.scan(this.waiting.shift()!, true);
    if (this.paused && !this.held && !this.over) {
      this.paused = false;
      this.transport.resume();
    }
  }

  /** A WebSocket cannot be paused: what comes while a stanza is handled is copied, up to the stanza limit. */
  private keep(bytes: Uint8Array): void {
    const kept = this.waiting.reduce((sum, part) => sum + part.length, bytes.length);
    if (kept > this.host.config.limits.stanza_bytes + HELD_BYTES) {
      return this.fail({ condition: 'policy-violation', text: 'too much sent while a request is being handled' });
    }
    this.waiting.push(Uint8Array.from(bytes));
  }

  private slowDown(milliseconds: number): void {
    count(counters.drops, 'rate_slowed');
    this.transport.pause();
    setTimeout(() => {
      if (!this.over && !this.paused) this.transport.resume();
    }, milliseconds).unref();
  }

  // --- headers -------------------------------------------------------------------------------------------------------

  /** The peer's stream header (RFC 6120 §4.2, §4.7). */
  private header(): Next {
    const header = readHeader(this.host.scanner, this.handle);
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

  /** The stream has been opened by both sides. */
  get isOpen(): boolean {
    return this.headerSent;
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

  /** Our own header, with a fresh id each time, and to whom the peer says it is (RFC 6120 §4.7.2, §4.7.3). */
  private sendHeader(): void {
    this.headerSent = true;
    const to = this.claimed === undefined ? '' : `to='${escapeAttr(this.claimed.bare)}' `;
    const attributes = `${to}from='${escapeAttr(this.host.config.domain)}' id='${randomId()}' version='1.0' xml:lang='en'`;
    this.sendNonza(
      this.transport.framed
        ? `<open xmlns='${NS_FRAMING}' ${attributes}/>`
        : `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='${NS_STREAM}' ${attributes}>`,
    );
  }

  /** Queues something that is not a stanza. */
  sendNonza(xml: string): void {
    this.outbox.push(undefined, new Shared(Buffer.from(xml), undefined, true));
  }

  /** Queues a serialised stanza. */
  sendStanza(xml: string): void {
    this.outbox.push(undefined, new Shared(Buffer.from(xml)));
    counters.stanzasOut++;
  }

  // --- what the session does with the connection ---------------------------------------------------------------------

  /** Negotiation is over: stanzas go to the session from here on. */
  bind(bound: Bound): void {
    this.bound = bound;
    this.lent = true;
    this.negotiation = undefined;
  }

  /** From here on bytes go, unread, to another worker. */
  relayTo(relay: Receiver): void {
    this.relay = relay;
    this.negotiation = undefined;
    const rest = this.host.scanner.takeRest(this.handle);
    if (rest.length > 0) relay.receive(rest, false);
    for (const message of this.waiting) relay.receive(message, true);
    this.waiting = [];
    if (this.paused) {
      this.paused = false;
      this.transport.resume();
    }
  }

  /** The other worker asks for more, or for less. */
  writable(): void {
    if (this.relay !== undefined) this.relay.writable();
    else this.outbox.flush();
  }

  /** A connection that another worker has negotiated goes on here: the peer's header is behind us. */
  adopted(lang: string): void {
    const { scanner, config } = this.host;
    this.lang = lang;
    this.headerSent = true;
    this.negotiation = undefined;
    scanner.limit(this.handle, config.limits.stanza_bytes);
    if (this.transport.framed) return;
    const header = Buffer.from(`<stream:stream xmlns='jabber:client' xmlns:stream='${NS_STREAM}' version='1.0'>`);
    scanner.input.set(header, 0);
    scanner.feed(this.handle, header.length);
    scanner.next(this.handle);
  }

  // --- the end -------------------------------------------------------------------------------------------------------

  private overflow(): void {
    // Not from inside the push that found out: the caller is in the middle of a fan-out.
    queueMicrotask(() => this.fail({ condition: 'resource-constraint', text: 'the client does not read fast enough' }));
  }

  /** Sends a stream error and closes (RFC 6120 §4.9). */
  fail(failure: StreamFailure): void {
    if (this.over || this.ending) return;
    count(counters.streamErrors, failure.condition);
    this.host.log.debug({ connection: this.id, ...failure }, 'stream error');
    const text = failure.text
      ? `<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>${escapeText(failure.text)}</text>`
      : '';
    const namespace = this.transport.framed ? ` xmlns:stream='${NS_STREAM}'` : '';
    this.finish(
      isResumable(failure.condition),
      `<stream:error${namespace}><${failure.condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>${text}${failure.application ?? ''}</stream:error>`,
    );
  }

  /** Closes the stream from our side. */
  close(): void {
    if (!this.over && !this.ending) this.finish(false);
  }

  /** Last words, past the outbox: what is queued there may belong to a session that lives on. */
  private finish(resumable: boolean, error?: string): void {
    if (!this.headerSent) this.sendHeader();
    this.outbox.flush();
    this.ending = true;
    this.letGo(!resumable);
    if (error !== undefined) this.transport.writeNow(Buffer.from(error));
    this.transport.writeNow(this.transport.framed ? FRAME_END : STREAM_END);
    this.transport.end();
  }

  /** Another connection has taken the session over (XEP-0198 §5): this one has nothing left to do. */
  abandon(): void {
    this.bound = undefined;
    this.lent = false;
    this.outbox = new Outbox(64 * 1024, 'disconnect', () => this.transport.destroy());
    this.outbox.sink = this.transport;
    this.fail({ condition: 'conflict', text: 'the session was resumed elsewhere' });
  }

  /** The peer closed its stream (RFC 6120 §4.4): answer, and end the session for good. */
  peerClosed(): void {
    this.close();
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
    this.waiting = [];
    if (this.handle !== 0) this.host.scanner.close(this.handle);
    this.host.connections.delete(this);
    this.host.gate.leave(this.transport.remoteAddress);
  }

  private letGo(graceful: boolean): void {
    const bound = this.bound;
    this.bound = undefined;
    if (bound !== undefined) bound.detached(graceful);
    else if (this.over && !this.lent) this.outbox.clear();
  }
}

/** Errors after which a client may come back and resume: the connection's trouble, not the session's. */
function isResumable(condition: StreamCondition): boolean {
  return condition === 'connection-timeout' || condition === 'system-shutdown' || condition === 'resource-constraint';
}
