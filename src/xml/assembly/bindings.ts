// Namespace bindings in scope (Namespaces in XML 1.0).
// A binding is 32 bytes: prefix address, prefix length (0: the default namespace), name address, name end, well-known
// number, the default binding that it hides, 1 when the name is written with references.
import {
  ATTR,
  ATTR_ENTRY,
  F_BINDINGS,
  F_DECLARATION,
  F_DUPLICATE,
  F_PREFIX,
  FLAG_PAYLOAD_SCOPE,
  FLAG_STREAM_SCOPE,
  ENV,
  E_FLAGS,
  NSB,
  NSB_END,
  NS_CLIENT,
  NS_ENTRY,
  NS_NONE,
  NS_OTHER,
  NS_XML,
  NS_XMLNS,
  SCOPE_COUNT,
  SCOPE_ENTRIES,
  XML_BINDING,
} from './layout';
import { fail, same, sameValue } from './chars';
import { namespaceNumber } from './words';
import * as state from './state';
import { level } from './state';

export const KEY_XMLNS: u64 = 0x736e6c6d78; // 'xmlns' in an attribute's key
const KEY_XMLNS_COLON: u64 = 0x3a736e6c6d78;
const KEY_PREFIX: u64 = 0xffffffffffff;
/** Marks a key that was replaced by the attribute's binding; no name has a byte of that value. */
const RESOLVED: u64 = 0xff00000000000000;

/** Whether an attribute's key (its first 8 bytes) begins with `xmlns:`. */
export function isDeclaration(key: u64): bool {
  return (key & KEY_PREFIX) == KEY_XMLNS_COLON;
}

function bind(prefix: usize, length: u32, attribute: usize, number: i32): bool {
  const b = state.nsTop;
  if (b >= NSB_END) return fail(F_BINDINGS) != 0;
  store<usize>(b, prefix);
  store<u32>(b, length, 4);
  store<usize>(b, load<usize>(attribute, 16), 8);
  store<usize>(b, load<usize>(attribute, 20), 12);
  store<i32>(b, number, 16);
  store<usize>(b, state.defaultNs, 20);
  store<u32>(b, load<u32>(attribute, 28) & 1, 24);
  if (!length) state.defaultNs = b;
  state.nsTop = b + NS_ENTRY;
  return true;
}

/** Binds what the start tag declares; false when a declaration is forbidden (Namespaces in XML §3). */
export function declare(): bool {
  for (let a = ATTR; a < state.attributesTop; a += ATTR_ENTRY) {
    const key = load<u64>(a);
    const isDefault = key == KEY_XMLNS;
    if (!isDefault && !isDeclaration(key)) continue;
    const number = namespaceNumber(load<usize>(a, 16), load<usize>(a, 20), (load<u32>(a, 28) & 1) != 0);
    if (number == NS_XMLNS) return fail(F_DECLARATION) != 0;
    if (isDefault) {
      if (number == NS_XML) return fail(F_DECLARATION) != 0;
      if (!bind(0, 0, a, number)) return false;
      continue;
    }
    const prefix = load<usize>(a, 8) + 6;
    const length = load<u32>(a, 12) - 6;
    const xml = length == 3 && (load<u32>(prefix) & 0xffffff) == 0x6c6d78;
    if (xml != (number == NS_XML) || number == NS_NONE) return fail(F_DECLARATION) != 0;
    if (length == 5 && (load<u64>(prefix) & 0xffffffffff) == KEY_XMLNS) return fail(F_DECLARATION) != 0;
    if (!xml && !bind(prefix, length, a, number)) return false;
  }
  return true;
}

/** Forgets the bindings from `base` on. */
export function unbind(base: usize): void {
  for (let b = state.nsTop; b > base;) {
    b -= NS_ENTRY;
    if (!load<u32>(b, 4)) state.defaultNs = load<usize>(b, 20);
  }
  state.nsTop = base;
}

function flag(bits: i32): void {
  store<i32>(ENV, load<i32>(ENV, E_FLAGS) | bits, E_FLAGS);
}

/** Whether the first item of a publish is open. */
function inItem(): bool {
  return state.zone == level(4);
}

/** An unprefixed element uses a default namespace bound below `floor`: tells the envelope what that means. */
export function foreignDefault(): void {
  if (state.defaultNs == NSB && load<i32>(NSB, 16) != NS_CLIENT) flag(FLAG_STREAM_SCOPE);
  if (inItem()) flag(FLAG_PAYLOAD_SCOPE);
}

/** The binding of a prefix, or 0. Reports uses of the stream header's bindings and of bindings outside a payload. */
function lookUp(prefix: usize, length: u32): usize {
  for (let b = state.nsTop - NS_ENTRY; b > NSB; b -= NS_ENTRY) {
    if (load<u32>(b, 4) != length || !same(load<usize>(b), prefix, length)) continue;
    if (b < state.floor && inItem()) flag(FLAG_PAYLOAD_SCOPE);
    return b;
  }
  if (length == 3 && (load<u32>(prefix) & 0xffffff) == 0x6c6d78) return XML_BINDING;
  if (state.scope) {
    let b = state.scope + SCOPE_ENTRIES;
    for (let left = load<u32>(state.scope, SCOPE_COUNT); left > 0; left--, b += NS_ENTRY) {
      if (load<u32>(b, 4) != length || !same(load<usize>(b), prefix, length)) continue;
      flag(FLAG_STREAM_SCOPE | (inItem() ? FLAG_PAYLOAD_SCOPE : 0));
      return b;
    }
  }
  return fail(F_PREFIX);
}

function sameNamespace(a: usize, b: usize): bool {
  if (a == b) return true;
  const number = load<i32>(a, 16);
  if (number != load<i32>(b, 16)) return false;
  if (number != NS_OTHER) return true;
  const s = load<usize>(a, 8);
  const e = load<usize>(a, 12);
  const t = load<usize>(b, 8);
  const f = load<usize>(b, 12);
  if (load<u32>(a, 24) | load<u32>(b, 24)) return sameValue(s, e, t, f);
  return e - s == f - t && same(s, t, e - s);
}

/** Binds the prefixes of the tag's attributes; false when one is unbound or two attributes have one expanded name. */
function resolveAttributes(): bool {
  for (let a = ATTR; a < state.attributesTop; a += ATTR_ENTRY) {
    const colon = load<u32>(a, 28) >> 2;
    if (!colon || isDeclaration(load<u64>(a))) continue;
    const binding = lookUp(load<usize>(a, 8), colon);
    if (!binding) return false;
    // The key was needed for the comparison of whole names only: the binding takes its place.
    store<u64>(a, RESOLVED | (<u64>binding));
    const local = load<usize>(a, 8) + colon + 1;
    const length = load<u32>(a, 12) - colon - 1;
    for (let other = ATTR; other < a; other += ATTR_ENTRY) {
      const at = load<u32>(other, 28) >> 2;
      if (!at || isDeclaration(load<u64>(other)) || load<u32>(other, 12) - at - 1 != length) continue;
      if (!same(load<usize>(other, 8) + at + 1, local, length)) continue;
      if (sameNamespace(<usize>load<u64>(other), binding)) return fail(F_DUPLICATE) != 0;
    }
  }
  return true;
}

/** The binding of the tag's own name, after its attributes were resolved; 0 when something is wrong. */
export function resolve(colon: usize, prefixedAttributes: bool): usize {
  if (prefixedAttributes && !resolveAttributes()) return 0;
  if (colon) return lookUp(state.nameStart, <u32>(colon - state.nameStart));
  if (state.defaultNs < state.floor) foreignDefault();
  return state.defaultNs;
}
