import { CHANNEL } from '../cluster/bus.js';
import { UNKNOWN, type Entries } from '../cluster/directory.js';
import type { Jid } from '../jid/jid.js';
import { counters, count } from '../metrics/counters.js';
import { Shared } from '../stream/outbox.js';
import type { Element } from '../xml/element.js';
import { TYPE } from '../xml/envelope.js';
import type { SessionContext } from './context.js';
import { StanzaError, refuse } from '../stream/stanza-error.js';
import { errorStanza, type StanzaName } from './inbound.js';
import { Lookups } from './lookups.js';
import { addressed } from './presence.js';
import type { Session } from './session.js';

/** What goes with a stanza from one worker to another. */
interface Envelope {
  /** Full JID of the target session. */
  to: string;
  kind: 'message' | 'iq' | 'request' | 'presence' | 'broadcast' | 'probe';
  /** Of the sender, to answer when the target has gone meanwhile. */
  from?: string;
  id?: string;
  type?: number;
  /**
   * Of a message for a bare JID that went to several resources: on what went to the first of them the others, and on what went to these
   * nobody. One that cannot be delivered finds another way only when none of the rest is there.
   */
  also?: readonly string[];
}

/** What marks a message as a notification, whatever its type (XEP-0060 §7.1.2). */
const NS_EVENT = 'http://jabber.org/protocol/pubsub#event';
const TYPE_OF: Record<string, number> = { ...TYPE };

/** Why the sender gets its stanza back, if it does. */
export type Refusal = StanzaError | undefined;
type Eventually<T> = T | Promise<T>;

/**
 * Who gets a stanza: RFC 6121 §8.5 for the accounts of this domain, over all workers. Where the sessions elsewhere have to be
 * looked up first, answers are promises, and what is for one bare JID keeps its order.
 */
export class Router {
  private readonly lookups: Lookups;

  constructor(private readonly context: Omit<SessionContext, 'router' | 'succession'>) {
    this.lookups = new Lookups(context.directory);
    context.bus.listen(CHANNEL.stanza, (_from, body) => this.received(body));
    context.bus.onUndelivered(CHANNEL.stanza, (_peer, body, lives) => this.undelivered(body, lives));
  }

  get domain(): string {
    return this.context.config.domain;
  }

  isLocal(jid: Jid): boolean {
    return jid.domain === this.context.config.domain;
  }

  /** Sessions of a bare JID in this worker. */
  sessionsOf(bare: string): readonly Session[] {
    return this.context.registry.bare(bare);
  }

  /** All sessions of this worker. */
  sessions(): Iterable<Session> {
    return this.context.registry.all();
  }

  /** Routes a stanza that the server or a service made; `to` must be local. What cannot be delivered is dropped and counted. */
  deliver(to: Jid, stanza: Element): void {
    const shared = new Shared(Buffer.from(stanza.serialize('jabber:client')));
    if (this.lookups.full(to.bare)) return count(counters.drops, 'lookups_full');
    if (stanza.name === 'presence') {
      void this.presence(to, shared);
      return;
    }
    const from = stanza.attr('from') ?? this.domain;
    if (stanza.name === 'iq') return this.toFull(to, shared, { to: to.full, kind: 'iq', from });
    const type = TYPE_OF[stanza.attr('type') ?? 'normal'] ?? TYPE.normal;
    when(this.message(to, type, shared, from), (refused) => {
      if (refused !== undefined) count(counters.drops, 'undeliverable');
    });
  }

  // --- messages (RFC 6121 §8.5.2, §8.5.3, Table 1) ----------------------------------------------------------------------

  /** Delivers a serialised message, or says why the sender gets it back. `from` is the sender's full JID. */
  message(to: Jid, type: number, shared: Shared, from: string): Eventually<Refusal> {
    if (this.hereAndNow(to, shared)) return undefined;
    const entries = this.lookups.of(to.bare);
    if (!(entries instanceof Promise)) return this.messageTo(to, type, shared, from, entries);
    return entries.then((found) => this.messageTo(to, type, shared, from, found));
  }

  private messageTo(to: Jid, type: number, shared: Shared, from: string, entries: Entries): Refusal {
    if (to.resource !== '') {
      if (this.reach(to, shared, { to: to.full, kind: 'message', from, type }, entries)) return undefined;
      // Only chat falls back to the account's other resources; the rest is silently ignored or returned.
      if (type === TYPE.headline || type === TYPE.error) return ignored();
      if (type !== TYPE.chat) return nobody(entries);
    }
    if (type === TYPE.error) return ignored();
    if (type === TYPE.groupchat) return refuse('service-unavailable');
    const delivered = this.toBare(to, shared, type === TYPE.headline, from, type, entries);
    if (delivered) return undefined;
    return type === TYPE.headline ? ignored() : nobody(entries);
  }

  /** To the resource of a full JID if it is at this worker, and nothing waits that was to come before. */
  private hereAndNow(to: Jid, shared: Shared): boolean {
    if (to.resource === '' || !this.lookups.idle(to.bare)) return false;
    const session = this.context.registry.full(to.full);
    if (session === undefined) return false;
    session.deliver(undefined, shared);
    return true;
  }

  /** To the resource of a full JID, available or only connected; what cannot be delivered is dropped and counted. */
  private toFull(to: Jid, shared: Shared, envelope: Envelope): void {
    if (this.hereAndNow(to, shared)) return;
    when(this.lookups.of(to.bare), (entries) => {
      if (!this.reach(to, shared, envelope, entries)) count(counters.drops, 'undeliverable');
    });
  }

  /** The same, among these entries. */
  private reach(to: Jid, shared: Shared, envelope: Envelope, entries: Entries): boolean {
    const session = this.context.registry.full(to.full);
    if (session !== undefined) {
      session.deliver(undefined, shared);
      return true;
    }
    for (const { resource, worker } of entries) {
      if (resource !== to.resource) continue;
      this.send(worker, envelope, shared.bytes);
      return true;
    }
    return false;
  }

  /**
   * Those that are not at this worker. A session on its way from one worker to another is at both for a moment; what this
   * worker sends to it goes to the one that is here.
   */
  private elsewhere(bare: string, entries: Entries): Entries {
    if (entries.length === 0) return entries;
    const local = this.context.registry.bare(bare);
    if (local.length === 0) return entries;
    return entries.filter(({ resource }) => !local.some((session) => session.jid.resource === resource));
  }

  /** To the available resources of non-negative priority: all of them, or those with the highest. */
  private toBare(to: Jid, shared: Shared, all: boolean, from: string, type: number, entries: Entries): boolean {
    const local = this.context.registry.bare(to.bare);
    const remote = this.elsewhere(to.bare, entries);
    let highest = -1;
    for (const session of local) if (session.available && session.priority > highest) highest = session.priority;
    for (const entry of remote) if (entry.available && entry.priority > highest) highest = entry.priority;
    if (highest < 0) return false;
    const least = all ? 0 : highest;
    const there = remote.filter(({ available, priority }) => available && priority >= least);
    let also = there.length > 1 ? there.slice(1).map(({ resource }) => resource) : undefined;
    for (const session of local) {
      if (!session.available || session.priority < least) continue;
      session.deliver(undefined, shared);
      also = [];
    }
    for (const entry of there) {
      const full = `${to.bare}/${entry.resource}`;
      this.send(entry.worker, { to: full, kind: 'message', from, type, also }, shared.bytes);
      if (also !== undefined) also = [];
    }
    return true;
  }

  // --- iq ----------------------------------------------------------------------------------------------------------------

  /** Passes an iq on to the session of a full JID (RFC 6121 §8.5.3). */
  iq(to: Jid, request: boolean, shared: Shared, from: Jid, id: string): Eventually<Refusal> {
    const known = this.lookups.idle(to.bare) && this.context.registry.full(to.full) !== undefined;
    const entries = known ? NONE : this.lookups.of(to.bare);
    if (!(entries instanceof Promise)) return this.iqTo(to, request, shared, from, id, entries);
    return entries.then((found) => this.iqTo(to, request, shared, from, id, found));
  }

  private iqTo(to: Jid, request: boolean, shared: Shared, from: Jid, id: string, entries: Entries): Refusal {
    const session = this.context.registry.full(to.full);
    if (session !== undefined) {
      if (request && !sharesPresence(session, from.full, from.bare)) return refuse('service-unavailable');
      session.deliver(undefined, shared);
      return undefined;
    }
    const envelope: Envelope = { to: to.full, kind: request ? 'request' : 'iq', from: from.full, id };
    return this.reach(to, shared, envelope, entries) || !request ? undefined : nobody(entries);
  }

  // --- presence ------------------------------------------------------------------------------------------------------------

  /** Presence for an address: its resource, or all available resources of the account (RFC 6121 §8.5.2.1.2). */
  presence(to: Jid, shared: Shared): Eventually<undefined> {
    if (this.hereAndNow(to, shared)) return undefined;
    const entries = this.lookups.of(to.bare);
    if (!(entries instanceof Promise)) return this.presenceTo(to, shared, entries);
    return entries.then((found) => this.presenceTo(to, shared, found));
  }

  private presenceTo(to: Jid, shared: Shared, entries: Entries): undefined {
    if (to.resource !== '') {
      this.reach(to, shared, { to: to.full, kind: 'presence' }, entries);
      return;
    }
    for (const session of this.context.registry.bare(to.bare))
      if (session.available) session.deliver(undefined, shared);
    // Whether they are available their own workers know best: the directory hears of it a little later.
    for (const entry of this.elsewhere(to.bare, entries)) {
      this.send(entry.worker, { to: `${to.bare}/${entry.resource}`, kind: 'broadcast' }, shared.bytes);
    }
  }

  /** A session's presence for the account's available resources, its own included (RFC 6121 §4.2.2, §4.5.2). */
  presenceToOwn(session: Session, presence: Shared): Eventually<undefined> {
    const shared = addressed(presence, session.jid.bare);
    const told = this.presence(session.jid.bareJid(), shared);
    if (!session.available && !session.ended) session.deliver(undefined, shared);
    return told;
  }

  /** Shows a session that has become available the presence of the account's other resources. */
  presenceOfOwn(session: Session): Eventually<undefined> {
    const entries = this.lookups.of(session.jid.bare);
    if (!(entries instanceof Promise)) return this.presenceOf(session, entries);
    return entries.then((found) => this.presenceOf(session, found));
  }

  private presenceOf(session: Session, entries: Entries): undefined {
    for (const other of this.context.registry.bare(session.jid.bare)) {
      if (other !== session && other.presence !== undefined)
        session.deliver(undefined, addressed(other.presence, session.jid.bare));
    }
    for (const entry of this.elsewhere(session.jid.bare, entries)) {
      this.send(
        entry.worker,
        { to: `${entry.bare}/${entry.resource}`, kind: 'probe', from: session.jid.full },
        NOTHING,
      );
    }
  }

  // --- after the end -------------------------------------------------------------------------------------------------------

  /**
   * What an ended session was not sent, or did not acknowledge (XEP-0198 §4), finds another way: messages as if they had just come, for
   * who has the session's resource now or else for the account, requests are answered with an error; notifications and presence
   * are out of date by now.
   */
  reroute(jid: Jid, stanzas: Iterable<Buffer>): void {
    const { tree, jids } = this.context;
    for (const bytes of stanzas) {
      const stanza = tree.parse(bytes, { '': 'jabber:client' });
      const from = jids.get(stanza.attr('from') ?? this.domain);
      const type = TYPE_OF[stanza.attr('type') ?? 'normal'] ?? TYPE.normal;
      const outOfDate = type === TYPE.headline || type === TYPE.error || stanza.child('event', NS_EVENT) !== undefined;
      if (stanza.name === 'message' && !outOfDate) {
        // Elsewhere it may have ended meanwhile, and the message then is for whom its sender meant it.
        const refused = this.again(jid, stanza.attr('to') === jid.full, new Shared(bytes), type, from?.full);
        when(refused, (error) => this.bounceTo(from, 'message', stanza.attr('id'), jid.full, error));
      } else if (stanza.name === 'iq' && (type === TYPE.get || type === TYPE.set)) {
        this.bounceTo(from, 'iq', stanza.attr('id'), jid.full, refuse('service-unavailable'));
      } else {
        count(counters.drops, 'session_ended');
      }
    }
  }

  /** A message for a resource that had left: for who has it now, if it was meant for the resource, or else for the account. */
  private again(jid: Jid, full: boolean, shared: Shared, type: number, from = this.domain): Eventually<Refusal> {
    if (full && this.hereAndNow(jid, shared)) return undefined;
    const route = (entries: Entries): Refusal => {
      const envelope: Envelope = { to: jid.full, kind: 'message', from, type };
      if (full && this.reach(jid, shared, envelope, entries)) return undefined;
      return this.messageTo(jid.bareJid(), type, shared, from, entries);
    };
    const entries = this.lookups.of(jid.bare);
    return entries instanceof Promise ? entries.then(route) : route(entries);
  }

  private bounceTo(to: Jid | undefined, name: StanzaName, id: string | undefined, from: string, error: Refusal): void {
    if (error === undefined) return;
    if (to === undefined || !this.isLocal(to) || to.resource === '') {
      count(counters.drops, 'undeliverable');
      return;
    }
    const bytes = Buffer.from(errorStanza(name, { id, from, to: to.full }, error));
    this.toFull(to, new Shared(bytes), { to: to.full, kind: name === 'iq' ? 'iq' : 'message', type: TYPE.error });
  }

  // --- between workers -------------------------------------------------------------------------------------------------------

  private send(worker: number, envelope: Envelope, stanza: Buffer): void {
    const header = Buffer.from(JSON.stringify(envelope));
    const length = Buffer.allocUnsafe(2);
    length.writeUInt16LE(header.length);
    this.context.bus.send(worker, CHANNEL.stanza, length, header, stanza);
  }

  /** Resolves when all that other workers have sent so far for that bare JID is where it belongs. */
  async settled(bare: string): Promise<void> {
    if (!this.lookups.idle(bare)) await this.lookups.of(bare);
  }

  private received(body: Buffer): void {
    const { envelope, stanza } = opened(body);
    const bare = this.lookups.none ? undefined : this.context.jids.get(envelope.to)?.bare;
    if (bare === undefined || this.lookups.idle(bare)) return this.arrived(envelope, stanza);
    if (this.lookups.full(bare)) return count(counters.drops, 'lookups_full');
    const kept = Buffer.from(stanza);
    when(this.lookups.of(bare), () => this.arrived(envelope, kept));
  }

  /** The bytes of the stanza are lent for the call only. */
  private arrived(envelope: Envelope, lent: Buffer): void {
    const session = this.context.registry.full(envelope.to);
    if (envelope.kind === 'probe') {
      const asker = this.context.jids.get(envelope.from!);
      if (session?.presence !== undefined && asker !== undefined) {
        void this.presence(asker, addressed(session.presence, asker.bare));
      }
      return;
    }
    if (envelope.kind === 'broadcast' && session?.available !== true) return;
    const shared = new Shared(Buffer.from(lent));
    const from = envelope.from === undefined ? undefined : this.context.jids.get(envelope.from);
    if (envelope.kind === 'request') {
      if (session !== undefined && from !== undefined && sharesPresence(session, from.full, from.bare)) {
        session.deliver(undefined, shared);
      } else this.bounceTo(from, 'iq', envelope.id, envelope.to, refuse('service-unavailable'));
      return;
    }
    if (session !== undefined) {
      session.deliver(undefined, shared);
      return;
    }
    // It left while the stanza was on its way.
    if (envelope.kind === 'message') this.anew(envelope, shared, from);
  }

  /**
   * A stanza for a worker that has died, or to which the way was interrupted: it was not delivered as far as is known (see
   * `onUndelivered` in cluster/bus.ts). What one sender sent comes back in order, before anything else of it is routed.
   */
  private undelivered(body: Buffer, lives: boolean): void {
    const { envelope, stanza } = opened(body);
    const from = envelope.from === undefined ? undefined : this.context.jids.get(envelope.from);
    const error = lives
      ? refuse('internal-server-error', { type: 'wait', text: 'the way to the recipient was interrupted' })
      : refuse('service-unavailable');
    if (envelope.kind === 'request') return this.bounceTo(from, 'iq', envelope.id, envelope.to, error);
    if (envelope.kind !== 'message') return count(counters.drops, 'undelivered');
    const shared = new Shared(Buffer.from(stanza));
    if (!lives) return this.anew(envelope, shared, from);
    if (envelope.also !== undefined || !returnable(envelope.type)) return count(counters.drops, 'undelivered');
    const { id, to } = this.addressing(envelope, shared);
    if (to !== undefined) this.bounceTo(from, 'message', id, to.full, error);
  }

  /** A message whose resource is not there: as if it came now, for whom its sender meant it (RFC 6121 §8.5.3.2). */
  private anew(envelope: Envelope, shared: Shared, from: Jid | undefined): void {
    const { also, type = TYPE.normal } = envelope;
    const { id, to } = this.addressing(envelope, shared);
    if (to === undefined || !returnable(type) || also?.length === 0) return count(counters.drops, 'session_ended');
    const sender = envelope.from ?? this.domain;
    if (also === undefined) {
      return when(this.message(to, type, shared, sender), (refused) =>
        this.bounceTo(from, 'message', id, to.full, refused),
      );
    }
    when(this.lookups.of(to.bare), (entries) => {
      if (this.anyOf(also, to.bare, entries)) return count(counters.drops, 'session_ended');
      this.bounceTo(from, 'message', id, to.full, this.messageTo(to, type, shared, sender, entries));
    });
  }

  /** Whether one of these resources is still there. */
  private anyOf(resources: readonly string[], bare: string, entries: Entries): boolean {
    return resources.some(
      (resource) =>
        entries.some((entry) => entry.resource === resource) ||
        this.context.registry.full(`${bare}/${resource}`) !== undefined,
    );
  }

  /** Whom the sender of a message meant, and the message's id. */
  private addressing(envelope: Envelope, shared: Shared): { id: string | undefined; to: Jid | undefined } {
    const stanza = this.context.tree.parse(shared.bytes, { '': 'jabber:client' });
    const to = stanza.attr('to');
    const { jids } = this.context;
    // Without an address a message is for the sender's own account (RFC 6120 §8.1.1.1).
    return { id: stanza.attr('id'), to: to === undefined ? jids.get(envelope.to)?.bareJid() : jids.get(to) };
  }
}

const NOTHING = Buffer.alloc(0);
const NONE: Entries = [];

function opened(body: Buffer): { envelope: Envelope; stanza: Buffer } {
  const length = body.readUInt16LE(0);
  return { envelope: JSON.parse(body.toString('utf8', 2, 2 + length)) as Envelope, stanza: body.subarray(2 + length) };
}

/** Messages of these types are never returned (RFC 6121 §8.5.2.1.1). */
function returnable(type: number = TYPE.normal): boolean {
  return type !== TYPE.error && type !== TYPE.headline;
}

/** Goes on with the value: now if it is there, else when it is. */
function when<T>(value: T | Promise<T>, next: (value: T) => void): void {
  if (value instanceof Promise) void value.then(next);
  else next(value);
}

/** None of the address's sessions could be found: there is none, or the directory could not say (RFC 6120 §8.3.3.6). */
function nobody(entries: Entries): StanzaError {
  if (entries !== UNKNOWN) return refuse('service-unavailable');
  return refuse('internal-server-error', { type: 'wait', text: 'sessions cannot be looked up at the moment' });
}

/** RFC 6121 §8.5.3.1: a request is passed on only to who shows presence to the sender, so that nothing leaks. */
function sharesPresence(session: Session, full: string, bare: string): boolean {
  return (
    session.jid.bare === bare ||
    (session.directed !== undefined && (session.directed.has(full) || session.directed.has(bare)))
  );
}

function ignored(): undefined {
  count(counters.drops, 'ignored');
  return undefined;
}
