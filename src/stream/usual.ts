import { E, FLAG, KIND, ROW, TYPE } from '../xml/envelope.js';
import type { Scanner } from '../xml/scanner.js';

/*
 * Every login sends the same three elements, and nearly every client writes them alike. Those are read from their bytes, which
 * the scanner has found to be well-formed; whoever writes them in another way gets a tree.
 */

/** Longer ones are nothing usual. */
const LONGEST = 2048;
const ODD = FLAG.escaped | FLAG.nonAscii | FLAG.prefixedRoot | FLAG.childOverflow;

const SASL_NS = 'urn:ietf:params:xml:ns:xmpp-sasl';
const AUTH = new RegExp(
  `^<auth (?:xmlns=(["'])${SASL_NS}\\1 mechanism=(["'])([A-Z0-9-]+)\\2|mechanism=(["'])([A-Z0-9-]+)\\4 xmlns=(["'])${SASL_NS}\\6)>([A-Za-z0-9+/=]*)</auth>$`,
);
const RESPONSE = new RegExp(`^<response xmlns=(["'])${SASL_NS}\\1>([A-Za-z0-9+/=]*)</response>$`);
const BIND =
  /^<bind xmlns=(["'])urn:ietf:params:xml:ns:xmpp-bind\1(?:\/>|>(?:<resource>([ -%'-;=?-~]*)<\/resource>)?<\/bind>)$/;

/** `<auth/>`, or `<response/>` without a mechanism (RFC 6120 §6.4). */
export interface SaslElement {
  mechanism: string | undefined;
  text: string;
}

/** The SASL element in the envelope; undefined when it is another one or needs a tree. */
export function usualSasl({ env, bytes }: Scanner): SaslElement | undefined {
  const start = env[E.start]!;
  const end = env[E.end]!;
  if (env[E.kind] !== KIND.other || end - start > LONGEST) return undefined;
  const element = bytes.toString('latin1', start, end);
  const auth = AUTH.exec(element);
  if (auth !== null) return { mechanism: auth[3] ?? auth[5], text: auth[7]! };
  const response = RESPONSE.exec(element);
  return response === null ? undefined : { mechanism: undefined, text: response[2]! };
}

/** A request to bind a resource (RFC 6120 §7.6, §7.7). */
export interface BindRequest {
  id: string;
  /** Undefined where the server shall choose. */
  resource: string | undefined;
}

/** The request in the envelope; undefined when it is something else or needs a tree. */
export function usualBind({ env, bytes }: Scanner): BindRequest | undefined {
  const idEnd = env[E.idEnd]!;
  if (env[E.kind] !== KIND.iq || env[E.typeCode] !== TYPE.set || idEnd === 0) return undefined;
  if ((env[E.flags]! & ODD) !== 0 || env[E.childCount] !== 1) return undefined;
  const start = env[E.child + ROW.start]!;
  const end = env[E.child + ROW.end]!;
  if (end - start > LONGEST) return undefined;
  const match = BIND.exec(bytes.toString('latin1', start, end));
  if (match === null) return undefined;
  // An empty resource is none.
  return { id: bytes.toString('latin1', env[E.id]!, idEnd), resource: match[2] || undefined };
}
