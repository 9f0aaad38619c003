import { joins } from './joining.js';

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

/** Rules look at what is near, or once at the whole: a text may consist of such characters only. */
type Rule = (whole: string, index: number) => boolean;

/** The character that ends there, or nothing. */
const before = (whole: string, index: number): string =>
  Array.from(whole.slice(Math.max(0, index - 2), index)).at(-1) ?? '';

/** The same for every place in the text. */
function everywhere(valid: (whole: string) => boolean): Rule {
  let last: string | undefined;
  let answer = false;
  return (whole) => {
    if (whole !== last) answer = valid((last = whole));
    return answer;
  };
}

/** A.3: MIDDLE DOT only between two l. */
const middleDot: Rule = (whole, index) => whole[index - 1] === 'l' && whole[index + 1] === 'l';
/** A.4: GREEK LOWER NUMERAL SIGN only before a Greek character. */
const keraia: Rule = (whole, index) => /^\p{Script=Greek}/u.test(whole.slice(index + 1));
/** A.5, A.6: GERESH and GERSHAYIM only after a Hebrew character. */
const geresh: Rule = (whole, index) => /\p{Script=Hebrew}/u.test(before(whole, index));
/** A.7: KATAKANA MIDDLE DOT, which is of no script itself, only in Japanese text. */
const katakanaDot = everywhere((whole) => HIRAGANA_KATAKANA_HAN.test(whole));
/** A.8, A.9: the two kinds of Arabic digits do not mix. */
const arabicDigit = everywhere((whole) => !/[\u06f0-\u06f9]/.test(whole));
const extendedDigit = everywhere((whole) => !/[\u0660-\u0669]/.test(whole));

const RULES = new Map<string, Rule>([
  // A.1: ZERO WIDTH NON-JOINER
  ['\u200c', (whole, index) => isVirama(before(whole, index)) || joins(whole, index)],
  // A.2: ZERO WIDTH JOINER
  ['\u200d', (whole, index) => isVirama(before(whole, index))],
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
  return RULES.get(character)?.(whole, index) ?? false;
}
