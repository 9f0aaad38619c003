import { describe, expect, it } from 'vitest';
import { Jid, JidCache, makeJid, parseJid } from '../../src/jid/jid.js';

/** RFC 7622 §3.5, table 1, with the prepared form where it differs. */
const VALID: [text: string, local: string, domain: string, resource: string][] = [
  ['juliet@example.com', 'juliet', 'example.com', ''],
  ['juliet@example.com/foo', 'juliet', 'example.com', 'foo'],
  ['juliet@example.com/foo bar', 'juliet', 'example.com', 'foo bar'],
  ['juliet@example.com/foo@bar', 'juliet', 'example.com', 'foo@bar'],
  ['foo\\20bar@example.com', 'foo\\20bar', 'example.com', ''],
  ['fussball@example.com', 'fussball', 'example.com', ''],
  ['fu\u00dfball@example.com', 'fu\u00dfball', 'example.com', ''],
  ['\u03c0@example.com', '\u03c0', 'example.com', ''],
  ['\u03a3@example.com/foo', '\u03c3', 'example.com', 'foo'],
  ['\u03c3@example.com/foo', '\u03c3', 'example.com', 'foo'],
  ['\u03c2@example.com/foo', '\u03c2', 'example.com', 'foo'],
  ['king@example.com/\u265a', 'king', 'example.com', '\u265a'],
  ['example.com', '', 'example.com', ''],
  ['example.com/foobar', '', 'example.com', 'foobar'],
  ['a.example.com/b@example.net', '', 'a.example.com', 'b@example.net'],
];

/** RFC 7622 §3.5, table 2, and the shapes between its lines. */
const INVALID = [
  '"juliet"@example.com',
  'foo bar@example.com',
  'juliet@example.com/ foo',
  '@example.com/',
  'henry\u2163@example.com',
  '\u265a@example.com',
  'juliet@',
  '/foobar',
  '',
  '@',
  '/',
  '@/',
  '@example.com',
  'juliet@example.com/',
  'juliet@@example.com',
  'juliet@a@example.com',
  'juliet@exa mple.com',
  'juliet@example.com/foo\u0000',
  'juliet@example.com/foo\nbar',
  'juliet@example.com/\ud800',
  'jul\uff07iet@example.com',
  'jul\u200diet@example.com',
  ...["'", '&', '/', ':', '<', '>'].map((excluded) => `ju${excluded}liet@example.com`).filter((s) => !s.includes('/')),
];

describe('an address', () => {
  it.each(VALID)('%j is read', (text, local, domain, resource) => {
    const jid = parseJid(text);
    expect(jid).toMatchObject({ local, domain, resource });
    expect(jid!.bare).toBe(local ? `${local}@${domain}` : domain);
    expect(jid!.full).toBe(resource ? `${jid!.bare}/${resource}` : jid!.bare);
    expect(String(jid)).toBe(jid!.full);
  });

  it.each(INVALID)('%j is refused', (text) => {
    expect(parseJid(text)).toBeUndefined();
  });

  it('compares equal in any case, width and normal form of its local and domain parts', () => {
    const same = [
      'jos\u00e9@example.com',
      'JOSE\u0301@EXAMPLE.com',
      '\uff4aos\u00e9@example\uff0ecom.',
      'Jos\u00c9@ex\uff41mple.com',
    ];
    expect(new Set(same.map((text) => parseJid(text)?.full))).toEqual(new Set(['jos\u00e9@example.com']));
  });

  it('keeps the case of its resource and maps other spaces to the space', () => {
    expect(parseJid('a@b/Foo\u00a0Bar\u3000x')?.resource).toBe('Foo Bar x');
  });

  it('may have 1023 bytes in the local and resource parts and no more', () => {
    const most = 'x'.repeat(1023);
    expect(parseJid(`${most}@b/${most}`)?.local).toBe(most);
    expect(parseJid(`${most}x@b`)).toBeUndefined();
    expect(parseJid(`a@b/${most}x`)).toBeUndefined();
    expect(parseJid(`${'\u00e9'.repeat(511)}@b`)).toBeDefined();
    expect(parseJid(`${'\u00e9'.repeat(512)}@b`)).toBeUndefined();
    expect(parseJid(`a@b/${'\u{1f600}'.repeat(255)}`)).toBeDefined();
    expect(parseJid(`a@b/${'\u{1f600}'.repeat(256)}`)).toBeUndefined();
    expect(parseJid(`a@b/${'x'.repeat(1_000_000)}`)).toBeUndefined();
  });

  it('gives its bare form and takes another resource', () => {
    const jid = parseJid('a@b/c')!;
    expect(jid.bareJid().full).toBe('a@b');
    expect(jid.withResource('d').full).toBe('a@b/d');
    const bare = parseJid('a@b')!;
    expect(bare.bareJid()).toBe(bare);
  });

  it('is made from parts, each prepared by its own rules', () => {
    expect(makeJid('Juliet', 'Example.COM', 'Balcony')?.full).toBe('juliet@example.com/Balcony');
    expect(makeJid('', 'b', '')?.full).toBe('b');
    expect(makeJid('a b', 'b', '')).toBeUndefined();
    expect(makeJid('a', '', '')).toBeUndefined();
    expect(makeJid('a/b', 'c', '')).toBeUndefined();
    expect(makeJid('a', 'b', 'c/d@e')?.full).toBe('a@b/c/d@e');
  });

  it('stays the same when prepared again, whatever it was made from', () => {
    let seed = 7;
    const random = (n: number) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n;
    const ranges = [
      [0x20, 0x7f],
      [0x20, 0x7f],
      [0x80, 0x24f],
      [0x300, 0x3ff],
      [0x400, 0x5ff],
      [0x600, 0x6ff],
      [0x900, 0x97f],
      [0x1e00, 0x1fff],
      [0x2000, 0x206f],
      [0x2100, 0x218f],
      [0x3000, 0x30ff],
      [0xac00, 0xad00],
      [0xff00, 0xffef],
      [0x1f600, 0x1f64f],
    ] as const;
    const word = () => {
      let s = '';
      const [low, high] = ranges[random(ranges.length)]!;
      for (let i = 1 + random(4); i > 0; i--) s += String.fromCodePoint(low + random(high - low));
      return s;
    };
    let read = 0;
    for (let i = 0; i < 20_000; i++) {
      const jid = parseJid(`${word()}@${word()}.x/${word()}`) ?? parseJid(`${word()}@b`) ?? parseJid(`b/${word()}`);
      if (!jid) continue;
      read++;
      expect(parseJid(jid.full)).toEqual(jid);
    }
    expect(read).toBeGreaterThan(2000);
  });
});

describe('the memo of addresses', () => {
  it('gives the same object while it remembers, for malformed addresses too', () => {
    const cache = new JidCache(4);
    const jid = cache.get('a@b');
    expect(jid).toBeInstanceOf(Jid);
    expect(cache.get('a@b')).toBe(jid);
    expect(cache.get('@')).toBeUndefined();
    expect(cache.get('@')).toBeUndefined();
  });

  it('keeps what is asked for and forgets the rest', () => {
    const cache = new JidCache(4);
    const kept = cache.get('kept@b');
    const lost = cache.get('lost@b');
    for (let i = 0; i < 10; i++) {
      cache.get(`n${i}@b`);
      expect(cache.get('kept@b')).toBe(kept);
    }
    expect(cache.get('lost@b')).not.toBe(lost);
    expect(cache.get('lost@b')).toEqual(lost);
  });
});
