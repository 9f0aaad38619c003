import { CHANNEL } from '../cluster/bus.js';
import type { Entries, SessionEntry } from '../cluster/directory.js';
import type { Jid } from '../jid/jid.js';
import { counters, count } from '../metrics/counters.js';
import { randomId } from '../stream/ids.js';
import { Shared, type Copies } from '../stream/outbox.js';
import { StanzaError, refuse } from '../stream/stanza-error.js';
import type { Element } from '../xml/element.js';
import { TYPE } from '../xml/envelope.js';
import type { SessionContext } from './context.js';
import { Ghosts } from './ghosts.js';
import { addressed } from './presence.js';
import { Reach } from './reach.js';
import { Rerouting } from './rerouting.js';
import { opened, typeOf, when, type Envelope } from './routed.js';
import type { Session } from './session.js';

/** So many sessions that got a message are named with it. */
const NAMED = 32;

/** Why the sender gets its stanza back, if it does. */
export type Refusal = StanzaError | undefined;
export type Eventually<T> = T | Promise<T>;

/**
 * Who gets a stanza: RFC 6121 §8.5 for the accounts of this domain, over all workers. Where the sessions elsewhere have to be
 * looked up first, answers are promises, and what is for one bare JID keeps its order.
 */
export class Router {
  private readonly reach: Reach;
  private readonly rerouting: Rerouting;
  readonly ghosts: Ghosts;

  constructor(private readonly context: Omit<SessionContext, 'router' | 'succession'>) {
    this.reach = new Reach(context);
    this.rerouting = new Rerouting(this, this.reach, context);
    this.ghosts = new Ghosts(this.reach, context);
    context.bus.listen(CHANNEL.stanza, (_from, body) => this.received(body), true);
    context.bus.onUndelivered(CHANNEL.stanza, (_peer, body, lives) => this.rerouting.undelivered(body, lives));
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
    if (this.reach.lookups.full(to.bare)) return count(counters.drops, 'lookups_full');
    if (stanza.name === 'presence') {
      void this.presence(to, shared);
      return;
    }
    const from = stanza.attr('from') ?? this.domain;
    if (stanza.name === 'iq') return this.reach.toFull(to, shared, { to: to.full, kind: 'iq', from });
    const type = typeOf(stanza);
    when(this.message(to, type, shared, from), (refused) => {
      if (refused !== undefined) count(counters.drops, 'undeliverable');
    });
  }

  // --- messages (RFC 6121 §8.5.2, §8.5.3, Table 1) ----------------------------------------------------------------------

  /** Delivers a serialised message, or says why the sender gets it back. `from` is the sender's full JID. */
  message(to: Jid, type: number, shared: Shared, from: string): Eventually<Refusal> {
    if (this.reach.hereAndNow(to, shared)) return undefined;
    const entries = this.reach.lookups.of(to.bare);
    if (!(entries instanceof Promise)) return this.messageTo(to, type, shared, from, entries);
    return entries.then((found) => this.messageTo(to, type, shared, from, found));
  }

  messageTo(to: Jid, type: number, shared: Shared, from: string, entries: Entries): Refusal {
    if (to.resource !== '') {
      if (this.reach.among(to, shared, { to: to.full, kind: 'message', from, type }, entries)) return undefined;
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

  /** To the available resources of non-negative priority: all of them, or those with the highest. */
  private toBare(to: Jid, shared: Shared, all: boolean, from: string, type: number, entries: Entries): boolean {
    const local = this.context.registry.bare(to.bare);
    const remote = this.reach.elsewhere(to.bare, entries);
    let highest = -1;
    for (const session of local) if (session.available && session.priority > highest) highest = session.priority;
    for (const entry of remote) if (entry.available && entry.priority > highest) highest = entry.priority;
    if (highest < 0) return false;
    const least = all ? 0 : highest;
    const takes = ({ available, priority }: Session | SessionEntry): boolean => available && priority >= least;
    const here = local.filter(takes);
    const there = remote.length === 0 ? remote : remote.filter(takes);
    let copies: Copies | undefined;
    if (!all && here.length + there.length > 1) {
      const ids = [...here, ...there].map(({ id }) => id);
      copies = { key: randomId(), sessions: ids.slice(0, NAMED) };
    }
    const copy = copies === undefined ? shared : new Shared(shared.bytes, undefined, false, copies);
    for (const session of here) session.deliver(undefined, copy);
    for (const entry of there) {
      const full = `${to.bare}/${entry.resource}`;
      this.reach.send(entry.worker, { to: full, kind: 'message', from, type, copies }, shared.bytes);
    }
    return true;
  }

  // --- iq ----------------------------------------------------------------------------------------------------------------

  /** Passes an iq on to the session of a full JID (RFC 6121 §8.5.3). */
  iq(to: Jid, request: boolean, shared: Shared, from: Jid, id: string): Eventually<Refusal> {
    const known = this.reach.lookups.idle(to.bare) && this.context.registry.full(to.full) !== undefined;
    const entries = known ? NONE : this.reach.lookups.of(to.bare);
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
    return this.reach.among(to, shared, envelope, entries) || !request ? undefined : nobody(entries);
  }

  // --- presence ------------------------------------------------------------------------------------------------------------

  /** Presence for an address: its resource, or all available resources of the account (RFC 6121 §8.5.2.1.2). */
  presence(to: Jid, shared: Shared): Eventually<undefined> {
    if (this.reach.hereAndNow(to, shared)) return undefined;
    const entries = this.reach.lookups.of(to.bare);
    if (!(entries instanceof Promise)) return this.presenceTo(to, shared, entries);
    return entries.then((found) => this.presenceTo(to, shared, found));
  }

  private presenceTo(to: Jid, shared: Shared, entries: Entries): undefined {
    if (to.resource !== '') {
      this.reach.among(to, shared, { to: to.full, kind: 'presence' }, entries);
      return;
    }
    for (const session of this.context.registry.bare(to.bare))
      if (session.available) session.deliver(undefined, shared);
    // Whether they are available their own workers know best: the directory hears of it a little later.
    for (const entry of this.reach.elsewhere(to.bare, entries)) {
      this.reach.send(entry.worker, { to: `${to.bare}/${entry.resource}`, kind: 'broadcast' }, shared.bytes);
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
    const entries = this.reach.lookups.of(session.jid.bare);
    if (!(entries instanceof Promise)) return this.presenceOf(session, entries);
    return entries.then((found) => this.presenceOf(session, found));
  }

  private presenceOf(session: Session, entries: Entries): undefined {
    for (const other of this.context.registry.bare(session.jid.bare)) {
      if (other !== session && other.presence !== undefined)
        session.deliver(undefined, addressed(other.presence, session.jid.bare));
    }
    for (const entry of this.reach.elsewhere(session.jid.bare, entries)) {
      this.reach.send(
        entry.worker,
        { to: `${entry.bare}/${entry.resource}`, kind: 'probe', from: session.jid.full },
        NOTHING,
      );
    }
  }

  // --- between workers -------------------------------------------------------------------------------------------------------

  /** Resolves when all that other workers have sent so far for that bare JID is where it belongs. */
  async settled(bare: string): Promise<void> {
    if (!this.reach.lookups.idle(bare)) await this.reach.lookups.of(bare);
  }

  /** What an ended session was not sent, or did not acknowledge, finds another way. */
  reroute(jid: Jid, stanzas: Iterable<Shared>): void {
    this.rerouting.reroute(jid, stanzas);
  }

  /** Whether one of the sessions of that bare JID that got a message is still there. */
  async has(bare: string, copies: Copies): Promise<boolean> {
    return this.rerouting.has(bare, copies, await this.reach.lookups.of(bare));
  }

  private received(body: Buffer): void {
    const { envelope, stanza } = opened(body);
    const bare = this.reach.lookups.none ? undefined : this.context.jids.get(envelope.to)?.bare;
    if (bare === undefined || this.reach.lookups.idle(bare)) return this.arrived(envelope, stanza);
    if (this.reach.lookups.full(bare)) return count(counters.drops, 'lookups_full');
    const kept = Buffer.from(stanza);
    when(this.reach.lookups.of(bare), () => this.arrived(envelope, kept));
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
    const shared = new Shared(Buffer.from(lent), undefined, false, envelope.copies);
    const from = envelope.from === undefined ? undefined : this.context.jids.get(envelope.from);
    if (envelope.kind === 'broadcast' && from !== undefined) return this.ghosts.heard(session!, from, shared);
    if (envelope.kind === 'request') {
      if (session !== undefined && from !== undefined && sharesPresence(session, from.full, from.bare)) {
        session.deliver(undefined, shared);
      } else this.rerouting.bounceTo(from, 'iq', envelope.id, envelope.to, refuse('service-unavailable'));
      return;
    }
    if (session !== undefined) {
      session.deliver(undefined, shared);
      return;
    }
    // It left while the stanza was on its way.
    if (envelope.kind === 'message') this.rerouting.anew(envelope, shared, from);
  }
}

const NOTHING = Buffer.alloc(0);
const NONE: Entries = [];

/** None of the address's sessions could be found: there is none, or not all of them are known at the moment (RFC 6120 §8.3.3.6). */
function nobody(entries: Entries): StanzaError {
  if (!entries.partial) return refuse('service-unavailable');
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
