// The content of one stanza: tags, text, CDATA sections, until its root closes.
import { F_CHARACTER, F_MISMATCH, F_RESTRICTED, F_SYNTAX, F_TEXT, STACK, STACK_ENTRY } from './layout';
import { NAME_START, classOf, fail, isSpace, reference, same, utf8 } from './chars';
import { seek } from './seek';
import { startTag } from './tag';
import { unbind } from './bindings';
import { closed } from './facts';
import { W_CDATA, lengthOf } from './words';
import * as state from './state';

/** What a scan came to: not enough data, the end that was looked for, or a fault. */
export const CUT: i32 = 0;
export const DONE: i32 = 1;
export const WRONG: i32 = 2;

/** After a scan: behind its end when it is done; where to go on when the data was cut off. */
export let stoppedAt: usize = 0;
/** With CUT: `stoppedAt` is the '<' of a tag whose end is to be looked for (seek.ts). */
export let seeking: bool = false;

function stop(p: usize, outcome: i32): i32 {
  stoppedAt = p;
  seeking = false;
  return outcome;
}

/** A tag at p failed: was it wrong, or only not there yet? */
export function failedTag(p: usize, end: usize): i32 {
  if (seek(p + 1, end, 0)) return WRONG;
  stoppedAt = p;
  seeking = true;
  return CUT;
}

/**
 * `<!` or `<?` at p where content may stand: only CDATA sections are allowed (RFC 6120 §11.1), and outside stanzas not
 * even these. DONE with `stoppedAt` behind `<![CDATA[`.
 */
export function declarationAt(p: usize, end: usize, inStanza: bool): i32 {
  if (load<u8>(p, 1) == 0x3f) {
    fail(F_RESTRICTED);
    return WRONG;
  }
  const c = <u32>load<u8>(p, 2);
  if (c != 0x5b) {
    if (p + 2 >= end) return stop(p, CUT);
    fail(c == 0x2d || (c >= 0x41 && c <= 0x5a) ? F_RESTRICTED : F_SYNTAX);
    return WRONG;
  }
  const n = lengthOf(W_CDATA);
  for (let i: u32 = 0; i < n; i++) {
    if (load<u8>(p + i, 2) == load<u8>(W_CDATA + i, 16)) continue;
    if (p + i + 2 >= end) return stop(p, CUT);
    fail(F_SYNTAX);
    return WRONG;
  }
  if (inStanza) return stop(p + n + 2, DONE);
  fail(F_TEXT);
  return WRONG;
}

/** Passes characters at p that stop no scan of character data for good; the same address when it is cut off, or 0. */
function oddCharacters(p: usize, end: usize): usize {
  const c = <u32>load<u8>(p);
  if (c < 0x80) {
    if (isSpace(c)) return p + 1;
    return p == end ? p : fail(F_CHARACTER);
  }
  do {
    const n = utf8(p, end);
    if (n == 0) return 0;
    if (n < 0) return p;
    p += n;
  } while (load<u8>(p) >= 0x80);
  return p;
}

/** Scans a CDATA section from p: DONE behind `]]>`. */
function cdata(p: usize, end: usize): i32 {
  while (true) {
    const v = v128.load(p);
    const m = i8x16.bitmask(v128.or(i8x16.lt_s(v, i8x16.splat(0x20)), i8x16.eq(v, i8x16.splat(0x5d))));
    if (!m) {
      p += 16;
      continue;
    }
    p += ctz<i32>(m);
    if (load<u8>(p) == 0x5d) {
      if (load<u8>(p, 1) == 0x5d) {
        if (load<u8>(p, 2) == 0x3e) return stop(p + 3, DONE);
        if (p + 2 >= end) return stop(p, CUT);
      } else if (p + 1 >= end) return stop(p, CUT);
      p++;
      continue;
    }
    const next = oddCharacters(p, end);
    if (!next) return WRONG;
    if (next == p) return stop(p, CUT);
    p = next;
  }
}

/** Scans the end tag at p of the innermost open element when it is not simply `</name>`; 0 when it fails. */
function endTagSlowly(p: usize, name: usize, length: usize): usize {
  if (!same(p + 2, name, length)) return fail(F_MISMATCH);
  p += 2 + length;
  while (isSpace(load<u8>(p))) p++;
  return load<u8>(p) == 0x3e ? p + 1 : fail(F_MISMATCH);
}

/** The end tag at p ('</') if it closes `name`: the address behind it, or 0. */
export function endTag(p: usize, name: usize, length: usize): usize {
  if (same(p + 2, name, length) && load<u8>(p + 2 + length) == 0x3e) return p + 3 + length;
  return endTagSlowly(p, name, length);
}

/** Text that stops the plain run at p: a reference, a bracket, an odd character. The same address: cut off; 0: wrong. */
function oddText(p: usize, end: usize): usize {
  const c = <u32>load<u8>(p);
  if (c == 0x26) {
    const next = reference(p, end);
    return next == 1 ? p : next;
  }
  if (c == 0x5d) {
    if (load<u8>(p, 1) != 0x5d) return p + 1 >= end ? p : p + 1;
    if (load<u8>(p, 2) == 0x3e) return fail(F_SYNTAX);
    return p + 2 >= end ? p : p + 1;
  }
  return oddCharacters(p, end);
}

/** Scans from p until the root of the stanza closes. Data ends at `end`, where a NUL stands. */
export function content(p: usize, end: usize): i32 {
  if (state.inCdata) {
    const outcome = cdata(p, end);
    if (outcome != DONE) return outcome;
    state.inCdata = false;
    p = stoppedAt;
  }
  while (true) {
    if (load<u8>(p) == 0x3c) {
      const c = <u32>load<u8>(p, 1);
      if (c == 0x2f) {
        const entry = state.top - STACK_ENTRY;
        const next = endTag(p, load<usize>(entry), load<u32>(entry, 4));
        if (!next) return failedTag(p, end);
        p = next;
        state.top = entry;
        if (state.nsTop != load<usize>(entry, 8)) unbind(load<usize>(entry, 8));
        if (entry <= state.zone) {
          closed(p);
          if (entry == STACK) return stop(p, DONE);
        }
      } else if (classOf(c) & NAME_START) {
        const next = startTag(p);
        if (!next) return failedTag(p, end);
        p = next;
        if (state.top == STACK) return stop(p, DONE);
      } else if (p + 1 >= end) return stop(p, CUT);
      else if (c == 0x21 || c == 0x3f) {
        const outcome = declarationAt(p, end, state.top > STACK);
        if (outcome != DONE) return outcome;
        state.inCdata = true;
        const section = cdata(stoppedAt, end);
        if (section != DONE) return section;
        state.inCdata = false;
        p = stoppedAt;
      } else {
        fail(F_SYNTAX);
        return WRONG;
      }
      continue;
    }
    const v = v128.load(p);
    const m = i8x16.bitmask(
      v128.or(
        v128.or(i8x16.lt_s(v, i8x16.splat(0x20)), i8x16.eq(v, i8x16.splat(0x3c))),
        v128.or(i8x16.eq(v, i8x16.splat(0x26)), i8x16.eq(v, i8x16.splat(0x5d))),
      ),
    );
    if (!m) {
      p += 16;
      continue;
    }
    p += ctz<i32>(m);
    if (load<u8>(p) == 0x3c) continue;
    const next = oddText(p, end);
    if (!next) return WRONG;
    if (next == p) return stop(p, CUT);
    p = next;
  }
}
