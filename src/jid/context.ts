import { JOINS_AFTER, JOINS_BEFORE } from './joining.js';

/** Contextual rules for code points that are valid in some places only (RFC 5892 appendix A). */

/** Whether the canonical combining class of the character is 9 (Virama): asked of the engine by how it orders marks. */
function isVirama(character: string): boolean {
  // A mark moves before one of a higher class, and not before one of the same or a lower one. U+3099 has class 8, U+05B0
  // has class 10.
  if (character.normalize('NFD') !== character) return false;
  const below10 = `\u05b0${character}`.normalize('NFD') !== `\u05b0${character}`;
  const above8 = `${character}\u3099`.normalize('NFD') !== `${character}\u3099`;
  return below10 && above8;
}

const HIRAGANA_KATAKANA_HAN = /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/u;

type Rule = (before: string, after: string, whole: string) => boolean;

const lastOf = (s: string): string => /.$/su.exec(s)?.[0] ?? '';

/** A.3: MIDDLE DOT only between two l. */
const middleDot: Rule = (before, after) => before.endsWith('l') && after.startsWith('l');
/** A.4: GREEK LOWER NUMERAL SIGN only before a Greek character. */
const keraia: Rule = (_, after) => /^\p{Script=Greek}/u.test(after);
/** A.5, A.6: GERESH and GERSHAYIM only after a Hebrew character. */
const geresh: Rule = (before) => /\p{Script=Hebrew}$/u.test(before);
/** A.7: KATAKANA MIDDLE DOT only in Japanese text. */
const katakanaDot: Rule = (before, after) =>
  HIRAGANA_KATAKANA_HAN.test(before.replaceAll('\u30fb', '') + after.replaceAll('\u30fb', ''));
/** A.8, A.9: the two kinds of Arabic digits do not mix. */
const arabicDigit: Rule = (_, __, whole) => !/[\u06f0-\u06f9]/.test(whole);
const extendedDigit: Rule = (_, __, whole) => !/[\u0660-\u0669]/.test(whole);

const RULES = new Map<string, Rule>([
  // A.1: ZERO WIDTH NON-JOINER
  ['\u200c', (before, after) => isVirama(lastOf(before)) || (JOINS_BEFORE.test(before) && JOINS_AFTER.test(after))],
  // A.2: ZERO WIDTH JOINER
  ['\u200d', (before) => isVirama(lastOf(before))],
  ['\u00b7', middleDot],
  ['\u0375', keraia],
  ['\u05f3', geresh],
  ['\u05f4', geresh],
  ['\u30fb', katakanaDot],
]);
for (let digit = 0; digit < 10; digit++) {
  RULES.set(String.fromCodePoint(0x660 + digit), arabicDigit);
  RULES.set(String.fromCodePoint(0x6f0 + digit), extendedDigit);
}

/** Whether the CONTEXTJ or CONTEXTO character at `index` of `whole` is valid there. */
export function validInContext(whole: string, index: number, character: string): boolean {
  const rule = RULES.get(character);
  return rule !== undefined && rule(whole.slice(0, index), whole.slice(index + character.length), whole);
}
