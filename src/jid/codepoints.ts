/**
 * Properties of code points that PRECIS (RFC 8264) and IDNA2008 (RFC 5892) share. They derive from the properties that the
 * JavaScript engine knows, so they follow its Unicode version; only what the engine does not know is a table.
 */

export type Derived = 'PVALID' | 'CONTEXTJ' | 'CONTEXTO' | 'DISALLOWED' | 'UNASSIGNED';

const EXCEPTIONS = new Map<string, Derived>();
for (const [derived, characters] of [
  ['PVALID', '\u00df\u03c2\u06fd\u06fe\u0f0b\u3007'],
  ['CONTEXTO', '\u00b7\u0375\u05f3\u05f4\u30fb'],
  ['CONTEXTO', '\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669'],
  ['CONTEXTO', '\u06f0\u06f1\u06f2\u06f3\u06f4\u06f5\u06f6\u06f7\u06f8\u06f9'],
  ['DISALLOWED', '\u0640\u07fa\u302e\u302f\u3031\u3032\u3033\u3034\u3035\u303b'],
] as const) {
  for (const character of characters) EXCEPTIONS.set(character, derived);
}

/** RFC 5892 §2.6 and RFC 8264 §9.6: the same list; undefined for all other code points. */
export function exception(character: string): Derived | undefined {
  return EXCEPTIONS.get(character);
}

/** RFC 8264 §9.7: general category Cn but not a noncharacter. */
export const UNASSIGNED = /^(?!\p{NChar})\p{Cn}$/u;
/** RFC 8264 §9.8: ZWNJ and ZWJ. */
export const JOIN_CONTROL = /^\p{Join_C}$/u;
/** RFC 8264 §9.9: Hangul_Syllable_Type L, V or T. */
export const OLD_HANGUL_JAMO = /^[\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7c6\ud7cb-\ud7fb]$/;
/** RFC 8264 §9.1. */
export const LETTER_DIGITS = /^[\p{Ll}\p{Lu}\p{Lo}\p{Nd}\p{Lm}\p{Mn}\p{Mc}]$/u;

const WIDE_OR_NARROW = /[\u3000\uff01-\uff60\uff61-\uffdc\uffe0-\uffee]/g;

/** Fullwidth and halfwidth code points become their decomposition mappings (RFC 8264 §5.2.1, RFC 5895 §2). */
export function mapWidth(s: string): string {
  return s.replace(WIDE_OR_NARROW, (character) => character.normalize('NFKC'));
}
