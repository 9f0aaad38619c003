/**
 * Escaping and references. What is written is legal XML 1.0 whatever the string holds: a character that XML
 * cannot carry (§2.2: most controls, lone surrogates, U+FFFE, U+FFFF) becomes U+FFFD.
 */

const ILLEGAL = '\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\ud800-\\udfff\\ufffe\\uffff';
const TEXT = new RegExp(`[&<>\\r${ILLEGAL}]`, 'gu');
const ATTRIBUTE = new RegExp(`[&<>"'\\t\\n\\r${ILLEGAL}]`, 'gu');

// The same without state, to find out quickly that there is nothing to do.
const TEXT_TEST = new RegExp(TEXT.source, 'u');
const ATTRIBUTE_TEST = new RegExp(ATTRIBUTE.source, 'u');

// A literal carriage return or, in attributes, any white space but the space would be normalised away by the reader
// (XML §2.11, §3.3.3).
const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
};
const escape = (character: string): string => ESCAPES[character] ?? '\ufffd';

/** Character data for between tags. */
export function escapeText(s: string): string {
  return TEXT_TEST.test(s) ? s.replace(TEXT, escape) : s;
}

/** A value for between quotes of either kind. */
export function escapeAttr(s: string): string {
  return ATTRIBUTE_TEST.test(s) ? s.replace(ATTRIBUTE, escape) : s;
}

const REFERENCE = /&(?:#x([0-9a-fA-F]+)|#([0-9]+)|(amp|lt|gt|quot|apos));/g;
const PREDEFINED: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** Replaces the predefined entities and character references (XML §4.1, §4.6) of a string that the scanner accepted. */
export function decodeReferences(s: string): string {
  if (!s.includes('&')) return s;
  return s.replace(REFERENCE, (_, hex: string | undefined, decimal: string | undefined, name: string) => {
    if (name !== undefined) return PREDEFINED[name]!;
    const code = hex === undefined ? Number.parseInt(decimal!, 10) : Number.parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
  });
}
