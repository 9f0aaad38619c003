import { count, counters } from '../metrics/counters.js';
import type { Jid } from '../jid/jid.js';
import type { Next } from '../stream/connection.js';
import { Shared } from '../stream/outbox.js';
import type { Element } from '../xml/element.js';
import { E, TYPE } from '../xml/envelope.js';
import { escapeAttr } from '../xml/escape.js';
import { refuse } from '../stream/stanza-error.js';
import { bounce, stamped, text } from './inbound.js';
import type { Session } from './session.js';

/** Most addresses that one session may keep directed presence with. */
const DIRECTED_MAX = 1000;

/** The presence in the envelope (RFC 6121 §4). */
export function presence(session: Session): Next {
  const { context } = session;
  const type = context.scanner.env[E.typeCode]!;
  const to = text(session, E.to);
  if (to !== undefined) return directed(session, type, to);
  if (type === TYPE.none) return available(session);
  if (type === TYPE.unavailable) return unavailable(session, new Shared(stamped(session)));
  return type === TYPE.error ? undefined : bounce(session, 'presence', type, to, refuse('bad-request'));
}

/** Initial presence, or a change of it (RFC 6121 §4.2, §4.4). */
function available(session: Session): Next {
  const { context } = session;
  const { env } = context.scanner;
  const initial = !session.available;
  const before = session.priority;
  session.priority = env[E.childCount] === 0 ? 0 : priorityOf(session.tree());
  session.available = true;
  session.presence = new Shared(stamped(session));
  // Whoever sees the presence may rely on it: every worker knows it by then.
  const known = initial || session.priority !== before ? context.directory.update(session.entry()) : undefined;
  return known === undefined ? shown(session, initial) : known.then(() => shown(session, initial));
}

function shown(session: Session, initial: boolean): Promise<undefined> | undefined {
  const { context, presence } = session;
  // It may have ended, or moved, while the directory was told.
  if (presence === undefined) return undefined;
  // An entity is implicitly subscribed to its own presence (RFC 6121 §4.2.2).
  const told = context.router.presenceToOwn(session, presence);
  const seen = initial ? context.router.presenceOfOwn(session) : undefined;
  let wait: Promise<unknown> | undefined = seen ?? told;
  // What the client asks next is asked by one whom services reach already: whoever looks for what it missed finds all that was before.
  for (const watcher of context.watchers) {
    const reached = watcher.sessionAvailable?.(session);
    if (reached instanceof Promise) wait = wait === undefined ? reached : Promise.all([wait, reached]);
  }
  return wait?.then(nothing);
}

function nothing(): undefined {
  return undefined;
}

/** -128 to 127, 0 where none or nonsense is given (RFC 6121 §4.7.2.3). */
function priorityOf(stanza: Element): number {
  const value = stanza.child('priority')?.text().trim();
  if (value === undefined || !/^[+-]?\d{1,3}$/.test(value)) return 0;
  return Math.max(-128, Math.min(127, Number(value)));
}

/** The client says that it is gone for others (RFC 6121 §4.5.2). */
function unavailable(session: Session, stanza: Shared): Promise<undefined> | undefined {
  const { context } = session;
  tellDirected(session, stanza);
  if (!session.available) return undefined;
  session.available = false;
  session.presence = undefined;
  const told = context.router.presenceToOwn(session, stanza);
  void context.directory.update(session.entry());
  for (const watcher of context.watchers) watcher.sessionUnavailable?.(session);
  return told;
}

/** The session ended without a word: say it for the client (RFC 6121 §4.5.3). */
export function leave(session: Session): void {
  if (!session.available && session.directed === undefined) return;
  void unavailable(session, absence(session.jid));
}

/** What is said for a client that can say nothing. */
export function absence({ full }: Jid): Shared {
  return new Shared(Buffer.from(`<presence from='${escapeAttr(full)}' type='unavailable'/>`));
}

/** Directed presence (RFC 6121 §4.6): passed on as it is, and remembered so that its end can be told. */
function directed(session: Session, type: number, to: string): Next {
  const { context } = session;
  const jid = context.jids.get(to);
  if (jid === undefined) {
    bounce(session, 'presence', type, to, refuse('jid-malformed'));
    return undefined;
  }
  if (jid.domain !== context.config.domain) {
    if (!context.services.has(jid.domain)) bounce(session, 'presence', type, to, refuse('remote-server-not-found'));
    return undefined;
  }
  if (jid.local === '') return undefined;
  if (type === TYPE.none) {
    if ((session.directed?.size ?? 0) >= DIRECTED_MAX && !session.directed!.has(jid.full)) {
      bounce(session, 'presence', type, to, refuse('policy-violation', { text: 'too many directed presences' }));
      return undefined;
    }
    (session.directed ??= new Set()).add(jid.full);
  } else if (type === TYPE.unavailable) {
    session.directed?.delete(jid.full);
  } else if (type === TYPE.unknown) {
    bounce(session, 'presence', type, to, refuse('bad-request'));
    return undefined;
  } else if (type !== TYPE.error) {
    // Subscriptions need a roster; without one every contact is unknown, which is not told (RFC 6121 §8.5.1).
    count(counters.drops, 'ignored');
    return undefined;
  }
  return context.router.presence(jid, new Shared(stamped(session)));
}

function tellDirected(session: Session, stanza: Shared): void {
  const { directed, context } = session;
  if (directed === undefined) return;
  session.directed = undefined;
  for (const to of directed) {
    const jid = context.jids.get(to);
    // Own resources hear of it by the broadcast.
    if (jid !== undefined && !(session.available && jid.bare === session.jid.bare))
      void context.router.presence(jid, addressed(stanza, to));
  }
}

/** The same presence with a `to`. */
export function addressed(stanza: Shared, to: string): Shared {
  const name = '<presence'.length;
  return new Shared(
    Buffer.concat([
      stanza.bytes.subarray(0, name),
      Buffer.from(` to='${escapeAttr(to)}'`),
      stanza.bytes.subarray(name),
    ]),
  );
}
