import { CHANNEL } from '../cluster/bus.js';
import type { SessionEntry } from '../cluster/directory.js';
import type { Jid } from '../jid/jid.js';
import { counters, count } from '../metrics/counters.js';
import { Shared } from '../stream/outbox.js';
import type { Element } from '../xml/element.js';
import { TYPE } from '../xml/envelope.js';
import type { SessionContext } from './context.js';
import { StanzaError, refuse } from './errors.js';
import { errorStanza, type StanzaName } from './inbound.js';
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
}

/** What marks a message as a notification, whatever its type (XEP-0060 §7.1.2). */
const NS_EVENT = 'http://jabber.org/protocol/pubsub#event';
const TYPE_OF: Record<string, number> = { ...TYPE };

/** Who gets a stanza: RFC 6121 §8.5 for the accounts of this domain, over all workers. */
export class Router {
  constructor(private readonly context: Omit<SessionContext, 'router' | 'succession'>) {
    context.bus.listen(CHANNEL.stanza, (_from, body) => this.received(body));
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
    if (stanza.name === 'presence') return this.presence(to, shared);
    const from = stanza.attr('from') ?? this.domain;
    if (stanza.name === 'iq') {
      if (this.toFull(to, shared, { to: to.full, kind: 'iq', from })) return;
    } else if (this.message(to, TYPE_OF[stanza.attr('type') ?? 'normal'] ?? TYPE.normal, shared, from) === undefined)
      return;
    count(counters.drops, 'undeliverable');
  }

  // --- messages (RFC 6121 §8.5.2, §8.5.3, Table 1) ----------------------------------------------------------------------

  /** Delivers a serialised message, or says why the sender gets it back. `from` is the sender's full JID. */
  message(to: Jid, type: number, shared: Shared, from: string): StanzaError | undefined {
    if (to.resource !== '') {
      if (this.toFull(to, shared, { to: to.full, kind: 'message', from, type })) return undefined;
      // Only chat falls back to the account's other resources; the rest is silently ignored or returned.
      if (type === TYPE.headline || type === TYPE.error) return ignored();
      if (type !== TYPE.chat) return refuse('service-unavailable');
    }
    if (type === TYPE.error) return ignored();
    if (type === TYPE.groupchat) return refuse('service-unavailable');
    const delivered = this.toBare(to, shared, type === TYPE.headline, from, type);
    if (delivered) return undefined;
    return type === TYPE.headline ? ignored() : refuse('service-unavailable');
  }

  /** To the resource of a full JID, available or only connected. */
  private toFull(to: Jid, shared: Shared, envelope: Envelope): boolean {
    const session = this.context.registry.full(to.full);
    if (session !== undefined) {
      session.deliver(undefined, shared);
      return true;
    }
    const remote = this.remoteSession(to);
    if (remote === undefined) return false;
    this.send(remote.worker, envelope, shared.bytes);
    return true;
  }

  /**
   * Sessions of a bare JID at other workers. A session on its way from one worker to another is at both for a moment; what this
   * worker sends to it goes to the one that is here.
   */
  private elsewhere(bare: string): readonly SessionEntry[] {
    const entries = this.context.directory.remote(bare);
    if (entries.length === 0) return entries;
    const local = this.context.registry.bare(bare);
    if (local.length === 0) return entries;
    return entries.filter(({ resource }) => !local.some((session) => session.jid.resource === resource));
  }

  private remoteSession(to: Jid): SessionEntry | undefined {
    for (const entry of this.context.directory.remote(to.bare)) if (entry.resource === to.resource) return entry;
    return undefined;
  }

  /** To the available resources of non-negative priority: all of them, or those with the highest. */
  private toBare(to: Jid, shared: Shared, all: boolean, from: string, type: number): boolean {
    const local = this.context.registry.bare(to.bare);
    const remote = this.elsewhere(to.bare);
    let highest = -1;
    for (const session of local) if (session.available && session.priority > highest) highest = session.priority;
    for (const entry of remote) if (entry.available && entry.priority > highest) highest = entry.priority;
    if (highest < 0) return false;
    const least = all ? 0 : highest;
    for (const session of local) {
      if (session.available && session.priority >= least) session.deliver(undefined, shared);
    }
    for (const entry of remote) {
      if (entry.available && entry.priority >= least) {
        this.send(entry.worker, { to: `${to.bare}/${entry.resource}`, kind: 'message', from, type }, shared.bytes);
      }
    }
    return true;
  }

  // --- iq ----------------------------------------------------------------------------------------------------------------

  /** Passes an iq on to the session of a full JID (RFC 6121 §8.5.3). */
  iq(to: Jid, request: boolean, shared: Shared, from: Jid, id: string): StanzaError | undefined {
    const session = this.context.registry.full(to.full);
    if (session !== undefined) {
      if (request && !sharesPresence(session, from.full, from.bare)) return refuse('service-unavailable');
      session.deliver(undefined, shared);
      return undefined;
    }
    const remote = this.remoteSession(to);
    if (remote === undefined) return request ? refuse('service-unavailable') : undefined;
    this.send(remote.worker, { to: to.full, kind: request ? 'request' : 'iq', from: from.full, id }, shared.bytes);
    return undefined;
  }

  // --- presence ------------------------------------------------------------------------------------------------------------

  /** Presence for an address: its resource, or all available resources of the account (RFC 6121 §8.5.2.1.2). */
  presence(to: Jid, shared: Shared): void {
    if (to.resource !== '') {
      this.toFull(to, shared, { to: to.full, kind: 'presence' });
      return;
    }
    for (const session of this.context.registry.bare(to.bare))
      if (session.available) session.deliver(undefined, shared);
    // Whether they are available their own workers know best: the directory hears of it a little later.
    for (const entry of this.elsewhere(to.bare)) {
      this.send(entry.worker, { to: `${to.bare}/${entry.resource}`, kind: 'broadcast' }, shared.bytes);
    }
  }

  /** A session's presence for the account's available resources, its own included (RFC 6121 §4.2.2, §4.5.2). */
  presenceToOwn(session: Session, presence: Shared): void {
    const shared = addressed(presence, session.jid.bare);
    this.presence(session.jid.bareJid(), shared);
    if (!session.available && !session.ended) session.deliver(undefined, shared);
  }

  /** Shows a session that has become available the presence of the account's other resources. */
  presenceOfOwn(session: Session): void {
    for (const other of this.context.registry.bare(session.jid.bare)) {
      if (other !== session && other.presence !== undefined)
        session.deliver(undefined, addressed(other.presence, session.jid.bare));
    }
    for (const entry of this.elsewhere(session.jid.bare)) {
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
        const shared = new Shared(bytes);
        const sender = from?.full ?? this.domain;
        // Elsewhere it may have ended meanwhile, and the message then is for whom its sender meant it.
        const envelope: Envelope = { to: jid.full, kind: 'message', from: sender, type };
        if (stanza.attr('to') === jid.full && this.toFull(jid, shared, envelope)) continue;
        const refused = this.message(jid.bareJid(), type, shared, sender);
        if (refused === undefined) continue;
        this.bounceTo(from, 'message', stanza.attr('id'), jid.full, refused);
      } else if (stanza.name === 'iq' && (type === TYPE.get || type === TYPE.set)) {
        this.bounceTo(from, 'iq', stanza.attr('id'), jid.full, refuse('service-unavailable'));
      } else {
        count(counters.drops, 'session_ended');
      }
    }
  }

  private bounceTo(
    to: Jid | undefined,
    name: StanzaName,
    id: string | undefined,
    from: string,
    error: StanzaError,
  ): void {
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

  private received(body: Buffer): void {
    const length = body.readUInt16LE(0);
    const envelope = JSON.parse(body.toString('utf8', 2, 2 + length)) as Envelope;
    const session = this.context.registry.full(envelope.to);
    if (envelope.kind === 'probe') {
      const asker = this.context.jids.get(envelope.from!);
      if (session?.presence !== undefined && asker !== undefined) {
        this.presence(asker, addressed(session.presence, asker.bare));
      }
      return;
    }
    if (envelope.kind === 'broadcast' && session?.available !== true) return;
    // The bus lends the bytes for the call only.
    const shared = new Shared(Buffer.from(body.subarray(2 + length)));
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
    if (envelope.kind !== 'message') return;
    if (envelope.type === TYPE.error || envelope.type === TYPE.headline) {
      count(counters.drops, 'session_ended');
      return;
    }
    // It left while the message was on its way: as if the message came now, for whom its sender meant it.
    const stanza = this.context.tree.parse(shared.bytes, { '': 'jabber:client' });
    const to = this.context.jids.get(stanza.attr('to') ?? envelope.to);
    if (to === undefined) return;
    const refused = this.message(to, envelope.type ?? TYPE.normal, shared, envelope.from ?? this.domain);
    if (refused !== undefined) this.bounceTo(from, 'message', stanza.attr('id'), to.full, refused);
  }
}

const NOTHING = Buffer.alloc(0);

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
