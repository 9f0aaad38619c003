import { describe, expect, it } from 'vitest';
import { E, FLAG } from '../../src/xml/envelope.js';
import { EVENT, Scanner } from '../../src/xml/scanner.js';
import { HEADER, LIMITS, bytes, outcome, pieces, play, playAlone, textOf } from './support/scan.js';

const MEMORY = 64 * 1024 * 1024;
const scanner = Scanner.create({ memoryBytes: MEMORY });

describe('limits', () => {
  const limits = { stanzaBytes: 100, depth: 4, attributes: 3 };
  const usual = "<stream:stream xmlns='jabber:client' xmlns:stream='urn:s'>";
  const of = (stanza: string, size = 1000): string => {
    const all = playAlone(scanner, [bytes(usual), ...pieces(bytes(stanza), size)], limits);
    const last = all.at(-1)!;
    return 'condition' in last ? last.condition : `${all.length - 1}`;
  };

  it.each([1, 7, 1000])('hold to the byte, in pieces of %i', (size) => {
    const of100 = `<a>${'x'.repeat(93)}</a>`;
    const attributes = `<a b='${'x'.repeat(93)}'/>`;
    expect([of100.length, attributes.length]).toEqual([100, 102]);
    expect(of(of100 + of100, size)).toBe('2');
    expect(of(`${of100}${' '.repeat(300)}${of100}`, size)).toBe('2');
    expect(of(of100.replace('x', 'xx'), size)).toBe('policy-violation');
    expect(of(attributes, size)).toBe('policy-violation');
    expect(of(`<a>${'x'.repeat(98)}`, size)).toBe('policy-violation');
    expect(of(`<a>${'x'.repeat(97)}`, size)).toBe('0');
    expect(of(`<a b='${'x'.repeat(95)}`, size)).toBe('policy-violation');
    expect(of(`<a>${'x'.repeat(96)}\u0001${'x'.repeat(50)}`, size)).toBe('not-well-formed');
    expect(of(`<a>${'x'.repeat(97)}\u0001${'x'.repeat(50)}`, size)).toBe('policy-violation');
  });

  it('apply to depth, the root included', () => {
    expect(of('<a><b><c><d/></c></b></a>')).toBe('1');
    expect(of('<a><b><c><d><e/></d></c></b></a>')).toBe('policy-violation');
  });

  it('apply to attributes and declarations of one tag', () => {
    expect(of("<a b='' c='' xmlns=''><b b='' c='' d=''/></a>")).toBe('1');
    expect(of("<a b='' c='' d='' e=''/>")).toBe('policy-violation');
  });

  it('apply to the stream header', () => {
    const long = `<stream:stream xmlns:stream='urn:s' to='${'x'.repeat(100)}'>`;
    expect(playAlone(scanner, [bytes(long)], limits)).toMatchObject([{ condition: 'policy-violation' }]);
  });

  it('bound namespace declarations in scope', () => {
    const nested = (n: number): string =>
      n === 0
        ? ''
        : `<a ${Array.from({ length: 60 }, (_, i) => `xmlns:p${n}-${i}='urn:${n}'`).join(' ')}>${nested(n - 1)}</a>`;
    expect(outcome(scanner, nested(2))).toBe('stanza');
    expect(outcome(scanner, nested(3))).toBe('policy-violation');
  });

  it('bound the text of declarations in the stream header', () => {
    const header = `<stream:stream xmlns:stream='urn:${'x'.repeat(3000)}'>`;
    expect(playAlone(scanner, [bytes(header)])).toMatchObject([{ condition: 'policy-violation' }]);
  });

  it('can be changed while the stream lasts', () => {
    const handle = scanner.open('stream', limits);
    const stanza = bytes(`<a>${'x'.repeat(500)}</a>`);
    play(scanner, handle, [bytes(usual)]);
    scanner.limit(handle, 1000);
    expect(play(scanner, handle, [stanza])).toMatchObject([{ event: EVENT.stanza }]);
    scanner.limit(handle, 200);
    expect(play(scanner, handle, [stanza])).toMatchObject([{ condition: 'policy-violation' }]);
    scanner.close(handle);
  });

  it('apply to what is held', () => {
    const handle = scanner.open('stream', LIMITS);
    play(scanner, handle, [bytes(HEADER)]);
    scanner.hold(handle);
    scanner.input.fill('<iq/> ');
    const events = Array.from({ length: 8 }, () => scanner.feed(handle, 65_536));
    expect(events.slice(0, 5)).toEqual([0, 0, 0, 0, 0]);
    expect(events.at(-1)).toBe(EVENT.error);
    expect(scanner.error.condition).toBe('policy-violation');
    scanner.close(handle);
  });
});

describe('memory', () => {
  it('is not used by idle streams, whatever they did before', () => {
    const before = scanner.used;
    const handles = Array.from({ length: 500 }, () => scanner.open('stream', LIMITS));
    const stanza = bytes(`<iq><a xmlns='urn:a'>${'x'.repeat(3000)}</a></iq> `);
    for (const handle of handles) play(scanner, handle, [bytes(HEADER), ...pieces(stanza, 700)]);
    // All of them share one scope.
    expect(scanner.used - before).toBeLessThan(1024);
    for (const handle of handles) scanner.close(handle);
    expect(scanner.used).toBe(before);
  });

  it('is given back by streams that are closed in the middle of anything', () => {
    const before = scanner.used;
    for (const rest of ['<iq', '<iq><a', '<iq>x', '<iq/><iq/>', "<?xml version='1", '</stream:']) {
      const handle = scanner.open('stream', LIMITS);
      play(scanner, handle, [bytes(HEADER), bytes(rest)]);
      scanner.hold(handle);
      scanner.feed(handle, scanner.input.write(rest));
      scanner.close(handle);
    }
    expect(scanner.used).toBe(before);
  });

  it('runs out with resource-constraint for who asks too much, and serves the others', () => {
    const small = Scanner.create({ memoryBytes: 8 * 1024 * 1024 });
    const limits = { ...LIMITS, stanzaBytes: 1024 * 1024 };
    const handles = Array.from({ length: 40 }, () => small.open('stream', limits));
    const part = bytes(`<iq><a>${'x'.repeat(60_000)}`);
    const more = bytes('y'.repeat(60_000));
    const ends = handles.map((handle) => play(small, handle, [bytes(HEADER), part, more, more, more, more]).at(-1));
    expect(
      ends.filter((end) => end && 'condition' in end && end.condition === 'resource-constraint').length,
    ).toBeGreaterThan(10);
    const fine = small.open('stream', LIMITS);
    expect(play(small, fine, [bytes(HEADER), bytes('<iq/>')])).toHaveLength(2);
    for (const handle of handles) small.close(handle);
    const again = small.open('stream', limits);
    expect(play(small, again, [bytes(HEADER), part, more, more, bytes('</a></iq>')])).toHaveLength(2);
    small.close(again);
    small.close(fine);
    expect(small.used).toBe(0);
  });

  it('has room for one stream per 2 KiB, and then refuses', () => {
    const small = Scanner.create({ memoryBytes: 8 * 1024 * 1024 });
    const handles: number[] = [];
    for (let handle = small.open('stream', LIMITS); handle !== 0; handle = small.open('stream', LIMITS))
      handles.push(handle);
    expect(handles.length).toBe((8 * 1024 * 1024) / 2048);
    small.close(handles[17]!);
    expect(small.open('framed', LIMITS)).toBe(handles[17]);
    expect(small.feed(999_999, 0)).toBe(EVENT.error);
    expect(small.next(0)).toBe(EVENT.error);
  });

  it('never detaches', () => {
    expect(scanner.bytes.length).toBe(MEMORY);
    expect(scanner.input.length).toBe(65_536);
  });
});

describe('input left unscanned', () => {
  it('fails its stream when another is fed before it was held', () => {
    const one = scanner.open('stream', LIMITS);
    const other = scanner.open('stream', LIMITS);
    expect(scanner.feed(one, scanner.input.write(`${HEADER}<iq/>`))).toBe(EVENT.streamOpen);
    expect(scanner.feed(other, scanner.input.write(HEADER))).toBe(EVENT.streamOpen);
    expect(scanner.next(one)).toBe(EVENT.error);
    expect(scanner.error.condition).toBe('internal-server-error');
    scanner.close(one);
    scanner.close(other);
  });

  it('is told by the envelope', () => {
    const handle = scanner.open('stream', LIMITS);
    expect(scanner.feed(handle, scanner.input.write(`${HEADER}<iq/><presence/>`))).toBe(EVENT.streamOpen);
    expect(scanner.env[E.rest]).toBe(16);
    scanner.hold(handle);
    expect(scanner.pending(handle)).toBe(16);
    expect(scanner.next(handle)).toBe(EVENT.stanza);
    expect(scanner.env[E.rest]).toBe(11);
    expect(scanner.next(handle)).toBe(EVENT.stanza);
    expect(scanner.env[E.rest]).toBe(0);
    expect(scanner.next(handle)).toBe(EVENT.needMore);
    scanner.close(handle);
  });

  it('survives the closing of its stream for as long as the envelope is valid', () => {
    const handle = scanner.open('stream', LIMITS);
    play(scanner, handle, [bytes(HEADER), bytes('<iq id="1"><a>')]);
    expect(scanner.feed(handle, scanner.input.write('x</a></iq>'))).toBe(EVENT.stanza);
    scanner.close(handle);
    expect(textOf(scanner, E.start)).toBe('<iq id="1"><a>x</a></iq>');
    expect(textOf(scanner, E.id)).toBe('1');
  });
});

describe('framed streams (RFC 7395)', () => {
  const OPEN = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>";
  const frame = (handle: number, text: string): number => scanner.feedLast(handle, scanner.input.write(text));

  it('take one document a frame, in one call', () => {
    const handle = scanner.open('framed', LIMITS);
    expect(frame(handle, OPEN)).toBe(EVENT.stanza);
    expect(scanner.env[E.flags]! & FLAG.framing).toBe(FLAG.framing);
    expect([textOf(scanner, E.to), textOf(scanner, E.version)]).toEqual(['localhost', '1.0']);
    expect(frame(handle, "<?xml version='1.0'?> <iq xmlns='jabber:client'/>\n ")).toBe(EVENT.stanza);
    expect([scanner.env[E.kind], scanner.env[E.rest]]).toEqual([1, 0]);
    expect(frame(handle, '<iq/>')).toBe(EVENT.stanza);
    expect(scanner.env[E.kind]).toBe(4);
    expect(frame(handle, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")).toBe(EVENT.stanza);
    expect(scanner.env[E.flags]! & FLAG.framing).toBe(FLAG.framing);
    scanner.close(handle);
  });

  it.each([
    ['', 'not-well-formed'],
    [' ', 'bad-format'],
    [' <a/>', 'bad-format'],
    ['<a>', 'not-well-formed'],
    ['<a', 'not-well-formed'],
    ["<?xml version='1.0'?>", 'not-well-formed'],
    ['<a/><b/>', 'not-well-formed'],
    ['<a/>x', 'not-well-formed'],
    ['<a/></a>', 'not-well-formed'],
    ['</a>', 'not-well-formed'],
    ['<a/>\0', 'not-well-formed'],
    ['<a>\0</a>', 'not-well-formed'],
    ['<stream:a/>', 'not-well-formed'],
    ['x', 'not-well-formed'],
  ])('refuse the frame %j', (text, condition) => {
    for (const size of [1, 1000]) {
      const handle = scanner.open('framed', LIMITS);
      let event: number = EVENT.needMore;
      for (const part of pieces(bytes(text), size)) {
        scanner.input.set(part);
        if (event !== EVENT.error) event = scanner.feed(handle, part.length);
      }
      if (event !== EVENT.error) event = scanner.endFrame(handle);
      expect(event).toBe(EVENT.error);
      expect(scanner.error.condition).toBe(condition);
      scanner.close(handle);
      const other = scanner.open('framed', LIMITS);
      expect(frame(other, text)).toBe(EVENT.error);
      scanner.close(other);
    }
  });

  it('take a frame in pieces', () => {
    const handle = scanner.open('framed', LIMITS);
    for (let round = 0; round < 3; round++) {
      const all = play(
        scanner,
        handle,
        pieces(bytes("<message xmlns='jabber:client'><body>hi</body></message> \n"), 5),
      );
      expect(all).toHaveLength(1);
      expect(scanner.endFrame(handle)).toBe(EVENT.needMore);
    }
    scanner.close(handle);
  });

  it('keep frames apart that come while held', () => {
    const handle = scanner.open('framed', LIMITS);
    frame(handle, OPEN);
    scanner.hold(handle);
    expect(frame(handle, '<a/>\n')).toBe(EVENT.needMore);
    expect(scanner.feed(handle, scanner.input.write('<b>'))).toBe(EVENT.needMore);
    expect(frame(handle, '</b>')).toBe(EVENT.needMore);
    expect(frame(handle, '<c></c><d/>')).toBe(EVENT.needMore);
    expect(scanner.next(handle)).toBe(EVENT.stanza);
    expect(textOf(scanner, E.start)).toBe('<a/>');
    scanner.hold(handle);
    expect(scanner.next(handle)).toBe(EVENT.stanza);
    expect(textOf(scanner, E.start)).toBe('<b></b>');
    expect(scanner.next(handle)).toBe(EVENT.error);
    scanner.close(handle);
  });

  it.each(['<a>', '<a/', '', '<a>\0</a>', '<a/>\0<b/>'])('refuse the held frame %j', (text) => {
    const handle = scanner.open('framed', LIMITS);
    frame(handle, OPEN);
    scanner.hold(handle);
    expect(frame(handle, text)).toBe(EVENT.needMore);
    expect(frame(handle, '</a><a/>')).toBe(EVENT.needMore);
    expect(scanner.next(handle)).toBe(EVENT.error);
    scanner.close(handle);
  });
});
