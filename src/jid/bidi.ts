/**
 * The Bidi Rule (RFC 5893 §2), for the code points that the identifier class of PRECIS and IDNA2008 allow: letters,
 * digits, marks and ASCII.
 *
 * The engine does not know bidirectional classes, but for these code points they follow from the general category and the
 * block, with the few exceptions listed (compared with Unicode 15.1 in full). R and AL are one class here, as the rule
 * never tells them apart; so are ES, CS, ET, ON and BN.
 */
type BidiClass = 'L' | 'R' | 'AN' | 'EN' | 'NSM' | 'ON';

/** First match wins; one letter each, so that the rule can be put as patterns over a whole label. */
const CLASSES: readonly (readonly [letter: string, BidiClass, RegExp])[] = [
  ['l', 'L', /^[a-zA-Z\u0cbf\u0cc6\u{11a07}\u{11a08}\u{11c3f}]$/u],
  ['e', 'EN', /^[0-9\u06f0-\u06f9]$/],
  ['a', 'AN', /^[\u0660-\u0669\u{10d30}-\u{10d39}\u{10e60}-\u{10e7e}]$/u],
  ['n', 'NSM', /^[\p{Mn}\p{Me}]$/u],
  ['r', 'R', /^[\u0590-\u08ff\ufb1d-\ufdcf\ufdf0-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]$/u],
  [
    'o',
    'ON',
    /^[\0-\x7f\u00b7\u02b9\u02ba\u02c6-\u02cf\u02ec\u0375\u200c\u200d\u2e2f\u30fb\ua67f\ua717-\ua71f\ua788]$/,
  ],
  ['l', 'L', /^/],
];

function classes(label: string): string {
  let letters = '';
  for (const character of label) letters += CLASSES.find(([, , pattern]) => pattern.test(character))![0];
  return letters;
}

const HAS_RTL = /[\u0590-\u08ff\ufb1d-\ufdcf\ufdf0-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Whether the string has a right-to-left code point (R, AL or AN), which is what brings the rule into force. */
export function hasRtl(s: string): boolean {
  return HAS_RTL.test(s) && /[ra]/.test(classes(s));
}

/** Whether a label satisfies all six conditions. */
export function bidiRule(label: string): boolean {
  const letters = classes(label);
  if (letters.startsWith('r')) {
    return /^[raeon]+$/.test(letters) && /[rae]n*$/.test(letters) && !(letters.includes('e') && letters.includes('a'));
  }
  return /^l[leon]*$/.test(letters) && /[le]n*$/.test(letters);
}
