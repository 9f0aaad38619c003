import { counters } from '../metrics/counters.js';
import type { Connection, Next } from '../stream/connection.js';
import type { StreamCondition } from '../stream/errors.js';
import type { Bound } from '../stream/host.js';
import type { Outbox } from '../stream/outbox.js';
import { Shared, isMessage } from '../stream/outbox.js';
import type { SessionEntry } from '../cluster/directory.js';
import type { Element } from '../xml/element.js';
import { escapeAttr } from '../xml/escape.js';
import type { Jid } from '../jid/jid.js';
import type { SessionContext } from './context.js';
import { inbound } from './inbound.js';
import { leave } from './presence.js';
import type { StreamManagement } from './management.js';
import type { Heir } from './succession.js';

/**
 * A bound resource: one connected device, or one whose connection was cut and that may come back (XEP-0198). It outlives
 * its connections; the outbox is its own.
 */
export class Session implements Bound {
  connection: Connection | undefined;
  outbox: Outbox;
  available = false;
  priority = 0;
  /** The last broadcast presence as it is shown to others, without `to`. */
  presence: Shared | undefined;
  /** Full or bare JIDs that got directed presence while it lasts (RFC 6121 §4.6.3). */
  directed: Set<string> | undefined;
  sm: StreamManagement | undefined;
  /** Belongs to the pub-sub service. */
  pubsub: unknown = undefined;
  /** ` from='…'`, and the stream's language, to be put on every stanza that this session sends (RFC 6120 §8.1.2.1, §8.1.5). */
  readonly stamp: Buffer;
  readonly stampLang: Buffer | undefined;
  readonly lang: string;
  ended = false;
  /** The stanza that is being handled, or was the last to take time. */
  private handling: Promise<unknown> | undefined;
  /** Rings when it was not resumed in time. */
  private timer: NodeJS.Timeout | undefined;
  private expires = 0;
  private overflowing = false;
  /** When it was bound, in milliseconds since the epoch. */
  since = Date.now();
  /** Resolves when the session's way from or to another worker is over, if it is on one. It has no connection then. */
  moving: Promise<void> | undefined;
  /** It is perhaps at the other worker already: an end is put off until that is known. */
  leaving = false;
  private putOff: { heir: Heir | undefined } | undefined;
  /** Another worker says of it to others what is to be said. */
  mute = false;
  /** Positions in the outbox of what the spool keeps a copy of, in order; undefined where it keeps none. */
  spooled: number[] | undefined;
  /** Who got what waited in it. */
  heir: Heir | undefined;

  constructor(
    readonly context: SessionContext,
    readonly jid: Jid,
    /** Unique over all workers and their incarnations. */
    readonly id: string,
    /** The stream that it begins with, or what another worker had of it. */
    origin: Connection | { outbox: Outbox; lang: string },
  ) {
    this.connection = 'transport' in origin ? origin : undefined;
    this.outbox = origin.outbox;
    this.lang = origin.lang;
    this.stamp = Buffer.from(` from='${escapeAttr(jid.full)}'`);
    this.stampLang = this.lang === '' ? undefined : Buffer.from(` xml:lang='${escapeAttr(this.lang)}'`);
    this.outbox.onOverflow = () => this.overflow();
    counters.sessions++;
  }

  get address(): string {
    return this.jid.full;
  }

  get isAdmin(): boolean {
    return this.context.isAdmin(this.jid.bare);
  }

  /** The identifier that resumes this session, where it may be resumed. */
  get resumption(): string | undefined {
    return this.sm?.id;
  }

  entry(): SessionEntry {
    return {
      bare: this.jid.bare,
      resource: this.jid.resource,
      worker: this.context.bus.self,
      id: this.id,
      available: this.available,
      priority: this.priority,
    };
  }

  // --- to the client -------------------------------------------------------------------------------------------------

  /** Hot path: `head` + `shared.bytes` are one whole stanza. Returns false when it was dropped. */
  deliver(head: Buffer | undefined, shared: Shared): boolean {
    counters.stanzasOut++;
    return this.queue(head, shared);
  }

  /** The same for what was counted as delivered before. */
  queue(head: Buffer | undefined, shared: Shared): boolean {
    if (head === undefined) {
      if (isMessage(shared)) shared.since ??= Date.now();
      if (this.spooled !== undefined) this.context.spool!.queued(this, shared);
    }
    return this.outbox.push(head, shared);
  }

  /** One whole serialised stanza; it needs no `xmlns='jabber:client'`. */
  sendBytes(xml: Buffer | string): void {
    this.deliver(undefined, new Shared(typeof xml === 'string' ? Buffer.from(xml) : xml));
  }

  send(stanza: Element): void {
    this.sendBytes(stanza.serialize('jabber:client'));
  }

  sendNonza(xml: string): void {
    this.outbox.push(undefined, new Shared(Buffer.from(xml), undefined, true));
  }

  // --- from the connection -------------------------------------------------------------------------------------------

  handle(): Next {
    const next = inbound(this);
    if (next instanceof Promise) this.handling = next;
    return next;
  }

  /** Resolves when all that was received has been handled: what comes by another connection is behind it (RFC 6120 §10.1). */
  async idle(): Promise<void> {
    for (let handled; this.handling !== handled;) {
      handled = this.handling;
      // Its connection says what became of it.
      await handled?.catch(() => undefined);
    }
  }

  /** The element in the scanner's envelope as a tree. */
  tree(): Element {
    return this.connection!.tree();
  }

  probe(): void {
    if (this.sm !== undefined) this.outbox.request();
    else this.sendBytes(PING(this.context.config.domain));
  }

  /** The connection is gone: wait to be resumed where that was agreed, end otherwise. */
  detached(graceful: boolean): void {
    this.connection = undefined;
    this.outbox.sink = undefined;
    const seconds = this.sm?.resumable ?? 0;
    if (graceful || seconds === 0) this.end();
    else this.wait(seconds * 1000);
  }

  /** Without a connection it waits so many milliseconds to be resumed, then ends. */
  wait(milliseconds: number): void {
    counters.detached++;
    this.expires = Date.now() + milliseconds;
    this.timer = setTimeout(() => this.end(), milliseconds).unref();
  }

  /** It waits no longer; the milliseconds that are left. */
  stopWaiting(): number {
    if (this.timer === undefined) return 0;
    clearTimeout(this.timer);
    this.timer = undefined;
    counters.detached--;
    return Math.max(0, this.expires - Date.now());
  }

  /** Its client has come back by another worker: the connection here is closed. */
  letGo(): void {
    if (this.connection === undefined) return;
    this.connection.abandon();
    this.detached(false);
  }

  /** A new connection carries the session on (XEP-0198 §5). */
  attach(connection: Connection): void {
    this.stopWaiting();
    this.connection?.abandon();
    this.connection = connection;
    connection.carry(this, this.outbox);
  }

  /** Closes the session and its stream, e.g. because another session took the resource (RFC 6120 §7.7.2.2). */
  kick(text: string, condition: StreamCondition = 'conflict', heir?: Heir): void {
    const connection = this.connection;
    this.outbox.flush();
    this.end(heir);
    connection?.fail({ condition, text });
  }

  /** The outbox is full of what must not be dropped. */
  private overflow(): void {
    if (this.overflowing) return;
    this.overflowing = true;
    // Not from inside the push that found out: its caller is in the middle of a fan-out.
    queueMicrotask(() => {
      this.overflowing = false;
      if (this.connection === undefined) this.end();
      else this.connection.fail({ condition: 'resource-constraint', text: 'the client does not read fast enough' });
    });
  }

  /** It could not be bound: as if it had never been. */
  withdraw(): void {
    if (this.ended) return;
    this.ended = true;
    counters.sessions--;
    this.context.registry.remove(this);
    this.context.directory.unbind(this.entry());
    // What it inherited with the resource is for others now.
    this.context.succession.sessionAvailable(this);
  }

  /** The end of the session: everybody who should know is told, what was not acknowledged goes elsewhere, or to the `heir`. */
  end(heir?: Heir): void {
    if (this.ended) return;
    if (this.leaving) {
      this.putOff = { heir };
      return;
    }
    this.heir = heir;
    this.close();
    if (heir === undefined) this.context.router.reroute(this.jid, this.outbox.drainStanzas());
    else this.context.succession.bequeath(this, heir);
    this.outbox.clear();
  }

  /** It did not leave: an end that was put off comes now. */
  endAfterAll(): void {
    if (this.putOff !== undefined) this.end(this.putOff.heir);
  }

  /** It lives on at another worker. */
  vanish(): void {
    if (this.ended) return;
    this.mute = true;
    this.close();
    this.outbox.clear();
  }

  private close(): void {
    this.ended = true;
    this.stopWaiting();
    counters.sessions--;
    if (!this.mute) leave(this);
    for (const watcher of this.context.watchers) watcher.sessionClosed?.(this);
    this.context.registry.remove(this);
    this.context.directory.unbind(this.entry());
    this.context.spool?.forget(this);
  }
}

let pings = 0;
function PING(domain: string): string {
  return `<iq type='get' id='ka${++pings}' from='${escapeAttr(domain)}'><ping xmlns='urn:xmpp:ping'/></iq>`;
}
