// One start tag at a time. The data ends in a NUL that no loop here passes, so a tag that is cut off fails like a
// wrong one; `content.ts` then asks `seek.ts` which of the two it was. Nothing outside the attribute table has changed
// by then.
import {
  ATTR,
  ATTR_ENTRY,
  F_ATTRIBUTES,
  F_CHARACTER,
  F_DEPTH,
  F_DUPLICATE,
  F_SYNTAX,
  FLAG_ESCAPED,
  FLAG_NON_ASCII,
  STACK_ENTRY,
} from './layout';
import { NAME_START, classOf, colonAt, fail, isSpace, name, nameStops, reference, same, utf8 } from './chars';
import { KEY_XMLNS, declare, foreignDefault, isDeclaration, resolve, unbind } from './bindings';
import { closed, opened } from './facts';
import * as state from './state';

/** After `special`: what the value contains, as FLAG_ bits. */
let valueFlags: i32 = 0;

/** Bytes that need a look inside an attribute value: the quote, '<', '&', control characters, non-ASCII. */
function valueStops(v: v128, quote: v128): i32 {
  return i8x16.bitmask(
    v128.or(
      v128.or(i8x16.lt_s(v, i8x16.splat(0x20)), i8x16.eq(v, quote)),
      v128.or(i8x16.eq(v, i8x16.splat(0x3c)), i8x16.eq(v, i8x16.splat(0x26))),
    ),
  );
}

/** Passes what stopped the scan of an attribute value at p; 0 when it is forbidden there. */
function special(p: usize): usize {
  let c = <u32>load<u8>(p);
  if (c == 0x26) {
    valueFlags |= FLAG_ESCAPED;
    const next = reference(p, usize.MAX_VALUE);
    return next > 1 ? next : 0;
  }
  if (c < 0x80) {
    if (!isSpace(c)) return fail(c == 0x3c ? F_SYNTAX : F_CHARACTER);
    valueFlags |= FLAG_ESCAPED; // a tab or line end means a space (XML 1.0 §3.3.3)
    return p + 1;
  }
  valueFlags |= FLAG_NON_ASCII;
  do {
    const n = utf8(p, usize.MAX_VALUE);
    if (n <= 0) return 0;
    p += n;
    c = <u32>load<u8>(p);
  } while (c >= 0x80);
  return p;
}

function skipSpace(p: usize): usize {
  while (isSpace(load<u8>(p))) p++;
  return p;
}

/** Whether the attribute at `a` repeats the name of an earlier one. */
function repeated(a: usize, key: u64, length: u32): bool {
  for (let other = ATTR; other < a; other += ATTR_ENTRY) {
    if (load<u64>(other) != key || load<u32>(other, 12) != length) continue;
    if (length <= 8 || same(load<usize>(other, 8), load<usize>(a, 8), length)) return true;
  }
  return false;
}

/** Scans the start tag at p ('<' and a byte that may start a name); gives the address behind its '>', or 0. */
export function startTag(p: usize): usize {
  const n = p + 1;
  let v = v128.load(n);
  let stops = nameStops(v);
  let length = <u32>ctz<i32>(stops | 0x10000);
  let colon: usize = 0;
  if (
    length > 15 ||
    !(classOf(load<u8>(n)) & NAME_START) ||
    load<u8>(n + length) >= 0x80 ||
    i8x16.bitmask(i8x16.eq(v, i8x16.splat(0x3a))) & ((1 << length) - 1)
  ) {
    const e = name(n);
    if (!e) return 0;
    length = <u32>(e - n);
    colon = colonAt;
  }
  let q = n + length;
  let a = ATTR;
  let declares = false;
  let prefixed = false;
  let c = <u32>load<u8>(q);
  let selfClosing = false;
  while (true) {
    if (c == 0x3e) {
      q++;
      break;
    }
    if (c == 0x2f) {
      if (load<u8>(q, 1) != 0x3e) return fail(F_SYNTAX);
      q += 2;
      selfClosing = true;
      break;
    }
    if (!isSpace(c)) return fail(c < 0x20 ? F_CHARACTER : F_SYNTAX);
    const space = q;
    c = load<u8>(++q);
    if (isSpace(c)) {
      q = skipSpace(q + 1);
      c = load<u8>(q);
    }
    if (c == 0x3e || c == 0x2f) continue;
    if (a >= state.attributeEnd) return fail(F_ATTRIBUTES);

    v = v128.load(q);
    stops = nameStops(v);
    let size = <u32>ctz<i32>(stops | 0x10000);
    let colonOffset: u32 = 0;
    if (
      size > 15 ||
      !(classOf(c) & NAME_START) ||
      load<u8>(q + size) >= 0x80 ||
      i8x16.bitmask(i8x16.eq(v, i8x16.splat(0x3a))) & ((1 << size) - 1)
    ) {
      const e = name(q);
      if (!e) return 0;
      size = <u32>(e - q);
      if (colonAt) colonOffset = <u32>(colonAt - q);
    }
    const key = load<u64>(q) & (size < 8 ? ((<u64>1) << (size << 3)) - 1 : u64.MAX_VALUE);
    store<u64>(a, key);
    store<usize>(a, q, 8);
    store<u32>(a, size, 12);
    store<usize>(a, space, 24);
    if (a > ATTR && repeated(a, key, size)) return fail(F_DUPLICATE);
    if (colonOffset) {
      if (isDeclaration(key)) declares = true;
      else prefixed = true;
    } else if (key == KEY_XMLNS) declares = true;

    let e = q + size;
    if (load<u8>(e) != 0x3d) {
      e = skipSpace(e);
      if (load<u8>(e) != 0x3d) return fail(F_SYNTAX);
    }
    c = load<u8>(++e);
    if (isSpace(c)) {
      e = skipSpace(e);
      c = load<u8>(e);
    }
    if (c != 0x27 && c != 0x22) return fail(F_SYNTAX);
    e++;
    store<usize>(a, e, 16);
    const quote = i8x16.splat(<u8>c);
    valueFlags = 0;
    while (true) {
      const m = valueStops(v128.load(e), quote);
      if (!m) {
        e += 16;
        continue;
      }
      e += ctz<i32>(m);
      if (load<u8>(e) == c) break;
      e = special(e);
      if (!e) return 0;
    }
    store<usize>(a, e, 20);
    store<u32>(a, (colonOffset << 2) | (<u32>valueFlags), 28);
    a += ATTR_ENTRY;
    q = e + 1;
    c = load<u8>(q);
  }

  // The tag is whole: from here on a failure is final.
  if (state.top >= state.depthEnd) return fail(F_DEPTH);
  state.tagStart = p;
  state.nameStart = n;
  state.nameEnd = n + length;
  state.localStart = colon ? colon + 1 : n;
  state.attributesTop = a;
  const base = state.nsTop;
  if (declares && !declare()) return 0;
  let ns = state.defaultNs;
  if (colon || prefixed) {
    ns = resolve(colon, prefixed);
    if (!ns) return 0;
  } else if (ns < state.floor) foreignDefault();
  state.selfClosing = selfClosing;
  if (state.top == state.zone) {
    state.tagNs = ns;
    opened(q);
  }
  if (selfClosing) {
    if (state.nsTop != base) unbind(base);
    if (state.top <= state.zone) closed(q);
  } else {
    const entry = state.top;
    store<usize>(entry, n);
    store<u32>(entry, length, 4);
    store<usize>(entry, base, 8);
    state.top = entry + STACK_ENTRY;
  }
  return q;
}
