// What the envelope says beyond the bounds of the stanza. The elements of interest form one path from the root down
// (iq > pubsub > publish > item); `zone` is the stack level whose opening and closing elements are looked at next, so
// that any other element costs one comparison.
import {
  ATTR,
  ATTR_ENTRY,
  CHILD_MAX,
  ENV,
  E_CHILD_COUNT,
  E_END,
  E_FLAGS,
  E_FROM,
  E_FROM_ATTR,
  E_H,
  E_ID,
  E_ITEM,
  E_ITEM_COUNT,
  E_ITEM_ID,
  E_KIND,
  E_LANG,
  E_LOCAL,
  E_NAME_END,
  E_NODE,
  E_OPEN_END,
  E_PAYLOAD,
  E_PAYLOAD_COUNT,
  E_PUBLISH_OPTIONS,
  E_ROOT_NS,
  E_SELF_CLOSING,
  E_TO,
  E_TYPE,
  E_TYPE_CODE,
  E_VERSION,
  E_XMLNS_ATTR,
  FLAG_CHILD_OVERFLOW,
  FLAG_ESCAPED,
  FLAG_FRAMING,
  FLAG_PREFIXED_ROOT,
  KIND_IQ,
  KIND_MESSAGE,
  KIND_OTHER,
  KIND_PRESENCE,
  KIND_SM_ANSWER,
  KIND_SM_REQUEST,
  NS_CLIENT,
  NS_FRAMING,
  NS_PUBSUB,
  NS_SM,
  ROWS,
  ROW_BYTES,
  STACK,
} from './layout';
import {
  W_A,
  W_CLOSE,
  W_IQ,
  W_ITEM,
  W_MESSAGE,
  W_OPEN,
  W_PRESENCE,
  W_PUBLISH,
  W_PUBSUB,
  W_R,
  is,
  typeCode,
} from './words';
import { KEY_XMLNS } from './bindings';
import * as state from './state';
import { level } from './state';

// Attribute names as keys (their bytes, little-endian).
const KEY_TO: u64 = 0x6f74;
const KEY_FROM: u64 = 0x6d6f7266;
const KEY_ID: u64 = 0x6469;
const KEY_TYPE: u64 = 0x65707974;
const KEY_NODE: u64 = 0x65646f6e;
const KEY_H: u64 = 0x68;
const KEY_VERSION: u64 = 0x6e6f6973726576;
const KEY_XML_LANG: u64 = 0x676e616c3a6c6d78;

function range(field: usize, s: usize, e: usize): void {
  store<usize>(ENV + field, s);
  store<usize>(ENV + field, e, 4);
}

function flag(bits: i32): void {
  store<i32>(ENV, load<i32>(ENV, E_FLAGS) | bits, E_FLAGS);
}

function count(field: usize): i32 {
  const n = load<i32>(ENV + field) + 1;
  store<i32>(ENV + field, n);
  return n;
}

/** The value of an attribute as a fact: also tells whether it has references or bytes beyond ASCII. */
function value(field: usize, attribute: usize): void {
  range(field, load<usize>(attribute, 16), load<usize>(attribute, 20));
  flag(load<u32>(attribute, 28) & 3);
}

/** The whole attribute with the white space before it. */
function whole(field: usize, attribute: usize): void {
  range(field, load<usize>(attribute, 24), load<usize>(attribute, 20) + 1);
}

/** Decimal u32 in [s, e); false when it is anything else. */
function parseH(s: usize, e: usize): bool {
  if (s == e || e - s > 10) return false;
  let n: u64 = 0;
  for (; s < e; s++) {
    const d = <u64>load<u8>(s) - 0x30;
    if (d > 9) return false;
    n = n * 10 + d;
  }
  if (n > 0xffffffff) return false;
  store<u32>(ENV, <u32>n, E_H);
  return true;
}

function kindOf(namespace: i32, counted: bool): i32 {
  const s = state.localStart;
  const e = state.nameEnd;
  if (namespace == NS_CLIENT) {
    if (is(W_IQ, s, e)) return KIND_IQ;
    if (is(W_MESSAGE, s, e)) return KIND_MESSAGE;
    if (is(W_PRESENCE, s, e)) return KIND_PRESENCE;
  } else if (namespace == NS_SM) {
    if (is(W_R, s, e)) return KIND_SM_REQUEST;
    if (counted && is(W_A, s, e)) return KIND_SM_ANSWER;
  } else if (namespace == NS_FRAMING) {
    if (is(W_OPEN, s, e) || is(W_CLOSE, s, e)) flag(FLAG_FRAMING);
  }
  return KIND_OTHER;
}

function rootOpened(tagEnd: usize): void {
  const ns = state.tagNs;
  store<usize>(ENV, state.tagStart, 0);
  store<usize>(ENV, state.nameEnd, E_NAME_END);
  store<usize>(ENV, tagEnd, E_OPEN_END);
  store<i32>(ENV, state.selfClosing, E_SELF_CLOSING);
  range(E_ROOT_NS, load<usize>(ns, 8), load<usize>(ns, 12));
  range(E_LOCAL, state.localStart, state.nameEnd);
  if (load<u32>(ns, 24)) flag(FLAG_ESCAPED);
  if (state.localStart != state.nameStart) flag(FLAG_PREFIXED_ROOT);
  let counted = false;
  for (let a = ATTR; a < state.attributesTop; a += ATTR_ENTRY) {
    const key = load<u64>(a);
    if (key == KEY_TO) value(E_TO, a);
    else if (key == KEY_ID) value(E_ID, a);
    else if (key == KEY_TYPE) {
      value(E_TYPE, a);
      store<i32>(ENV, typeCode(load<usize>(a, 16), load<usize>(a, 20)), E_TYPE_CODE);
    } else if (key == KEY_FROM) {
      value(E_FROM, a);
      whole(E_FROM_ATTR, a);
    } else if (key == KEY_XMLNS) whole(E_XMLNS_ATTR, a);
    else if (key == KEY_VERSION) value(E_VERSION, a);
    else if (key == KEY_H) counted = parseH(load<usize>(a, 16), load<usize>(a, 20));
    else if (load<u64>(load<usize>(a, 8)) == KEY_XML_LANG && load<u32>(a, 12) == 8) value(E_LANG, a);
  }
  store<i32>(ENV, kindOf(load<i32>(ns, 16), counted), E_KIND);
  state.zone = level(1);
}

function isPubsub(word: usize): bool {
  return load<i32>(state.tagNs, 16) == NS_PUBSUB && is(word, state.localStart, state.nameEnd);
}

function childOpened(): void {
  const n = load<i32>(ENV, E_CHILD_COUNT);
  if (n == CHILD_MAX) {
    flag(FLAG_CHILD_OVERFLOW);
    return;
  }
  const row = ROWS + ROW_BYTES * n;
  const ns = state.tagNs;
  const inherits = load<i32>(ns, 16) == NS_CLIENT;
  store<usize>(row, state.tagStart);
  store<usize>(row, 0, 4);
  store<usize>(row, state.localStart, 8);
  store<usize>(row, state.nameEnd, 12);
  store<usize>(row, inherits ? 0 : load<usize>(ns, 8), 16);
  store<usize>(row, inherits ? 0 : load<usize>(ns, 12), 20);
  if (load<u32>(ns, 24)) flag(FLAG_ESCAPED);
  store<i32>(ENV, n + 1, E_CHILD_COUNT);
  if (n == 0 && load<i32>(ENV, E_KIND) == KIND_IQ && isPubsub(W_PUBSUB)) state.zone = level(2);
}

function attributeFact(key: u64, field: usize): void {
  for (let a = ATTR; a < state.attributesTop; a += ATTR_ENTRY) {
    if (load<u64>(a) == key) value(field, a);
  }
}

function pubsubChildOpened(): void {
  if (state.pubsubChildren++ == 0) {
    if (!isPubsub(W_PUBLISH)) {
      state.zone = level(1);
      return;
    }
    attributeFact(KEY_NODE, E_NODE);
    state.zone = level(3);
  } else store<i32>(ENV, 1, E_PUBLISH_OPTIONS); // publish-options, or something that is no plain publish anyway
}

function itemOpened(): void {
  if (!isPubsub(W_ITEM)) store<i32>(ENV, 1, E_PUBLISH_OPTIONS);
  else if (count(E_ITEM_COUNT) == 1) firstItemOpened();
}

function firstItemOpened(): void {
  store<usize>(ENV, state.tagStart, E_ITEM);
  attributeFact(KEY_ID, E_ITEM_ID);
  state.zone = level(4);
  state.floor = state.nsTop; // what the payload may use without reaching outside
}

/** An element opens at the level of `zone`; the stack does not have it yet. */
export function opened(tagEnd: usize): void {
  const at = state.top;
  if (at == level(1)) childOpened();
  else if (at == level(0)) rootOpened(tagEnd);
  else if (at == level(2)) pubsubChildOpened();
  else if (at == level(3)) itemOpened();
  else if (count(E_PAYLOAD_COUNT) == 1) store<usize>(ENV, state.tagStart, E_PAYLOAD);
}

/** An element at `zone` or above closed at p; the stack does not have it any more. */
export function closed(p: usize): void {
  const at = state.top;
  if (at == level(4)) {
    if (!load<usize>(ENV, E_PAYLOAD + 4)) store<usize>(ENV, p, E_PAYLOAD + 4);
    return;
  }
  if (at == level(3) && state.zone == level(4)) {
    store<usize>(ENV, p, E_ITEM + 4);
    state.floor = state.baseFloor;
  }
  if (at == level(1)) {
    const n = load<i32>(ENV, E_CHILD_COUNT);
    const row = ROWS + ROW_BYTES * (n - 1);
    if (!load<usize>(row, 4)) store<usize>(row, p, 4);
  }
  if (at == STACK) store<usize>(ENV, p, E_END);
  else state.zone = at;
}
