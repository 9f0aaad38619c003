import { CHILD_MAX, E, ROW } from '../../../src/xml/envelope.js';
import { EVENT, type Scanner, type ScannerLimits } from '../../../src/xml/scanner.js';

export const LIMITS: ScannerLimits = { stanzaBytes: 262_144, depth: 64, attributes: 64 };
export const HEADER =
  "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

const INSIDE = ['nameEnd', 'openEnd', 'to', 'from', 'fromAttr', 'id', 'type', 'xmlnsAttr', 'lang', 'version', 'local']
  .concat(['node', 'item', 'itemId', 'payload'])
  .map((name) => [name, E[name as keyof typeof E], name.endsWith('End') ? 1 : 2] as const);
const NUMBERS = ['kind', 'flags', 'selfClosing', 'typeCode', 'h', 'childCount', 'itemCount', 'payloadCount'] as const;

export interface Seen {
  event: number;
  /** The element's bytes. */
  text: string;
  /** Facts by name: numbers, ranges relative to the element's start, namespace names as text. */
  facts: Record<string, unknown>;
}

export type Outcome = Seen | { event: 4; condition: string; text: string };

export function eventName(event: number): string {
  return Object.entries(EVENT).find(([, number]) => number === event)![0];
}

export function textOf(scanner: Scanner, field: number): string | undefined {
  const end = scanner.env[field + 1]!;
  return end === 0 ? undefined : scanner.bytes.toString('utf8', scanner.env[field]!, end);
}

/** Everything the envelope says, independent of where the stanza lies in memory. */
export function seen(scanner: Scanner, event: number): Outcome {
  if (event === EVENT.error) return { event: 4, ...scanner.error };
  const { env } = scanner;
  const start = env[E.start]!;
  const facts: Record<string, unknown> = {};
  for (const [name, at, words] of INSIDE) {
    const range = Array.from(env.subarray(at, at + words));
    facts[name] = range[words - 1] === 0 ? undefined : range.map((address) => address - start);
  }
  for (const name of NUMBERS) facts[name] = env[E[name]];
  facts['publishOptions'] = env[E.publishOptions];
  facts['rootNs'] = textOf(scanner, E.rootNs);
  facts['children'] = Array.from({ length: Math.min(env[E.childCount]!, CHILD_MAX) }, (_, i) => {
    const at = E.child + ROW.size * i;
    return [
      ...env.subarray(at, at + 4).map((address) => address - start),
      textOf(scanner, at + ROW.nsS) ?? 'jabber:client',
    ];
  });
  return { event, text: scanner.bytes.toString('latin1', start, env[E.end]), facts };
}

/** Feeds the chunks one after the other and tells all that was reported. */
export function play(scanner: Scanner, handle: number, chunks: Iterable<Uint8Array>): Outcome[] {
  const all: Outcome[] = [];
  for (const chunk of chunks) {
    scanner.input.set(chunk, 0);
    let event = scanner.feed(handle, chunk.length);
    while (event !== EVENT.needMore) {
      all.push(seen(scanner, event));
      if (event === EVENT.error) return all;
      event = scanner.next(handle);
    }
  }
  return all;
}

/** `play` on a stream that is opened and closed for it. */
export function playAlone(scanner: Scanner, chunks: Iterable<Uint8Array>, limits = LIMITS): Outcome[] {
  const handle = scanner.open('stream', limits);
  const all = play(scanner, handle, chunks);
  scanner.close(handle);
  return all;
}

export const bytes = (text: string): Buffer => Buffer.from(text);

/** Pieces of at most `size` bytes. */
export function pieces(whole: Uint8Array, size: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < whole.length; at += size) parts.push(whole.subarray(at, at + size));
  return parts;
}

/** The condition that a stream opened with the usual header ends with after `xml`, or the names of the events. */
export function outcome(scanner: Scanner, xml: string | Uint8Array, limits = LIMITS): string {
  const all = playAlone(scanner, [bytes(HEADER), typeof xml === 'string' ? bytes(xml) : xml], limits).slice(1);
  const last = all.at(-1);
  if (last && 'condition' in last) return last.condition;
  return all.map(({ event }) => eventName(event)).join(' ') || 'needMore';
}
