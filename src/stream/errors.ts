import { escapeText } from '../xml/escape.js';
import { NS_STREAM } from './header.js';

const NS_STREAMS = 'urn:ietf:params:xml:ns:xmpp-streams';

/** Defined stream error conditions (RFC 6120 §4.9.3) that this server sends. */
export type StreamCondition =
  | 'bad-format'
  | 'bad-namespace-prefix'
  | 'conflict'
  | 'connection-timeout'
  | 'host-unknown'
  | 'improper-addressing'
  | 'internal-server-error'
  | 'invalid-from'
  | 'invalid-namespace'
  | 'invalid-xml'
  | 'not-authorized'
  | 'not-well-formed'
  | 'policy-violation'
  | 'reset'
  | 'resource-constraint'
  | 'restricted-xml'
  | 'see-other-host'
  | 'system-shutdown'
  | 'undefined-condition'
  | 'unsupported-encoding'
  | 'unsupported-stanza-type'
  | 'unsupported-version';

/** A stream that cannot go on: the condition, a sentence for people, and an application's own condition as XML. */
export interface StreamFailure {
  condition: StreamCondition;
  /** Character data of the condition's element. */
  content?: string;
  text?: string;
  application?: string;
}

/** `<stream:error/>` (RFC 6120 §4.9.2); in a framed stream it has to declare its prefix itself (RFC 7395 §3.3.3). */
export function streamError({ condition, content, text, application = '' }: StreamFailure, framed: boolean): string {
  const words = text ? `<text xmlns='${NS_STREAMS}' xml:lang='en'>${escapeText(text)}</text>` : '';
  const namespace = framed ? ` xmlns:stream='${NS_STREAM}'` : '';
  const end = content === undefined ? '/>' : `>${escapeText(content)}</${condition}>`;
  return `<stream:error${namespace}><${condition} xmlns='${NS_STREAMS}'${end}${words}${application}</stream:error>`;
}

const RESUMABLE = new Set<StreamCondition>([
  'connection-timeout',
  'resource-constraint',
  'see-other-host',
  'system-shutdown',
]);

/** Errors after which a client may come back and resume: the connection's trouble, not the session's. */
export function isResumable(condition: StreamCondition): boolean {
  return RESUMABLE.has(condition);
}
