import { describe, expect, it } from 'vitest';
import { domainpart } from '../../src/jid/idna.js';
import { punyDecode, punyEncode } from '../../src/jid/punycode.js';

const VALID: [input: string, prepared: string][] = [
  ['localhost', 'localhost'],
  ['Example.COM', 'example.com'],
  ['example.com.', 'example.com'],
  ['a-b.1c.2', 'a-b.1c.2'],
  ['127.0.0.1', '127.0.0.1'],
  ['[::1]', '[::1]'],
  ['[2001:DB8::A]', '[2001:db8::a]'],
  ['[::ffff:192.0.2.1]', '[::ffff:192.0.2.1]'],
  ['[fe80::1%25eth0]', '[fe80::1%25eth0]'],
  ['b\u00fccher.example', 'b\u00fccher.example'],
  ['B\u00dcCHER.example', 'b\u00fccher.example'],
  ['bu\u0308cher.example', 'b\u00fccher.example'],
  ['xn--bcher-kva.example', 'b\u00fccher.example'],
  ['XN--BCHER-KVA.example', 'b\u00fccher.example'],
  ['fa\u00df.de', 'fa\u00df.de'],
  ['\u65e5\u672c\u8a9e\u3002jp', '\u65e5\u672c\u8a9e.jp'],
  ['\uff45xample\uff0ecom', 'example.com'],
  ['\u05d0\u05d1\u05d2.\u05d3', '\u05d0\u05d1\u05d2.\u05d3'],
  ['\u05d0\u05d11.com', '\u05d0\u05d11.com'],
  ['l\u00b7l.cat', 'l\u00b7l.cat'],
  ['\u30a2\u30fb\u30a4.jp', '\u30a2\u30fb\u30a4.jp'],
  ['\u0915\u094d\u200d\u0937.in', '\u0915\u094d\u200d\u0937.in'],
  ['\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.ir', '\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.ir'],
  ['\u13a0\u13a1.example', '\u13a0\u13a1.example'],
  [`${'a'.repeat(63)}.b`, `${'a'.repeat(63)}.b`],
];

const INVALID: [input: string, why: string][] = [
  ['', 'empty'],
  ['.', 'no label'],
  ['a..b', 'an empty label'],
  ['.a', 'an empty first label'],
  ['example.com..', 'two final dots'],
  ['-a.b', 'a leading hyphen'],
  ['a-.b', 'a trailing hyphen'],
  ['ab--cd.e', 'hyphens kept for encodings'],
  ['a_b.c', 'an underscore'],
  ['a b', 'a space'],
  ['a@b', 'a separator'],
  ['a:5222', 'a port'],
  ['::1', 'IPv6 without brackets'],
  ['[::1', 'an open bracket'],
  ['[::1]x', 'something after the bracket'],
  ['[1.2.3.4]', 'IPv4 in brackets'],
  ['[::g]', 'no IPv6 address'],
  ['[fe80::1%eth0]', 'a bare percent sign before the zone (RFC 6874)'],
  ['xn--.com', 'an empty A-label'],
  ['xn--a.com', 'an A-label that decodes to nothing valid'],
  ['xn--abc-.com', 'an A-label of ASCII'],
  ['xn--fa-hia9.de', 'Punycode that breaks off'],
  ['xn--zca1z.example', 'an A-label of a symbol or what is not canonical'],
  ['\u2665.example', 'a symbol'],
  ['\u0301a.example', 'a label that begins with a mark'],
  ['a\u00b7b.example', 'a middle dot outside of l\u00b7l'],
  ['a\u200cb.example', 'a non-joiner between letters that do not join'],
  ['a\u200db.example', 'a joiner without a virama'],
  ['\u30fb.example', 'a katakana dot alone'],
  ['\u0661\u06f1.example', 'both kinds of Arabic digits'],
  ['\u05d0b.example', 'both directions in one label'],
  ['1\u05d0.example', 'a right-to-left label that begins with a digit'],
  ['\u05d0.1a', 'a label of a right-to-left name that breaks the Bidi Rule'],
  ['\u3164.example', 'an ignorable character'],
  [`${'a'.repeat(64)}.b`, 'a label of 64 octets'],
  [`${'\u00e9'.repeat(60)}.b`, 'a label whose ASCII form has more than 63 octets'],
  [Array(128).fill('a').join('.'), 'a name of 255 octets'],
  ['a'.repeat(1024), '1024 octets'],
  ['\u{10ffff}.a', 'a noncharacter'],
  ['\ud800.a', 'a lone surrogate'],
];

describe('a domainpart', () => {
  it.each(VALID)('%j becomes %j', (input, prepared) => {
    expect(domainpart(input)).toBe(prepared);
    expect(domainpart(prepared)).toBe(prepared);
  });

  it.each(INVALID)('%j is refused: %s', (input) => {
    expect(domainpart(input)).toBeUndefined();
  });
});

describe('Punycode', () => {
  // RFC 3492 §7.1
  it.each([
    [
      '\u0644\u064a\u0647\u0645\u0627\u0628\u062a\u0643\u0644\u0645\u0648\u0634\u0639\u0631\u0628\u064a\u061f',
      'egbpdaj6bu4bxfgehfvwxn',
    ],
    ['\u4ed6\u4eec\u4e3a\u4ec0\u4e48\u4e0d\u8bf4\u4e2d\u6587', 'ihqwcrb4cv8a8dqg056pqjye'],
    ['3\u5e74b\u7d44\u91d1\u516b\u5148\u751f', '3b-ww4c5e180e575a65lsy2b'],
    ['-> $1.00 <-', '-> $1.00 <--'],
    ['\u{1f600}x', 'x-b582a'],
  ])('%j is %s', (label, encoded) => {
    if (label.startsWith('\u{1f600}')) expect(punyDecode(punyEncode(label))).toBe(label);
    else {
      expect(punyEncode(label)).toBe(encoded);
      expect(punyDecode(encoded)).toBe(label);
    }
  });

  it('is refused when it is cut, overflows or has other characters', () => {
    expect(punyDecode('ihqwcrb4cv8a8dqg056pqjy')).toBeUndefined();
    expect(punyDecode('99999999999')).toBeUndefined();
    expect(punyDecode('a-\u00e9')).toBeUndefined();
    expect(punyDecode('a-B')).toBeUndefined();
  });
});
