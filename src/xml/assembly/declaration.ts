// The XML declaration (XML 1.0 §2.8), the one thing in `<? ?>` that a stream may contain.
import { F_ENCODING, F_SYNTAX } from './layout';
import { NAME, NAME_START, classOf, fail, isSpace, same } from './chars';
import { W_ENCODING, W_STANDALONE, W_VERSION, lengthOf } from './words';

function skipSpace(p: usize): usize {
  while (isSpace(load<u8>(p))) p++;
  return p;
}

/** Passes `word = ` at p and gives the address of the quote, or 0 when something else stands there. */
function named(p: usize, word: usize): usize {
  if (!same(p, word + 16, lengthOf(word))) return 0;
  p = skipSpace(p + lengthOf(word));
  if (load<u8>(p) != 0x3d) return 0;
  p = skipSpace(p + 1);
  const c = load<u8>(p);
  return c == 0x27 || c == 0x22 ? p : 0;
}

function isVersion(s: usize, e: usize): bool {
  if (e - s < 3 || load<u16>(s) != 0x2e31) return false;
  for (s += 2; s < e; s++) if (load<u8>(s) < 0x30 || load<u8>(s) > 0x39) return false;
  return true;
}

function isUtf8(s: usize, e: usize): bool {
  return e - s == 5 && (load<u32>(s) | 0x202020) == 0x2d667475 && load<u8>(s, 4) == 0x38;
}

function isEncodingName(s: usize, e: usize): bool {
  if (s == e || load<u8>(s) >= 0x80 || load<u8>(s) == 0x5f || !(classOf(load<u8>(s)) & NAME_START)) return false;
  for (; s < e; s++) if (load<u8>(s) >= 0x80 || !(classOf(load<u8>(s)) & NAME)) return false;
  return true;
}

function isStandalone(s: usize, e: usize): bool {
  const n = e - s;
  return (n == 3 && (load<u32>(s) & 0xffffff) == 0x736579) || (n == 2 && load<u16>(s) == 0x6f6e);
}

/**
 * Checks the declaration at p (`<?xml` and white space) and gives the address behind it, or 0. `standalone` means
 * nothing where there is no DTD and is ignored (RFC 6120 §11.5).
 */
export function xmlDeclaration(p: usize): usize {
  p += 5;
  for (let part = 0; part < 3; part++) {
    const spaced = isSpace(load<u8>(p));
    p = skipSpace(p);
    const word = part == 0 ? W_VERSION : part == 1 ? W_ENCODING : W_STANDALONE;
    const quote = named(p, word);
    if (!quote) {
      if (part == 0) return fail(F_SYNTAX);
      continue;
    }
    if (!spaced) return fail(F_SYNTAX);
    const c = load<u8>(quote);
    const s = quote + 1;
    let e = s;
    while (load<u8>(e) != c && load<u8>(e) != 0x3c && load<u8>(e) != 0) e++;
    if (load<u8>(e) != c) return fail(F_SYNTAX);
    if (part == 0 && !isVersion(s, e)) return fail(F_SYNTAX);
    if (part == 1 && !isUtf8(s, e)) return fail(isEncodingName(s, e) ? F_ENCODING : F_SYNTAX);
    if (part == 2 && !isStandalone(s, e)) return fail(F_SYNTAX);
    p = e + 1;
  }
  p = skipSpace(p);
  return load<u16>(p) == 0x3e3f ? p + 2 : fail(F_SYNTAX);
}
