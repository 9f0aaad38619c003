// Characters: classes, UTF-8, names, references (XML 1.0 §2.2, §2.3, §4.1; fifth edition).
// Every window of data ends in a NUL, which is legal nowhere, so no function here looks at where the data ends unless
// it must tell "cut off" from "wrong".
import { CLASS, F_CHARACTER, F_ENCODING, F_ENTITY, F_REFERENCE, F_SYNTAX } from './layout';

export const NAME_START: u8 = 1; // letters and _ ; bytes of a non-ASCII character may start a name
export const NAME: u8 = 2; // … and digits - .
const SPACE: u8 = 4;

/** Longest reference that is looked at; bounds what is scanned again when it arrives byte by byte. */
const REFERENCE_MAX: usize = 64;

/** What is wrong, after a function of the scanner failed; one of the F_ numbers. */
export let fault: i32 = 0;
/** After `name`: address of the colon, or 0. */
export let colonAt: usize = 0;
/** After `reference`, `codePoint` and `normalised`: the character. */
export let character: u32 = 0;

export function fail(code: i32): usize {
  fault = code;
  return 0;
}

export function initClasses(): void {
  for (let c = 0; c < 256; c++) {
    const lower = c | 0x20;
    let k: u8 = 0;
    if ((lower >= 0x61 && lower <= 0x7a && c < 0x80) || c == 0x5f || c >= 0x80) k = NAME_START | NAME;
    else if ((c >= 0x30 && c <= 0x39) || c == 0x2d || c == 0x2e) k = NAME;
    else if (c == 0x20 || c == 0x09 || c == 0x0a || c == 0x0d) k = SPACE;
    store<u8>(CLASS + c, k);
  }
}

export function classOf(c: u32): u8 {
  return load<u8>(CLASS + c);
}

export function isSpace(c: u32): bool {
  return (load<u8>(CLASS + c) & SPACE) != 0;
}

/** Bit i is set when byte i of 16 cannot be part of an ASCII name (the colon can). */
export function nameStops(v: v128): i32 {
  const letter = i8x16.lt_s(i8x16.sub(v128.or(v, i8x16.splat(0x20)), i8x16.splat(-0x1f)), i8x16.splat(-102));
  const figure = i8x16.lt_s(i8x16.sub(v, i8x16.splat(-0x53)), i8x16.splat(-114)); // 0x2d…0x3a: - . / 0-9 :
  const other = v128.or(v128.andnot(figure, i8x16.eq(v, i8x16.splat(0x2f))), i8x16.eq(v, i8x16.splat(0x5f)));
  return i8x16.bitmask(v128.or(letter, other)) ^ 0xffff;
}

/** Whether `n` bytes at a and b are the same. May look at up to 15 bytes behind. */
export function same(a: usize, b: usize, n: usize): bool {
  while (n >= 16) {
    if (v128.any_true(v128.xor(v128.load(a), v128.load(b)))) return false;
    a += 16;
    b += 16;
    n -= 16;
  }
  const mask = (1 << (<i32>n)) - 1;
  return (i8x16.bitmask(i8x16.eq(v128.load(a), v128.load(b))) & mask) == mask;
}

/** Length of the UTF-8 sequence at p (first byte ≥ 0x80), 0 when it is wrong, -1 when it is cut off at `end`. */
export function utf8(p: usize, end: usize): i32 {
  const b0 = <u32>load<u8>(p);
  if (b0 < 0xc2 || b0 > 0xf4) return <i32>fail(F_ENCODING);
  const b1 = <u32>load<u8>(p, 1);
  // Unicode table 3-7: no overlong form, no surrogate, nothing above U+10FFFF.
  let low: u32 = 0x80;
  let high: u32 = 0xbf;
  if (b0 == 0xe0) low = 0xa0;
  else if (b0 == 0xed) high = 0x9f;
  else if (b0 == 0xf0) low = 0x90;
  else if (b0 == 0xf4) high = 0x8f;
  if (b1 < low || b1 > high) return p + 1 >= end ? -1 : <i32>fail(F_ENCODING);
  if (b0 < 0xe0) return 2;
  const b2 = <u32>load<u8>(p, 2);
  if ((b2 & 0xc0) != 0x80) return p + 2 >= end ? -1 : <i32>fail(F_ENCODING);
  if (b0 < 0xf0) {
    if (b0 == 0xef && b1 == 0xbf && b2 >= 0xbe) return <i32>fail(F_CHARACTER); // U+FFFE and U+FFFF
    return 3;
  }
  if ((load<u8>(p, 3) & 0xc0) != 0x80) return p + 3 >= end ? -1 : <i32>fail(F_ENCODING);
  return 4;
}

/** The character of a checked sequence of `length` bytes. */
function codePoint(p: usize, length: i32): u32 {
  const b0 = <u32>load<u8>(p);
  if (length == 1) return b0;
  const b1 = (<u32>load<u8>(p, 1)) & 0x3f;
  if (length == 2) return ((b0 & 0x1f) << 6) | b1;
  const b2 = (<u32>load<u8>(p, 2)) & 0x3f;
  if (length == 3) return ((b0 & 0x0f) << 12) | (b1 << 6) | b2;
  return ((b0 & 0x07) << 18) | (b1 << 12) | (b2 << 6) | ((<u32>load<u8>(p, 3)) & 0x3f);
}

function within(c: u32, from: u32, to: u32): bool {
  return c - from <= to - from;
}

/** NameStartChar above ASCII (XML 1.0 §2.3). */
function startsName(c: u32): bool {
  if (c < 0x370) return c >= 0xc0 && c != 0xd7 && c != 0xf7 && c < 0x300;
  if (c < 0x2000) return c != 0x37e;
  if (c < 0x3001) return within(c, 0x200c, 0x200d) || within(c, 0x2070, 0x218f) || within(c, 0x2c00, 0x2fef);
  return (
    within(c, 0x3001, 0xd7ff) || within(c, 0xf900, 0xfdcf) || within(c, 0xfdf0, 0xfffd) || within(c, 0x10000, 0xeffff)
  );
}

function continuesName(c: u32): bool {
  return startsName(c) || c == 0xb7 || within(c, 0x300, 0x36f) || within(c, 0x203f, 0x2040);
}

/** Scans a QName (Namespaces in XML §4) and gives the address behind it, or 0; `colonAt` tells where its colon is. */
export function name(p: usize): usize {
  colonAt = 0;
  let first = true;
  while (true) {
    const c = <u32>load<u8>(p);
    if (c < 0x80) {
      if (c == 0x3a) {
        if (first || colonAt) return fail(F_SYNTAX);
        colonAt = p++;
        first = true;
        continue;
      }
      if (!(classOf(c) & (first ? NAME_START : NAME))) return first ? fail(F_SYNTAX) : p;
      p++;
    } else {
      const length = utf8(p, usize.MAX_VALUE);
      if (length <= 0) return 0;
      const code = codePoint(p, length);
      if (!(first ? startsName(code) : continuesName(code))) return fail(F_SYNTAX);
      p += length;
    }
    first = false;
  }
}

/** Char (XML 1.0 §2.2). */
function legal(c: u32): bool {
  if (c < 0x20) return c == 0x09 || c == 0x0a || c == 0x0d;
  return c < 0xd800 || within(c, 0xe000, 0xfffd) || within(c, 0x10000, 0x10ffff);
}

function digit(c: u32, hex: bool): u32 {
  if (within(c, 0x30, 0x39)) return c - 0x30;
  if (!hex) return 16;
  c |= 0x20;
  return within(c, 0x61, 0x66) ? c - 0x57 : 16;
}

function numeric(p: usize, end: usize, limit: usize): usize {
  const hex = load<u8>(p) == 0x78;
  if (hex) p++;
  let value: u32 = 0;
  const from = p;
  for (; p < limit; p++) {
    const d = digit(load<u8>(p), hex);
    if (d > 15) break;
    if (value < 0x1000000) value = value * (hex ? 16 : 10) + d;
  }
  if (load<u8>(p) == 0x3b && p > from) {
    if (!legal(value)) return fail(F_CHARACTER);
    character = value;
    return p + 1;
  }
  return p >= end ? 1 : fail(F_REFERENCE);
}

/**
 * Scans the reference at p ('&') and gives the address behind its ';', 0 when it is wrong, 1 when it is cut off at
 * `end`. Only the five predefined entities may be referred to (RFC 6120 §11.1).
 */
export function reference(p: usize, end: usize): usize {
  const limit = p + REFERENCE_MAX;
  p++;
  const c = load<u8>(p);
  if (c == 0x23) return numeric(p + 1, end, limit);
  const from = p;
  while (p < limit && classOf(load<u8>(p)) & NAME) p++;
  if (p < limit && load<u8>(p) == 0x3a) return fail(F_ENTITY);
  if (load<u8>(p) != 0x3b || p == from) return p >= end ? 1 : fail(F_REFERENCE);
  const n = p - from;
  const word = load<u32>(from);
  if (n == 2 && (word & 0xffff) == 0x746c) character = 0x3c;
  else if (n == 2 && (word & 0xffff) == 0x7467) character = 0x3e;
  else if (n == 3 && (word & 0xffffff) == 0x706d61) character = 0x26;
  else if (n == 4 && word == 0x736f7061) character = 0x27;
  else if (n == 4 && word == 0x746f7571) character = 0x22;
  else return fail(classOf(c) & NAME_START ? F_ENTITY : F_REFERENCE);
  return p + 1;
}

/** Next character of a checked attribute value, normalised (XML 1.0 §3.3.3), in `character`; gives the next address. */
function normalised(p: usize): usize {
  const c = <u32>load<u8>(p);
  if (c == 0x26) return reference(p, usize.MAX_VALUE);
  if (c < 0x80) {
    character = c < 0x20 ? 0x20 : c;
    return p + (c == 0x0d && load<u8>(p, 1) == 0x0a ? 2 : 1);
  }
  const length = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  character = codePoint(p, length);
  return p + length;
}

/** Whether two checked attribute values mean the same, whatever references they are written with. */
export function sameValue(a: usize, aEnd: usize, b: usize, bEnd: usize): bool {
  while (a < aEnd && b < bEnd) {
    a = normalised(a);
    const c = character;
    b = normalised(b);
    if (c != character) return false;
  }
  return a == aEnd && b == bEnd;
}
