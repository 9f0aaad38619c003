import { bidiRule, hasRtl } from './bidi.js';
import {
  exception,
  JOIN_CONTROL,
  LETTER_DIGITS,
  mapWidth,
  OLD_HANGUL_JAMO,
  UNASSIGNED,
  type Derived,
} from './codepoints.js';
import { validInContext } from './context.js';

/**
 * PRECIS (RFC 8264) and its profiles for user names and passwords (RFC 8265). Each function applies preparation and
 * enforcement; undefined means that the string does not conform.
 */

/** `ID_DIS or FREE_PVAL`: valid in the freeform class alone. */
type PrecisProperty = Derived | 'FREE_PVAL';

const IGNORABLE = /^[\p{DI}\p{NChar}]$/u;
const CONTROL = /^\p{Cc}$/u;
const FREEFORM_ONLY = /^[\p{Lt}\p{Nl}\p{No}\p{Me}\p{Zs}\p{S}\p{P}]$/u;

/** The algorithm of RFC 8264 §8, in its order. */
function property(character: string): PrecisProperty {
  const code = character.codePointAt(0)!;
  if (code >= 0x21 && code <= 0x7e) return 'PVALID';
  const excepted = exception(character);
  if (excepted !== undefined) return excepted;
  if (UNASSIGNED.test(character)) return 'UNASSIGNED';
  if (JOIN_CONTROL.test(character)) return 'CONTEXTJ';
  if (OLD_HANGUL_JAMO.test(character)) return 'DISALLOWED';
  if (IGNORABLE.test(character) || CONTROL.test(character)) return 'DISALLOWED';
  if (character.normalize('NFKC') !== character) return 'FREE_PVAL';
  if (LETTER_DIGITS.test(character)) return 'PVALID';
  return FREEFORM_ONLY.test(character) ? 'FREE_PVAL' : 'DISALLOWED';
}

/** Whether every code point is allowed by the base class, where it stands (RFC 8264 §4). */
function inClass(s: string, freeform: boolean): boolean {
  let index = 0;
  for (const character of s) {
    const derived = property(character);
    const valid =
      derived === 'PVALID' ||
      (freeform && derived === 'FREE_PVAL') ||
      ((derived === 'CONTEXTJ' || derived === 'CONTEXTO') && validInContext(s, index, character));
    if (!valid) return false;
    index += character.length;
  }
  return true;
}

/** One application of a profile's rules. */
type Rules = (s: string) => string | undefined;

/** RFC 8264 §7: the rules are applied until they change nothing more, at most three times again. */
function enforce(s: string, rules: Rules): string | undefined {
  let current = s;
  for (let round = 0; round < 4; round++) {
    const next = rules(current);
    if (next === undefined || next === '') return undefined;
    if (next === current) return next;
    current = next;
  }
  return rules(current) === current ? current : undefined;
}

/** RFC 8265 §3.3. */
const usernameRules: Rules = (s) => {
  const wide = mapWidth(s);
  if (!inClass(wide, false)) return undefined;
  const mapped = wide.toLowerCase().normalize('NFC');
  return inClass(mapped, false) && (!hasRtl(mapped) || bidiRule(mapped)) ? mapped : undefined;
};

/** RFC 8265 §4.2. */
const opaqueRules: Rules = (s) => {
  if (!inClass(s, true)) return undefined;
  const mapped = s.replace(/\p{Zs}/gu, ' ').normalize('NFC');
  return inClass(mapped, true) ? mapped : undefined;
};

/** User names, e.g. localparts before XMPP's own exclusions. */
export function usernameCaseMapped(s: string): string | undefined {
  return enforce(s, usernameRules);
}

/** Passwords and other opaque strings. */
export function opaqueString(s: string): string | undefined {
  return /^[\x20-\x7e]+$/.test(s) ? s : enforce(s, opaqueRules);
}

const MAX_PART_BYTES = 1023;

function fits(part: string): boolean {
  return part.length * 3 <= MAX_PART_BYTES || Buffer.byteLength(part) <= MAX_PART_BYTES;
}

/** A string of more bytes cannot become short enough: no mapping shortens UTF-8 to less than a third. */
const MAX_INPUT = 3 * MAX_PART_BYTES;

function tooLong(s: string): boolean {
  return s.length > MAX_INPUT || Buffer.byteLength(s) > MAX_INPUT;
}

const SIMPLE_LOCAL = /^[a-z0-9!#$%()*+,\-.;=?[\\\]^_`{|}~]{1,341}$/;
const EXCLUDED = /["&'/:<>@]/;

/** RFC 7622 §3.3. */
export function localpart(s: string): string | undefined {
  if (SIMPLE_LOCAL.test(s)) return s;
  if (tooLong(s)) return undefined;
  const enforced = usernameCaseMapped(s);
  return enforced === undefined || EXCLUDED.test(enforced) || !fits(enforced) ? undefined : enforced;
}

/** RFC 7622 §3.4. A leading space is refused as example 18 of §3.5 has it, though the profile alone would allow it. */
export function resourcepart(s: string): string | undefined {
  if (tooLong(s)) return undefined;
  const enforced = opaqueString(s);
  return enforced === undefined || enforced.startsWith(' ') || !fits(enforced) ? undefined : enforced;
}
