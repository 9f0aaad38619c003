// Well-known strings as bytes, so that names and namespaces are compared by 16 bytes at a time.
import {
  NS_CLIENT,
  NS_FRAMING,
  NS_NONE,
  NS_OTHER,
  NS_PUBSUB,
  NS_SM,
  NS_XML,
  NS_XMLNS,
  WORDS,
  XML_BINDING,
} from './layout';
import { same, sameValue } from './chars';

const SLOT: usize = 64; // length (4 bytes), bytes at 16
const NAMESPACES: usize = WORDS;
const TYPES: usize = WORDS + SLOT * 16;
const TYPE_COUNT: i32 = 14;
const TYPE_UNKNOWN: i32 = 15;

export const W_PUBSUB: usize = WORDS + SLOT * 40;
export const W_PUBLISH: usize = WORDS + SLOT * 41;
export const W_ITEM: usize = WORDS + SLOT * 42;
export const W_MESSAGE: usize = WORDS + SLOT * 44;
export const W_PRESENCE: usize = WORDS + SLOT * 45;
export const W_IQ: usize = WORDS + SLOT * 46;
export const W_OPEN: usize = WORDS + SLOT * 47;
export const W_CLOSE: usize = WORDS + SLOT * 48;
export const W_R: usize = WORDS + SLOT * 49;
export const W_A: usize = WORDS + SLOT * 50;
export const W_CDATA: usize = WORDS + SLOT * 51;
const W_XML: usize = WORDS + SLOT * 52;
export const W_VERSION: usize = WORDS + SLOT * 53;
export const W_ENCODING: usize = WORDS + SLOT * 54;
export const W_STANDALONE: usize = WORDS + SLOT * 55;

function put(slot: usize, text: string): void {
  store<u32>(slot, text.length);
  for (let i = 0; i < text.length; i++) store<u8>(slot + i, <u8>text.charCodeAt(i), 16);
}

export function initWords(): void {
  put(NAMESPACES + SLOT * NS_CLIENT, 'jabber:client');
  put(NAMESPACES + SLOT * NS_PUBSUB, 'http://jabber.org/protocol/pubsub');
  put(NAMESPACES + SLOT * NS_SM, 'urn:xmpp:sm:3');
  put(NAMESPACES + SLOT * NS_FRAMING, 'urn:ietf:params:xml:ns:xmpp-framing');
  put(NAMESPACES + SLOT * NS_NONE, '');
  put(NAMESPACES + SLOT * NS_XML, 'http://www.w3.org/XML/1998/namespace');
  put(NAMESPACES + SLOT * NS_XMLNS, 'http://www.w3.org/2000/xmlns/');
  // In the order of TYPE in envelope.ts.
  put(TYPES + SLOT * 1, 'get');
  put(TYPES + SLOT * 2, 'set');
  put(TYPES + SLOT * 3, 'result');
  put(TYPES + SLOT * 4, 'error');
  put(TYPES + SLOT * 5, 'chat');
  put(TYPES + SLOT * 6, 'normal');
  put(TYPES + SLOT * 7, 'headline');
  put(TYPES + SLOT * 8, 'groupchat');
  put(TYPES + SLOT * 9, 'unavailable');
  put(TYPES + SLOT * 10, 'subscribe');
  put(TYPES + SLOT * 11, 'subscribed');
  put(TYPES + SLOT * 12, 'unsubscribe');
  put(TYPES + SLOT * 13, 'unsubscribed');
  put(TYPES + SLOT * 14, 'probe');
  put(W_PUBSUB, 'pubsub');
  put(W_PUBLISH, 'publish');
  put(W_ITEM, 'item');
  put(W_MESSAGE, 'message');
  put(W_PRESENCE, 'presence');
  put(W_IQ, 'iq');
  put(W_OPEN, 'open');
  put(W_CLOSE, 'close');
  put(W_R, 'r');
  put(W_A, 'a');
  put(W_CDATA, '[CDATA[');
  put(W_XML, 'xml');
  put(W_VERSION, 'version');
  put(W_ENCODING, 'encoding');
  put(W_STANDALONE, 'standalone');
  const xml = NAMESPACES + SLOT * NS_XML;
  store<usize>(XML_BINDING, W_XML + 16);
  store<u32>(XML_BINDING, 3, 4);
  store<usize>(XML_BINDING, xml + 16, 8);
  store<usize>(XML_BINDING, xml + 16 + load<u32>(xml), 12);
  store<i32>(XML_BINDING, NS_XML, 16);
}

/** Where "no namespace" lies: an empty range that is not 0. */
export function noNamespace(): usize {
  return NAMESPACES + SLOT * NS_NONE + 16;
}

export function lengthOf(word: usize): u32 {
  return load<u32>(word);
}

/** Whether [s, e) is exactly the word. */
export function is(word: usize, s: usize, e: usize): bool {
  const n = load<u32>(word);
  return e - s == n && same(s, word + 16, n);
}

/** The number of a namespace name; `escaped` when it is written with references or white space. */
export function namespaceNumber(s: usize, e: usize, escaped: bool): i32 {
  for (let i = NS_CLIENT; i <= NS_XMLNS; i++) {
    const word = NAMESPACES + SLOT * i;
    if (escaped ? sameValue(s, e, word + 16, word + 16 + load<u32>(word)) : is(word, s, e)) return i;
  }
  return NS_OTHER;
}

/** TYPE of a `type` attribute's value. */
export function typeCode(s: usize, e: usize): i32 {
  for (let i = 1; i <= TYPE_COUNT; i++) if (is(TYPES + SLOT * i, s, e)) return i;
  return TYPE_UNKNOWN;
}
