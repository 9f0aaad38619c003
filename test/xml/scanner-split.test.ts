import { describe, expect, it } from 'vitest';
import { EVENT, Scanner } from '../../src/xml/scanner.js';
import { Generator, mutate, random } from './support/generate.js';
import { HEADER, LIMITS, bytes, pieces, play, playAlone, seen, type Outcome } from './support/scan.js';

const scanner = Scanner.create({ memoryBytes: 64 * 1024 * 1024 });

const PUBLISH =
  "<iq type='set' to='pubsub.localhost' id='p&#49;'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='xl123/0'>" +
  "<item id='ü'><data xmlns='urn:example:sensor' seq='0000000001'><temp u='C'>21.37</temp></data></item></publish></pubsub></iq>";

/** Streams in which every construct is cut somewhere; the broken ones end in each sort of error. */
const CORPUS = [
  `${HEADER}${PUBLISH} \n${PUBLISH}</stream:stream >`,
  "<?xml version='1.0' encoding=\"UTF-8\" ?>\r\n<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' ><iq/></s:stream>",
  `${HEADER}<message xml:lang='de'\n  to = "a&amp;b" xmlns:p='urn:p&#x31;' p:q='>'><p:body\t>Größe 漢字 😀 &lt;&#x1F600;]] ]&gt;</p:body ><![CDATA[<&]] ]>😀]]]]><x/></message>`,
  `${HEADER}<a xmlns='urn:a'><b xmlns=''><c xmlns='jabber:client'/></b><größe ä="ü"></größe></a><r xmlns='urn:xmpp:sm:3'/>`,
  `${HEADER}<message>${'<a/>'.repeat(34)}</message>`,
  `${HEADER}<iq><a>x</b></iq>`,
  `${HEADER}<iq><a b='1' b='2'/></iq>`,
  `${HEADER}<iq><p:a/></iq>`,
  `${HEADER}<iq a='<'/>`,
  `${HEADER}<iq a'>'/></iq>`,
  `${HEADER}<iq>]]></iq>`,
  `${HEADER}<iq>&nbsp;</iq>`,
  `${HEADER}<iq>&#xD800;</iq>`,
  `${HEADER}<iq>\u0001</iq>`,
  `${HEADER}<iq><!-- x --></iq>`,
  `${HEADER}<iq><![CDATX[]]></iq>`,
  `${HEADER}<iq><?x y?></iq>`,
  `${HEADER}<iq></iq>text`,
  `${HEADER}</stream:strea>`,
  "<?xml version='1.0' encoding='latin1'?><a>",
  "<?xmlx version='1.0'?><a>",
  '<!DOCTYPE a>',
].map(bytes);
CORPUS.push(Buffer.concat([bytes(`${HEADER}<iq>`), Buffer.from('eda080', 'hex'), bytes('</iq>')]));
CORPUS.push(Buffer.concat([bytes(`${HEADER}<iq a='`), Buffer.from('f09f98', 'hex'), bytes(`'/>`)]));

/** Random pieces, empty ones too. */
function chop(whole: Uint8Array, next: () => number, size: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < whole.length;) {
    const to = Math.min(whole.length, at + Math.floor(next() * size));
    parts.push(whole.subarray(at, to));
    at = to;
  }
  return parts;
}

describe('however the bytes are cut, the same is reported', () => {
  it.each(CORPUS.map((stream, i) => [i, stream.toString().slice(0, 240), stream] as const))(
    'stream %i: %s',
    (_, __, stream) => {
      const whole = playAlone(scanner, [stream]);
      expect(whole.length).toBeGreaterThan(0);
      for (let at = 1; at < stream.length; at++) {
        expect(playAlone(scanner, [stream.subarray(0, at), stream.subarray(at)])).toEqual(whole);
      }
      for (const size of [1, 2, 3, 7]) expect(playAlone(scanner, pieces(stream, size))).toEqual(whole);
    },
  );

  it('in three pieces at any two points', () => {
    const stream = CORPUS[2]!;
    const whole = JSON.stringify(playAlone(scanner, [stream]));
    for (let a = HEADER.length - 2; a < stream.length; a += 3) {
      for (let b = a; b < stream.length; b += 2) {
        const cut = playAlone(scanner, [stream.subarray(0, a), stream.subarray(a, b), stream.subarray(b)]);
        if (JSON.stringify(cut) !== whole) expect.fail(`cut at ${a} and ${b}`);
      }
    }
  });

  it('in random pieces, of generated and of broken streams', () => {
    for (let seed = 1; seed <= 1500; seed++) {
      const next = random(seed);
      const generator = new Generator(next);
      const text = HEADER + Array.from({ length: 1 + (seed % 4) }, () => generator.stanza()).join(seed % 3 ? '' : '\n');
      const stream = seed % 2 ? bytes(text) : mutate(bytes(text), next);
      const whole = JSON.stringify(playAlone(scanner, [stream]));
      for (const size of [4, 40, 400]) {
        const cut = JSON.stringify(playAlone(scanner, chop(stream, next, size)));
        if (cut !== whole) expect(cut, `seed ${seed}`).toBe(whole);
      }
    }
  });

  it('with several streams in turn', () => {
    const next = random(7);
    const generator = new Generator(next);
    const texts = Array.from({ length: 12 }, () =>
      bytes(HEADER + Array.from({ length: 6 }, () => generator.stanza()).join(' ')),
    );
    const whole = texts.map((text) => playAlone(scanner, [text]));
    const handles = texts.map(() => scanner.open('stream', LIMITS));
    const parts = texts.map((text) => chop(text, next, 90));
    const all: Outcome[][] = texts.map(() => []);
    while (parts.some((left) => left.length > 0)) {
      const i = Math.floor(next() * parts.length);
      const part = parts[i]!.shift();
      if (part) all[i]!.push(...play(scanner, handles[i]!, [part]));
    }
    expect(all).toEqual(whole);
    for (const handle of handles) scanner.close(handle);
  });

  it('with streams held in the middle of a chunk while others are fed', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const next = random(seed);
      const generator = new Generator(next);
      const texts = Array.from({ length: 5 }, () =>
        bytes(HEADER + Array.from({ length: 12 }, () => generator.stanza()).join('\n')),
      );
      const whole = texts.map((text) => playAlone(scanner, [text]));
      const handles = texts.map(() => scanner.open('stream', LIMITS));
      const parts = texts.map((text) => chop(text, next, 700));
      const held = texts.map(() => false);
      const all: Outcome[][] = texts.map(() => []);
      const drive = (i: number, first: number): void => {
        for (let event = first; event !== EVENT.needMore; event = scanner.next(handles[i]!)) {
          all[i]!.push(seen(scanner, event));
          if (event === EVENT.error) return;
          if (next() < 0.4) {
            expect(scanner.hold(handles[i]!)).toBe(EVENT.needMore);
            held[i] = true;
            return;
          }
        }
      };
      while (parts.some((left) => left.length > 0) || held.includes(true)) {
        const i = Math.floor(next() * parts.length);
        if (held[i] && next() < 0.5) {
          held[i] = false;
          drive(i, scanner.next(handles[i]!));
          continue;
        }
        const part = parts[i]!.shift();
        if (!part) continue;
        scanner.input.set(part);
        const event = scanner.feed(handles[i]!, part.length);
        if (held[i]) expect(event).toBe(EVENT.needMore);
        else drive(i, event);
      }
      expect(all, `seed ${seed}`).toEqual(whole);
      for (const handle of handles) scanner.close(handle);
    }
  });

  it('for stanzas larger than the input window, byte by byte too', () => {
    const value = 'v'.repeat(100_000);
    const text = '漢字 &amp; ]] '.repeat(6_000);
    const stream = bytes(`${HEADER}<iq id='${value}'><a>${text}</a></iq><iq/>`);
    const big = { ...LIMITS, stanzaBytes: 1_000_000 };
    const whole = JSON.stringify(playAlone(scanner, pieces(stream, 65_536), big));
    expect(JSON.parse(whole)).toHaveLength(3);
    for (const size of [1, 511, 4096])
      expect(JSON.stringify(playAlone(scanner, pieces(stream, size), big)) === whole).toBe(true);
  });
});
