import { describe, expect, it } from 'vitest';
import { localpart, opaqueString, usernameCaseMapped } from '../../src/jid/precis.js';

describe('UsernameCaseMapped', () => {
  // RFC 8265 §3.5 and the rules of §3.3
  it.each([
    ['juliet@example.com', 'juliet@example.com'],
    ['fussball', 'fussball'],
    ['fu\u00dfball', 'fu\u00dfball'],
    ['\u03c0', '\u03c0'],
    ['\u03a3', '\u03c3'],
    ['\u03c3', '\u03c3'],
    ['\u03c2', '\u03c2'],
    ['\uff2a\uff35', 'ju'],
    ['\u0130x', 'i\u0307x'],
    ['\u05d0\u05d1\u05f4\u05d2', '\u05d0\u05d1\u05f4\u05d2'],
    ['\u0627\u0661', '\u0627\u0661'],
  ])('maps %j to %j', (input, output) => {
    expect(usernameCaseMapped(input)).toBe(output);
    expect(usernameCaseMapped(output)).toBe(output);
  });

  it.each([
    ['', 'empty'],
    ['foo bar', 'a space'],
    ['foo\u3000bar', 'a wide space'],
    ['henry\u2163', 'a compatibility character'],
    ['\u265a', 'a symbol'],
    ['a\u0000', 'a control'],
    ['\u1100', 'old Hangul jamo'],
    ['a\u00ad', 'a default ignorable'],
    ['\u0640', 'an exception'],
    ['\u05d0a', 'a string that breaks the Bidi Rule'],
    ['\u0378', 'an unassigned code point'],
    ['\ufdd0', 'a noncharacter'],
    ['\ud83d', 'a lone surrogate'],
    ['\u0661\u06f1', 'mixed digits'],
    ['a\u0375', 'a keraia not before Greek'],
  ])('refuses %j: %s', (input) => {
    expect(usernameCaseMapped(input)).toBeUndefined();
  });
});

describe('OpaqueString', () => {
  // RFC 8265 §4.3
  it.each([
    ['correct horse battery staple', 'correct horse battery staple'],
    ['Correct Horse Battery Staple', 'Correct Horse Battery Staple'],
    ['\u03c0\u00df\u00e5', '\u03c0\u00df\u00e5'],
    ['Jack of \u2666s', 'Jack of \u2666s'],
    ['foo\u1680bar', 'foo bar'],
    ['a\u030a', '\u00e5'],
    [' x ', ' x '],
  ])('maps %j to %j', (input, output) => {
    expect(opaqueString(input)).toBe(output);
  });

  it.each(['', 'my cat is a \u0009by', '\u0000', '\u200b', '\ufeff', 'a\u200db', '\udc00'])('refuses %j', (input) => {
    expect(opaqueString(input)).toBeUndefined();
  });
});

describe('a localpart', () => {
  it('takes every visible ASCII character but the eight that XMPP excludes', () => {
    for (let code = 0x21; code < 0x7f; code++) {
      const character = String.fromCharCode(code);
      const expected = `"&'/:<>@`.includes(character) ? undefined : character.toLowerCase();
      expect(localpart(character)).toBe(expected);
      expect(localpart(`\u00e9${character}`)).toBe(expected && `\u00e9${expected}`);
    }
  });
});

describe('long texts of characters that depend on their neighbours', () => {
  // Rules that look at the whole text at each place take minutes for these, which anybody may send.
  const many = (text: string) => text.repeat(Math.floor(3000 / text.length));
  it.each([
    [many('\u30fb'), false],
    [`${many('\u30fb')}\u30a2`, true],
    [`${many('\u0628\u200c')}\u0628`, true],
    [`${many('\u0628\u0651\u200c')}\u0627`, true],
    [many('\u0628\u0651\u200c'), false],
    [many('\u0915\u094d\u200d'), true],
    [many('\u0660'), true],
    [`${many('\u06f0')}\u0660`, false],
    [many('\u05d0\u05f3'), true],
  ])('%#', (text, valid) => {
    for (let n = 0; n < 100; n++) expect(opaqueString(text) !== undefined).toBe(valid);
  });

  it('are not looked at when they are too long for a part of an address', () => {
    expect(localpart('\u30a2'.repeat(341))).toBe('\u30a2'.repeat(341));
    expect(localpart('\u30a2'.repeat(342))).toBeUndefined();
    expect(localpart('\uff21'.repeat(1023))).toBe('a'.repeat(1023));
    expect(localpart('\uff21'.repeat(1024))).toBeUndefined();
  });
});
