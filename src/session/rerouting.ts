import type { Entries } from '../cluster/directory.js';
import type { Jid, JidCache } from '../jid/jid.js';
import { counters, count } from '../metrics/counters.js';
import { Shared, type Copies } from '../stream/outbox.js';
import { refuse } from '../stream/stanza-error.js';
import { NS_DELAY, delay, withChild } from '../xml/delay.js';
import type { Element } from '../xml/element.js';
import { TYPE } from '../xml/envelope.js';
import type { TreeBuilder } from '../xml/tree.js';
import { errorStanza, type StanzaName } from './inbound.js';
import type { Reach } from './reach.js';
import type { Registry } from './registry.js';
import { opened, returnable, typeOf, when, type Envelope } from './routed.js';
import type { Eventually, Refusal } from './router.js';

/** What marks a message as a notification, whatever its type (XEP-0060 §7.1.2). */
const NS_EVENT = 'http://jabber.org/protocol/pubsub#event';
/** So many messages of which there were copies are remembered to be routed anew. */
const ROUTED_MAX = 10_000;

/** Who gets a message, as the router says. */
interface Rules {
  readonly domain: string;
  isLocal(jid: Jid): boolean;
  message(to: Jid, type: number, shared: Shared, from: string): Eventually<Refusal>;
  messageTo(to: Jid, type: number, shared: Shared, from: string, entries: Entries): Refusal;
}

/** Stanzas whose session is not there any more find another way, or go back to their senders. */
export class Rerouting {
  /** Messages that several sessions got, by their keys: of each only the first copy finds another way. */
  private readonly routed = new Set<string>();

  constructor(
    private readonly rules: Rules,
    private readonly reach: Reach,
    private readonly context: { readonly registry: Registry; readonly jids: JidCache; readonly tree: TreeBuilder },
  ) {}

  /**
   * What an ended session was not sent, or did not acknowledge (XEP-0198 §4), finds another way: messages as if they had just come, for
   * who has the session's resource now or else for the account, requests are answered with an error; notifications and presence
   * are out of date by now.
   */
  reroute(jid: Jid, stanzas: Iterable<Shared>): void {
    const { tree, jids } = this.context;
    for (const shared of stanzas) {
      const stanza = tree.parse(shared.bytes, { '': 'jabber:client' });
      const from = jids.get(stanza.attr('from') ?? this.rules.domain);
      const type = typeOf(stanza);
      const outOfDate = type === TYPE.headline || type === TYPE.error || stanza.child('event', NS_EVENT) !== undefined;
      if (stanza.name === 'message' && !outOfDate) {
        // Elsewhere it may have ended meanwhile, and the message then is for whom its sender meant it.
        const late = this.late(shared, stanza);
        const refused = this.again(jid, stanza.attr('to') === jid.full, late, type, from?.full);
        when(refused, (error) => this.bounceTo(from, 'message', stanza.attr('id'), jid.full, error));
      } else if (stanza.name === 'iq' && (type === TYPE.get || type === TYPE.set)) {
        this.bounceTo(from, 'iq', stanza.attr('id'), jid.full, refuse('service-unavailable'));
      } else {
        count(counters.drops, 'session_ended');
      }
    }
  }

  /** The same with the time at which it should have been delivered (XEP-0198 §4, XEP-0203), unless it has one. */
  private late({ bytes, copies, since = Date.now() }: Shared, stanza: Element): Shared {
    const timed = stanza.child('delay', NS_DELAY) !== undefined;
    const late = timed ? bytes : withChild(bytes, delay(this.rules.domain, since));
    return new Shared(late, undefined, false, copies, since);
  }

  /** A message for a resource that had left: for who has it now, if it was meant for the resource, or else for the account. */
  private again(jid: Jid, full: boolean, shared: Shared, type: number, from = this.rules.domain): Eventually<Refusal> {
    if (full && this.reach.hereAndNow(jid, shared)) return undefined;
    const route = (entries: Entries): Refusal => {
      if (shared.copies !== undefined) return this.copy(jid, jid.bareJid(), type, shared, shared.copies, from, entries);
      const envelope: Envelope = { to: jid.full, kind: 'message', from, type };
      if (full && this.reach.among(jid, shared, envelope, entries)) return undefined;
      return this.rules.messageTo(jid.bareJid(), type, shared, from, entries);
    };
    return this.after(jid.bare, route);
  }

  bounceTo(to: Jid | undefined, name: StanzaName, id: string | undefined, from: string, error: Refusal): void {
    if (error === undefined) return;
    if (to === undefined || !this.rules.isLocal(to) || to.resource === '') {
      count(counters.drops, 'undeliverable');
      return;
    }
    const bytes = Buffer.from(errorStanza(name, { id, from, to: to.full }, error));
    this.reach.toFull(to, new Shared(bytes), { to: to.full, kind: name === 'iq' ? 'iq' : 'message', type: TYPE.error });
  }

  /**
   * A stanza for a worker that has died, or to which the way was interrupted: it was not delivered as far as is known (see
   * `onUndelivered` in cluster/bus.ts). What one sender sent comes back in order, before anything else of it is routed.
   */
  undelivered(body: Buffer, lives: boolean): void {
    const { envelope, stanza } = opened(body);
    const from = envelope.from === undefined ? undefined : this.context.jids.get(envelope.from);
    const error = lives
      ? refuse('internal-server-error', { type: 'wait', text: 'the way to the recipient was interrupted' })
      : refuse('service-unavailable');
    if (envelope.kind === 'request') return this.bounceTo(from, 'iq', envelope.id, envelope.to, error);
    if (envelope.kind !== 'message') return count(counters.drops, 'undelivered');
    const shared = new Shared(Buffer.from(stanza), undefined, false, envelope.copies);
    if (!lives) return this.anew(envelope, shared, from);
    if (envelope.copies !== undefined || !returnable(envelope.type)) return count(counters.drops, 'undelivered');
    const { id, to } = this.addressing(envelope, shared);
    if (to !== undefined) this.bounceTo(from, 'message', id, to.full, error);
  }

  /** A message whose resource is not there: as if it came now, for whom its sender meant it (RFC 6121 §8.5.3.2). */
  anew(envelope: Envelope, shared: Shared, from: Jid | undefined): void {
    const { copies, type = TYPE.normal } = envelope;
    const { id, to } = this.addressing(envelope, shared);
    const jid = this.context.jids.get(envelope.to);
    if (to === undefined || jid === undefined || !returnable(type)) return count(counters.drops, 'session_ended');
    const sender = envelope.from ?? this.rules.domain;
    const refused =
      copies === undefined
        ? this.rules.message(to, type, shared, sender)
        : this.after(to.bare, (entries) => this.copy(jid, to, type, shared, copies, sender, entries));
    when(refused, (error) => this.bounceTo(from, 'message', id, to.full, error));
  }

  private after(bare: string, route: (entries: Entries) => Refusal): Eventually<Refusal> {
    const entries = this.reach.lookups.of(bare);
    return entries instanceof Promise ? entries.then(route) : route(entries);
  }

  /**
   * A copy of a message that others of the account got, too: as long as one of them has it, it is for nobody but who has the resource
   * now. Else one of the copies is routed as if it came now.
   */
  private copy(
    jid: Jid,
    to: Jid,
    type: number,
    shared: Shared,
    copies: Copies,
    from: string,
    entries: Entries,
  ): Refusal {
    if (this.has(jid.bare, copies, entries)) {
      if (this.reach.among(jid, shared, { to: jid.full, kind: 'message', from, type, copies }, entries))
        return undefined;
    } else if (!this.routed.has(copies.key)) {
      if (this.routed.size >= ROUTED_MAX) this.routed.delete(this.routed.keys().next().value!);
      this.routed.add(copies.key);
      return this.rules.messageTo(to, type, new Shared(shared.bytes), from, entries);
    }
    count(counters.drops, 'session_ended');
    return undefined;
  }

  /** Whether one of the sessions that got a message is still there. */
  has(bare: string, { sessions }: Copies, entries: Entries): boolean {
    const named = ({ id }: { id: string }): boolean => sessions.includes(id);
    return entries.some(named) || this.context.registry.bare(bare).some(named);
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
