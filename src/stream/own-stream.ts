import { counters, count } from '../metrics/counters.js';
import type { Jid } from '../jid/jid.js';
import { isResumable, streamError, type StreamFailure } from './errors.js';
import { framed } from './framing.js';
import { ownEnd, ownHeader } from './header.js';
import type { Bound, StreamHost } from './host.js';
import { Outbox, Shared } from './outbox.js';
import type { Transport } from './transport.js';

/** Connections made so far. */
let made = 0;

/**
 * Our side of a connection, which has a stream in each direction (RFC 6120 §4.1): the header that we send, what is queued behind it,
 * and how it ends.
 */
export abstract class OwnStream {
  outbox: Outbox;
  /** The bound session, once there is one. */
  bound: Bound | undefined;
  /** Its number in the log of this worker. */
  readonly id = ++made;
  /** Who the peer's header says that it is, to be held against what it authenticates as (RFC 6120 §4.7.1, §6.4.6). */
  claimed: Jid | undefined;
  /** The outbox belongs to a session, which outlives this connection. */
  protected lent = false;
  protected headerSent = false;
  protected ending = false;
  protected over = false;
  /** It is to be closed as soon as it is idle. */
  protected leaving = false;

  constructor(
    readonly host: StreamHost,
    public transport: Transport,
  ) {
    const { limits, slow_reader } = host.config;
    this.outbox = new Outbox(limits.outbox_bytes, slow_reader, () => this.overflow());
    this.outbox.sink = transport;
  }

  /** Nothing waits to be handled or written. */
  abstract get idle(): boolean;

  /** The carrier is gone. */
  get isOver(): boolean {
    return this.over;
  }

  /** It takes no more input: it is over, or is about to be. */
  get isClosing(): boolean {
    return this.over || this.ending;
  }

  /** The stream has been opened by both sides. */
  get isOpen(): boolean {
    return this.headerSent;
  }

  // --- what we say ---------------------------------------------------------------------------------------------------

  protected sendHeader(): void {
    this.headerSent = true;
    this.sendNonza(ownHeader(this.transport.framed, this.host.config.domain, this.claimed?.bare));
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

  /** All that negotiation has queued goes out now, whether the client reads or not: others have the next word. */
  sayAll(): void {
    const { outbox, transport } = this;
    outbox.flush();
    for (let shared = outbox.takeOne(); shared !== undefined; shared = outbox.takeOne()) {
      transport.writeNow(transport.framed ? framed(undefined, shared) : shared.bytes);
    }
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
    this.finish(isResumable(failure.condition), streamError(failure, this.transport.framed));
  }

  /**
   * Closes the stream in such a way that the session waits, and the client comes back: to the host given as host:port (RFC 6120
   * §4.9.3.19), where its transport allows to say so, or wherever it finds.
   */
  sendAway(to?: string): void {
    if (to !== undefined && this.transport.redirectable) this.fail({ condition: 'see-other-host', content: to });
    else this.fail({ condition: 'system-shutdown' });
  }

  /** Nothing is left of what had to be waited for before it may go. */
  leave(): void {
    if (!this.leaving || !this.idle) return;
    if (this.bound?.resumption === undefined) this.close();
    else this.sendAway();
  }

  /** Closes the stream from our side. */
  close(): void {
    if (!this.over && !this.ending) this.finish(false);
  }

  /** Last words, past the outbox: what is queued there may belong to a session that lives on. */
  private finish(resumable: boolean, error?: string): void {
    if (!this.headerSent) this.sendHeader();
    if (this.lent) this.outbox.flush();
    else this.sayAll();
    this.ending = true;
    this.letGo(!resumable);
    if (error !== undefined) this.transport.writeNow(Buffer.from(error));
    this.transport.writeNow(ownEnd(this.transport.framed));
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

  protected letGo(graceful: boolean): void {
    const bound = this.bound;
    this.bound = undefined;
    if (bound !== undefined) bound.detached(graceful);
    else if (this.over && !this.lent) this.outbox.clear();
  }
}
