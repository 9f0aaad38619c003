import { counters, count } from '../metrics/counters.js';
import { E, FLAG, KIND, TYPE } from '../xml/envelope.js';
import { decodeReferences, escapeAttr } from '../xml/escape.js';
import type { Next } from '../stream/connection.js';
import type { StreamFailure } from '../stream/errors.js';
import { Shared } from '../stream/outbox.js';
import type { HotPublish } from './context.js';
import { type StanzaError, refuse } from '../stream/stanza-error.js';
import { iq } from './iq.js';
import { nonza, tooHigh } from './management.js';
import { presence } from './presence.js';
import type { Session } from './session.js';

/** A stanza kind's name on the wire. */
export type StanzaName = 'iq' | 'message' | 'presence';

/** One stanza or nonza of a bound stream lies in the envelope: who is it for? */
export function inbound(session: Session): Next {
  const { env } = session.context.scanner;
  const kind = env[E.kind]!;
  if (kind === KIND.smAnswer) return acknowledged(session, env[E.h]!);
  if (kind === KIND.smRequest) {
    session.sm?.answer(session);
    return undefined;
  }
  if (kind === KIND.other) {
    counters.stanzasIn.other++;
    return nonza(session);
  }
  if ((env[E.flags]! & FLAG.prefixedRoot) !== 0) {
    return { condition: 'bad-namespace-prefix', text: 'stanzas have no prefix (RFC 6120 §4.8.5)' };
  }
  if (env[E.fromEnd] !== 0 && !ownAddress(session)) {
    return { condition: 'invalid-from', text: `this stream speaks for ${session.jid.full}` };
  }
  if (session.sm !== undefined) session.sm.handled = (session.sm.handled + 1) >>> 0;
  switch (kind) {
    case KIND.message:
      counters.stanzasIn.message++;
      return message(session);
    case KIND.iq:
      counters.stanzasIn.iq++;
      return hotPublish(session) ? undefined : iq(session);
    default:
      counters.stanzasIn.presence++;
      return presence(session);
  }
}

function acknowledged(session: Session, h: number): StreamFailure | undefined {
  if (session.sm === undefined) return undefined;
  if (!session.outbox.acknowledge(h >>> 0)) return tooHigh(session, h >>> 0);
  session.context.spool?.acknowledged(session);
  return undefined;
}

// --- reading the envelope ---------------------------------------------------------------------------------------------

/** Text of an envelope range; undefined where the attribute is absent. */
export function text(session: Session, field: number): string | undefined {
  const { env, bytes } = session.context.scanner;
  const end = env[field + 1]!;
  if (end === 0) return undefined;
  const start = env[field]!;
  const flags = env[E.flags]!;
  if ((flags & (FLAG.escaped | FLAG.nonAscii)) === 0) return bytes.toString('latin1', start, end);
  return decodeReferences(bytes.toString('utf8', start, end));
}

/** RFC 6120 §8.1.2.1: `from` may be the full or the bare JID of the session. */
function ownAddress(session: Session): boolean {
  const from = text(session, E.from)!;
  if (from === session.jid.full || from === session.jid.bare) return true;
  const jid = session.context.jids.get(from);
  return jid !== undefined && (jid.full === session.jid.full || jid.full === session.jid.bare);
}

/**
 * The stanza in the envelope as it goes to others: verbatim, with the sender's address stamped on it. Stanzas that lean on
 * their stream's own namespace declarations are written anew.
 */
export function stamped(session: Session): Buffer {
  const { env, bytes } = session.context.scanner;
  if ((env[E.flags]! & FLAG.streamScope) !== 0) {
    const tree = session.tree();
    tree.attrs['from'] = session.jid.full;
    if (session.stampLang !== undefined) tree.attrs['xml:lang'] ??= session.lang;
    return Buffer.from(tree.serialize('jabber:client'));
  }
  const nameEnd = env[E.nameEnd]!;
  const end = env[E.end]!;
  // At most two attributes are cut out: what the client said of `from`, and the namespace that every stream has anyway.
  let cutA = env[E.fromAttr]!;
  let cutAEnd = env[E.fromAttrEnd]!;
  let cutB = env[E.xmlnsAttr]!;
  let cutBEnd = env[E.xmlnsAttrEnd]!;
  if (cutBEnd !== 0 && (cutAEnd === 0 || cutB < cutA)) {
    const swap = cutA;
    const swapEnd = cutAEnd;
    cutA = cutB;
    cutAEnd = cutBEnd;
    cutB = swap;
    cutBEnd = swapEnd;
  }
  const lang = env[E.langEnd] === 0 ? session.stampLang : undefined;
  const stamp = session.stamp;
  const start = env[E.start]!;
  const size = end - start - (cutAEnd - cutA) - (cutBEnd - cutB) + stamp.length + (lang?.length ?? 0);
  const out = Buffer.allocUnsafe(size);
  let at = copy(bytes, out, 0, start, nameEnd);
  out.set(stamp, at);
  at += stamp.length;
  if (lang !== undefined) {
    out.set(lang, at);
    at += lang.length;
  }
  let from = nameEnd;
  if (cutAEnd !== 0) {
    at = copy(bytes, out, at, from, cutA);
    from = cutAEnd;
  }
  if (cutBEnd !== 0) {
    at = copy(bytes, out, at, from, cutB);
    from = cutBEnd;
  }
  copy(bytes, out, at, from, end);
  return out;
}

function copy(from: Buffer, to: Buffer, at: number, start: number, end: number): number {
  if (end > start) from.copy(to, at, start, end);
  return at + end - start;
}

// --- publish on the fast road -----------------------------------------------------------------------------------------

const hot: HotPublish = { id: '', node: '', itemId: undefined, payload: Buffer.alloc(0) };

/** A plain publish of one item with one payload goes to the engine without a tree (XEP-0060 §7.1). */
function hotPublish(session: Session): boolean {
  const { env, bytes } = session.context.scanner;
  if (env[E.nodeEnd] === 0 || env[E.typeCode] !== TYPE.set || env[E.itemCount] !== 1 || env[E.payloadCount] !== 1)
    return false;
  if (env[E.publishOptions] !== 0 || env[E.idEnd] === 0) return false;
  if ((env[E.flags]! & (FLAG.payloadScope | FLAG.streamScope | FLAG.escaped | FLAG.childOverflow)) !== 0) return false;
  const service = session.context.services.get(text(session, E.to) ?? '');
  if (service === undefined) return false;
  if (!alone(bytes, env[E.payload]!, env[E.payloadEnd]!)) return false;
  hot.id = text(session, E.id)!;
  hot.node = text(session, E.node)!;
  hot.itemId = text(session, E.itemId);
  hot.payload = bytes.subarray(env[E.payload]!, env[E.payloadEnd]!);
  return service.publish(session, hot);
}

/** Nothing but white space is beside the payload in its item: neither text nor CDATA (XEP-0060 §7.1.3.6). */
function alone(bytes: Buffer, start: number, end: number): boolean {
  let before = start - 1;
  while (isSpace(bytes[before]!)) before--;
  let after = end;
  while (isSpace(bytes[after]!)) after++;
  return bytes[before] === 0x3e && bytes[before - 1] !== 0x5d && bytes[after] === 0x3c && bytes[after + 1] === 0x2f;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

// --- messages ----------------------------------------------------------------------------------------------------------

function message(session: Session): Next {
  const { context } = session;
  const to = text(session, E.to);
  // Without an address a message is for the sender's own account (RFC 6120 §8.1.1.1).
  const jid = to === undefined ? session.jid.bareJid() : context.jids.get(to);
  const type = context.scanner.env[E.typeCode]!;
  if (jid === undefined) return bounce(session, 'message', type, to, refuse('jid-malformed'));
  if (jid.domain === context.config.domain) {
    if (jid.local === '') return bounce(session, 'message', type, to, refuse('service-unavailable'));
    const id = text(session, E.id);
    const refused = context.router.message(jid, type, new Shared(stamped(session)), session.jid.full);
    if (refused instanceof Promise) return bounceLater(session, 'message', type, to, refused, id);
    return refused === undefined ? undefined : bounce(session, 'message', type, to, refused, id);
  }
  const service = context.services.get(jid.domain);
  if (service === undefined) return bounce(session, 'message', type, to, refuse('remote-server-not-found'));
  // What comes behind it waits (RFC 6120 §10.1).
  return service.handleMessage(session.jid, session.tree()).then(() => undefined);
}

/** Answers with an error if there turns out to be one: the envelope is another stanza's by then. */
export async function bounceLater(
  session: Session,
  name: StanzaName,
  type: number,
  to: string | undefined,
  refused: Promise<StanzaError | undefined>,
  id: string | undefined,
): Promise<undefined> {
  const error = await refused;
  if (error !== undefined && !session.ended) bounce(session, name, type, to, error, id);
}

/** Answers a stanza with an error, unless it is itself an error or an answer (RFC 6120 §8.3.1). */
export function bounce(
  session: Session,
  name: StanzaName,
  type: number,
  to: string | undefined,
  error: StanzaError,
  id = text(session, E.id),
): undefined {
  if (type === TYPE.error || type === TYPE.result) return;
  session.sendBytes(errorStanza(name, { id, from: to ?? session.jid.bare, to: session.jid.full }, error));
}

/** An error stanza (RFC 6120 §8.3), serialised. */
export function errorStanza(
  name: StanzaName,
  address: { id: string | undefined; from: string; to: string },
  error: StanzaError,
): string {
  count(counters.stanzaErrors, error.condition);
  const id = address.id === undefined ? '' : ` id='${escapeAttr(address.id)}'`;
  return `<${name} type='error'${id} from='${escapeAttr(address.from)}' to='${escapeAttr(address.to)}'>${error.toElement().serialize('jabber:client')}</${name}>`;
}
