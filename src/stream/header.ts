import { E } from '../xml/envelope.js';
import { decodeReferences, escapeAttr } from '../xml/escape.js';
import type { Scanner } from '../xml/scanner.js';
import type { StreamFailure } from './errors.js';
import { randomId } from './ids.js';

export const NS_STREAM = 'http://etherx.jabber.org/streams';
export const NS_CLIENT = 'jabber:client';
export const NS_FRAMING = 'urn:ietf:params:xml:ns:xmpp-framing';

/** The declarations of nearly every stream header. */
export const USUAL_SCOPE: Record<string, string> = { '': NS_CLIENT, stream: NS_STREAM };

/** What a peer's stream header says (RFC 6120 §4.2, §4.7). */
export interface Header {
  /** Its names are wrong, and the rest does not count. */
  readonly fault: StreamFailure | undefined;
  /** The namespaces that it declares, by prefix; '' is the default one. */
  readonly scope: Record<string, string>;
  readonly to: string | undefined;
  readonly from: string | undefined;
  /** The version is ours. */
  readonly supported: boolean;
  /** Empty when there is none. */
  readonly lang: string;
}

/**
 * Headers by their bytes: the clients of one fleet send the same over and over. Those that name their sender are as many as
 * there are accounts, and are not kept.
 */
const known = new Map<string, Header>();
const KNOWN_MAX = 64;
const KNOWN_BYTES = 1024;

/** The stream header in the scanner's envelope. */
export function readHeader(scanner: Scanner, handle: number): Header {
  const { env, bytes } = scanner;
  const start = env[E.start]!;
  const end = env[E.end]!;
  if (env[E.fromEnd] !== 0 || end - start > KNOWN_BYTES) return parseHeader(scanner, handle);
  const text = bytes.toString('latin1', start, end);
  let header = known.get(text);
  if (header === undefined) {
    header = parseHeader(scanner, handle);
    if (known.size >= KNOWN_MAX) known.clear();
    known.set(text, header);
  }
  return header;
}

function parseHeader(scanner: Scanner, handle: number): Header {
  const { env, bytes } = scanner;
  const value = (start: number, end: number): string | undefined =>
    end === 0 ? undefined : decodeReferences(bytes.toString('utf8', start, end));
  const declared = scanner.namespaces(handle);
  const root = bytes.toString('utf8', env[E.start]! + 1, env[E.nameEnd]!);
  const usual = Object.keys(declared).length === 2 && declared[''] === NS_CLIENT && declared['stream'] === NS_STREAM;
  return {
    fault: headerFault(root, value(env[E.rootNs]!, env[E.rootNsEnd]!) ?? '', declared['']),
    scope: usual ? USUAL_SCOPE : declared,
    to: value(env[E.to]!, env[E.toEnd]!),
    from: value(env[E.from]!, env[E.fromEnd]!),
    supported: isSupported(value(env[E.version]!, env[E.versionEnd]!)),
    lang: value(env[E.lang]!, env[E.langEnd]!) ?? '',
  };
}

/** Versions of the same major number go together (RFC 6120 §4.7.5). */
export function isSupported(version: string | undefined): boolean {
  return version !== undefined && Number.parseInt(version, 10) === 1;
}

/**
 * What is wrong with the names of a stream header: its qualified name, its namespace, and the default namespace that it
 * declares. Content may be in the default namespace or name its own (RFC 6120 §4.8.2).
 */
function headerFault(root: string, namespace: string, content: string | undefined): StreamFailure | undefined {
  if (namespace !== NS_STREAM) return { condition: 'invalid-namespace', text: `the root is not in ${NS_STREAM}` };
  if (root !== 'stream' && !root.endsWith(':stream'))
    return { condition: 'bad-format', text: 'a stream header is needed' };
  if (root !== 'stream' && root !== 'stream:stream') return { condition: 'bad-namespace-prefix', text: 'use stream:' };
  if (content !== undefined && content !== NS_CLIENT && content !== NS_STREAM) {
    return { condition: 'invalid-namespace', text: `the default namespace of a client stream is ${NS_CLIENT}` };
  }
  return undefined;
}

/** Our own header, with a fresh id each time, to whom the peer says it is (RFC 6120 §4.7.2, §4.7.3; RFC 7395 §3.4). */
export function ownHeader(framed: boolean, domain: string, to: string | undefined): string {
  const addressee = to === undefined ? '' : `to='${escapeAttr(to)}' `;
  const attributes = `${addressee}from='${escapeAttr(domain)}' id='${randomId()}' version='1.0' xml:lang='en'`;
  return framed
    ? `<open xmlns='${NS_FRAMING}' ${attributes}/>`
    : `<?xml version='1.0'?><stream:stream xmlns='${NS_CLIENT}' xmlns:stream='${NS_STREAM}' ${attributes}>`;
}

/** A peer's header as this server would have read it, with the namespaces that it declared. */
export function likeHeader(scope: Readonly<Record<string, string>>): string {
  const root = scope['stream'] === NS_STREAM ? 'stream:stream' : 'stream';
  const declared = Object.entries(scope).map(
    ([prefix, namespace]) => ` xmlns${prefix === '' ? '' : `:${prefix}`}='${escapeAttr(namespace)}'`,
  );
  return `<${root}${declared.join('')} version='1.0'>`;
}

const STREAM_END = Buffer.from('</stream:stream>');
const FRAME_END = Buffer.from(`<close xmlns='${NS_FRAMING}'/>`);

/** What closes our side (RFC 6120 §4.4, RFC 7395 §3.6). */
export function ownEnd(framed: boolean): Buffer {
  return framed ? FRAME_END : STREAM_END;
}
