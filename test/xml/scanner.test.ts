import { describe, expect, it } from 'vitest';
import { E, FLAG, KIND, ROW, TYPE } from '../../src/xml/envelope.js';
import { EVENT, Scanner } from '../../src/xml/scanner.js';
import { HEADER, LIMITS, bytes, eventName, outcome, pieces, play, playAlone, textOf } from './support/scan.js';

const scanner = Scanner.create({ memoryBytes: 64 * 1024 * 1024 });

/** Feeds one stanza behind the usual header and leaves its envelope in `scanner.env`. */
function envelope(stanza: string, header = HEADER): Int32Array {
  const handle = scanner.open('stream', LIMITS);
  const length = scanner.input.write(header + stanza);
  expect(scanner.feed(handle, length)).toBe(EVENT.streamOpen);
  const event = scanner.next(handle);
  scanner.close(handle);
  expect(eventName(event), scanner.error.text).toBe('stanza');
  return scanner.env;
}

const text = (field: number): string | undefined => textOf(scanner, field);

function children(): unknown[] {
  return Array.from({ length: scanner.env[E.childCount]! }, (_, i) => {
    const row = E.child + ROW.size * i;
    return [text(row), text(row + ROW.nameS), text(row + ROW.nsS)];
  });
}

describe('envelope', () => {
  it('tells the routing facts of a stanza', () => {
    const stanza = `<message from='a@b/c' to="d@e" id='1' type='chat' xml:lang='de' xmlns='jabber:client'><body>hi</body></message>`;
    const env = envelope(stanza);
    expect(env[E.kind]).toBe(KIND.message);
    expect(env[E.typeCode]).toBe(TYPE.chat);
    expect(env[E.flags]).toBe(0);
    expect(text(E.start)).toBe(stanza);
    expect([E.to, E.from, E.id, E.type, E.lang].map(text)).toEqual(['d@e', 'a@b/c', '1', 'chat', 'de']);
    expect([E.fromAttr, E.xmlnsAttr].map(text)).toEqual([" from='a@b/c'", " xmlns='jabber:client'"]);
    expect([text(E.rootNs), text(E.local)]).toEqual(['jabber:client', 'message']);
    expect(env[E.nameEnd]! - env[E.start]!).toBe('<message'.length);
    expect(env[E.openEnd]! - env[E.start]!).toBe(stanza.indexOf('<body>'));
    expect(children()).toEqual([['<body>hi</body>', 'body', undefined]]);
  });

  it.each(Object.entries(TYPE).filter(([, code]) => code > 0 && code < 15))('knows the type %s', (name, code) => {
    expect(envelope(`<presence type='${name}'/>`)[E.typeCode]).toBe(code);
  });

  it.each([
    ['<presence/>', TYPE.none],
    ["<presence type=''/>", TYPE.unknown],
    ["<presence type='GET'/>", TYPE.unknown],
    ["<presence type='subscribedx'/>", TYPE.unknown],
  ])('%s has type code %i', (stanza, code) => expect(envelope(stanza)[E.typeCode]).toBe(code));

  it.each([
    ["<r xmlns='urn:xmpp:sm:3'/>", KIND.smRequest, 0],
    ["<a xmlns='urn:xmpp:sm:3' h='7'></a>", KIND.smAnswer, 7],
    ["<a xmlns='urn:xmpp:sm:3' h='4294967295'/>", KIND.smAnswer, 4294967295],
    ["<a xmlns='urn:xmpp:sm:3' h='4294967296'/>", KIND.other, 0],
    ["<a xmlns='urn:xmpp:sm:3' h='-1'/>", KIND.other, 0],
    ["<a xmlns='urn:xmpp:sm:3'/>", KIND.other, 0],
    ["<a xmlns='urn:xmpp:sm:2' h='1'/>", KIND.other, 1],
    ["<iq xmlns='urn:other'/>", KIND.other, 0],
    ["<iq xmlns='jabber&#58;client'/>", KIND.iq, 0],
  ])('%s is of kind %i', (stanza, kind, h) => {
    const env = envelope(stanza);
    expect([env[E.kind], env[E.h]! >>> 0]).toEqual([kind, h]);
  });

  it('lists the children with their namespaces', () => {
    envelope(
      "<message><body>a<b/></body> <x xmlns='urn:x'/><p:y xmlns:p='urn:p'>&amp;</p:y><z xmlns=''/><c xmlns='jabber:client'/></message>",
    );
    expect(children()).toEqual([
      ['<body>a<b/></body>', 'body', undefined],
      ["<x xmlns='urn:x'/>", 'x', 'urn:x'],
      ["<p:y xmlns:p='urn:p'>&amp;</p:y>", 'y', 'urn:p'],
      ["<z xmlns=''/>", 'z', ''],
      ["<c xmlns='jabber:client'/>", 'c', undefined],
    ]);
  });

  it('keeps the first 32 children and says when there are more', () => {
    expect(envelope(`<message>${'<a/>'.repeat(32)}</message>`)[E.flags]).toBe(0);
    const env = envelope(`<message>${'<a/>'.repeat(32)}<b>x</b></message>`);
    expect([env[E.childCount], env[E.flags]]).toEqual([32, FLAG.childOverflow]);
    expect(children().at(-1)).toEqual(['<a/>', 'a', undefined]);
  });

  it.each([
    ["<iq to='a&amp;b'/>", FLAG.escaped],
    ["<iq to='ü'/>", FLAG.nonAscii],
    ["<iq id='&#252;ü'/>", FLAG.escaped | FLAG.nonAscii],
    ["<iq id='a\tb'/>", FLAG.escaped],
    ["<iq other='&amp;ü'/>", 0],
    ["<iq><x to='&amp;'/></iq>", 0],
    ["<iq><x xmlns='urn:&amp;'/></iq>", FLAG.escaped],
    ["<c:iq xmlns:c='jabber:client'/>", FLAG.prefixedRoot],
    ['<iq><stream:x/></iq>', FLAG.streamScope],
    ["<iq stream:x='1'/>", FLAG.streamScope],
    ["<iq><stream:x xmlns:stream='urn:x'/></iq>", 0],
    ["<iq><a xmlns='urn:a'><b/></a></iq>", 0],
  ])('%s has flags %i', (stanza, flags) => expect(envelope(stanza)[E.flags]).toBe(flags));

  it('flags what depends on a default namespace of the stream other than jabber:client', () => {
    const header = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>";
    const other = envelope('<iq/>', header);
    expect([other[E.flags], other[E.kind]]).toEqual([FLAG.streamScope, KIND.other]);
    expect(text(E.rootNs)).toBe('jabber:server');
    const none = envelope('<iq/>', "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>");
    expect([none[E.flags], none[E.kind]]).toEqual([FLAG.streamScope, KIND.other]);
    expect(text(E.rootNs)).toBe('');
    expect(envelope("<iq xmlns='jabber:client'><b/></iq>", header)[E.flags]).toBe(0);
  });
});

describe('publish', () => {
  const PUBSUB = "<pubsub xmlns='http://jabber.org/protocol/pubsub'>";
  const wrap = (inner: string, end = ''): string => `<iq type='set' id='1'>${PUBSUB}${inner}${end}</pubsub></iq>`;
  const one = (payload: string): string => wrap(`<publish node='n'><item id='i'>${payload}</item></publish>`);

  it('tells node, item and payload', () => {
    const env = envelope(one("\n<data xmlns='urn:d'><a/>5</data> "));
    expect([E.node, E.itemId, E.payload].map(text)).toEqual(['n', 'i', "<data xmlns='urn:d'><a/>5</data>"]);
    expect(text(E.item)).toBe("<item id='i'>\n<data xmlns='urn:d'><a/>5</data> </item>");
    expect([env[E.itemCount], env[E.payloadCount], env[E.publishOptions], env[E.flags]]).toEqual([1, 1, 0, 0]);
  });

  it('counts items, and payloads of the first', () => {
    const x = "<x xmlns='urn:x'/>";
    const env = envelope(wrap(`<publish node='n'><item>${x}${x}</item><item id='2'>${x}</item></publish>`));
    expect([env[E.itemCount], env[E.payloadCount], text(E.itemId)]).toEqual([2, 2, undefined]);
    expect(text(E.item)).toBe(`<item>${x}${x}</item>`);
    expect(envelope(wrap("<publish node='n'><item/></publish>"))[E.payloadCount]).toBe(0);
    expect(text(E.item)).toBe('<item/>');
  });

  it.each([
    [wrap("<publish node='n'><item/></publish>", '<publish-options/>'), 1],
    [wrap("<publish node='n'><item/></publish>", "<publish node='m'/>"), 1],
    [wrap("<publish node='n'><item/><other/></publish>"), 1],
    [wrap("<publish node='n'/>"), 0],
  ])('%s: publishOptions is %i', (stanza, flag) => expect(envelope(stanza)[E.publishOptions]).toBe(flag));

  it.each([
    wrap("<retract node='n'><item id='1'/></retract>"),
    wrap("<x/><publish node='n'><item/></publish>"),
    `<iq type='set'><x/>${PUBSUB}<publish node='n'><item/></publish></pubsub></iq>`,
    `<message>${PUBSUB}<publish node='n'><item/></publish></pubsub></message>`,
    "<iq type='set'><pubsub xmlns='urn:other'><publish node='n'><item/></publish></pubsub></iq>",
    `<iq type='set'>${PUBSUB}<publish xmlns='urn:other' node='n'><item/></publish></pubsub></iq>`,
  ])('%s is no publish', (stanza) => {
    const env = envelope(stanza);
    expect([text(E.node), text(E.item), env[E.itemCount]]).toEqual([undefined, undefined, 0]);
  });

  it.each([
    ["<d xmlns='urn:d'><e/></d>", 0],
    ["<p:d xmlns:p='urn:d'/>", 0],
    ['<d/>', FLAG.payloadScope],
    ["<p:d xmlns:p='urn:d'><e/></p:d>", FLAG.payloadScope],
    ["<d xmlns='urn:d' stream:a=''/>", FLAG.payloadScope | FLAG.streamScope],
    ["<d xmlns='urn:d'><stream:e/></d>", FLAG.payloadScope | FLAG.streamScope],
    ["<d xmlns='urn:d' xml:lang='en'/>", 0],
  ])('payload %s has flags %i', (payload, flags) => expect(envelope(one(payload))[E.flags]).toBe(flags));

  it('flags a prefix that an ancestor of the payload binds', () => {
    const stanza = `<iq type='set' xmlns:q='urn:q'>${PUBSUB}<publish node='n'><item><q:d/></item></publish></pubsub></iq>`;
    expect(envelope(stanza)[E.flags]).toBe(FLAG.payloadScope);
    const after = wrap("<publish node='n'><item><d xmlns='urn:d'/></item></publish>", '<publish-options/>');
    expect(envelope(after)[E.flags]).toBe(0);
  });
});

describe('stream header', () => {
  it('reports its facts and the namespaces it declares', () => {
    const handle = scanner.open('stream', LIMITS);
    const header = `<?xml version="1.0" encoding='utf-8' standalone='yes' ?>\n<stream:stream from='a@localhost' to='localhost' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback&amp;'>`;
    const length = scanner.input.write(header);
    expect(scanner.feed(handle, length)).toBe(EVENT.streamOpen);
    expect([E.to, E.from, E.version, E.lang].map(text)).toEqual(['localhost', 'a@localhost', '1.0', 'en']);
    expect([text(E.rootNs), text(E.local)]).toEqual(['http://etherx.jabber.org/streams', 'stream']);
    expect(scanner.env[E.rest]).toBe(0);
    expect({ ...scanner.namespaces(handle) }).toEqual({
      '': 'jabber:client',
      stream: 'http://etherx.jabber.org/streams',
      db: 'jabber:server:dialback&',
    });
    scanner.close(handle);
  });

  it('reports a root of any name, for the caller to judge', () => {
    const all = playAlone(scanner, [bytes("<flow xmlns='urn:x'><iq/></flow>")]);
    expect(all.map(({ event }) => eventName(event))).toEqual(['streamOpen', 'stanza', 'streamClose']);
  });

  it('reports the end of an empty stream', () => {
    const handle = scanner.open('stream', LIMITS);
    const length = scanner.input.write("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>");
    expect(scanner.feed(handle, length)).toBe(EVENT.streamOpen);
    expect(scanner.namespaces(handle)['stream']).toBe('http://etherx.jabber.org/streams');
    expect(scanner.next(handle)).toBe(EVENT.streamClose);
    expect(scanner.next(handle)).toBe(EVENT.needMore);
    scanner.close(handle);
  });

  it.each([
    ["<?xml version='1.0' encoding='UTF-16'?><a>", 'unsupported-encoding'],
    ["<?xml version='1.0' encoding='iso-8859-1'?><a>", 'unsupported-encoding'],
    ["<?xml version='1.0' encoding=''?><a>", 'not-well-formed'],
    ["<?xml encoding='UTF-8'?><a>", 'not-well-formed'],
    ["<?xml version='2.0'?><a>", 'not-well-formed'],
    ["<?xml version='1.0'encoding='UTF-8'?><a>", 'not-well-formed'],
    ["<?xml version='1.0' standalone='maybe'?><a>", 'not-well-formed'],
    ["<?xml version='1.0' ><a>", 'not-well-formed'],
    ["<?xml-stylesheet href='x'?><a>", 'restricted-xml'],
    [" <?xml version='1.0'?><a>", 'restricted-xml'],
    ["<?xml version='1.0'?><?xml version='1.0'?><a>", 'restricted-xml'],
    ['<!DOCTYPE a><a>', 'restricted-xml'],
    ['<!-- a --><a>', 'restricted-xml'],
    ['GET / HTTP/1.1\r\n', 'not-well-formed'],
    ['</a>', 'not-well-formed'],
    ['<a:b>', 'not-well-formed'],
    ['\ufeff<a>', 'not-well-formed'],
    [Buffer.from('fffe3c006100', 'hex'), 'unsupported-encoding'],
    [Buffer.from('feff003c0061', 'hex'), 'unsupported-encoding'],
    [Buffer.from('3c006100', 'hex'), 'unsupported-encoding'],
  ])('%s is refused', (start, condition) => {
    const all = playAlone(scanner, [typeof start === 'string' ? bytes(start) : start]);
    expect(all.at(-1)).toMatchObject({ condition });
  });

  it('reads a new header after a restart, from what is left of the input', () => {
    const handle = scanner.open('stream', LIMITS);
    const length = scanner.input.write(`${HEADER}<auth/>\n${HEADER}<iq/>`);
    expect(scanner.feed(handle, length)).toBe(EVENT.streamOpen);
    expect(scanner.next(handle)).toBe(EVENT.stanza);
    scanner.restart(handle);
    expect(scanner.next(handle)).toBe(EVENT.streamOpen);
    expect(scanner.next(handle)).toBe(EVENT.stanza);
    expect(scanner.next(handle)).toBe(EVENT.needMore);
    scanner.close(handle);
  });

  it.each([1, 9, 1000])('reads a new header that came in pieces of %i before the restart', (size) => {
    const header = HEADER.slice(HEADER.indexOf('<stream'));
    for (let at = 1; at <= header.length; at += 3) {
      const handle = scanner.open('stream', LIMITS);
      play(scanner, handle, [bytes(HEADER), ...pieces(bytes(`<auth/>\n${header.slice(0, at)}`), size)]);
      scanner.restart(handle);
      const first = scanner.next(handle);
      const rest = play(scanner, handle, pieces(bytes(`${header.slice(at)}<iq/>`), size));
      const events = [first, ...rest.map(({ event }) => event)].filter((event) => event !== EVENT.needMore);
      expect(events).toEqual([EVENT.streamOpen, EVENT.stanza]);
      scanner.close(handle);
    }
  });

  it('drops injected bytes when told to, and counts them', () => {
    const handle = scanner.open('stream', LIMITS);
    const length = scanner.input.write(`${HEADER}<starttls/><iq/><half`);
    scanner.feed(handle, length);
    scanner.next(handle);
    expect(scanner.env[E.rest]).toBe(10);
    expect(scanner.pending(handle)).toBe(10);
    expect(scanner.discard(handle)).toBe(10);
    expect(scanner.next(handle)).toBe(EVENT.needMore);
    scanner.close(handle);
  });

  it('gives the rest away when told to', () => {
    const handle = scanner.open('stream', LIMITS);
    scanner.feed(handle, scanner.input.write(`${HEADER}<resume/><iq/><half`));
    scanner.next(handle);
    expect(scanner.takeRest(handle).toString()).toBe('<iq/><half');
    expect(scanner.pending(handle)).toBe(0);
    scanner.close(handle);
  });
});

describe('strictness', () => {
  it.each([
    ['<a>x</a>', 'stanza'],
    ['\n <a/>\t\r\n', 'stanza'],
    ['<a/><b/></stream:stream>', 'stanza stanza streamClose'],
    ['</stream:stream >', 'streamClose'],
    ['</stream:stream>junk', 'streamClose'],
    ['<a>]] ]> ]&gt;</a>', 'stanza'],
    ['<a><![CDATA[<&]] ]>]]]]></a>', 'stanza'],
    ['<a\n b = "1"\tc=\'2\' ></a >', 'stanza'],
    ["<a xmlns:p='urn:1' p:b='1' b='2'/>", 'stanza'],
    ["<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>", 'stanza'],
    ['<xml:a/>', 'stanza'],
    ["<a b='>'>></a>", 'stanza'],
    ['<a>&lt;&gt;&amp;&apos;&quot;&#9;&#xD7FF;&#x10FFFF;&#0065;</a>', 'stanza'],
    ['<é ü="ö"/>', 'stanza'],
    ['<a>\u007f\u0085\ufffd\u{1ffff}</a>', 'stanza'],
  ])('%s is fine', (xml, events) => expect(outcome(scanner, xml)).toBe(events));

  it.each([
    ['<a></b>', 'not-well-formed'],
    ['<a><b></a></b>', 'not-well-formed'],
    ['<abc></ab>', 'not-well-formed'],
    ['<ab></abc>', 'not-well-formed'],
    ['<a-name-of-more-than-sixteen></a-name-of-more-than-sixteeM>', 'not-well-formed'],
    ['</stream:strea>', 'not-well-formed'],
    ['</stream:stream/>', 'not-well-formed'],
    ["<a b='1' b='2'/>", 'not-well-formed'],
    ["<a a-long-attribute='1' a-long-attribute='2'/>", 'not-well-formed'],
    ["<a xmlns:p='urn:1' xmlns:q='urn:1' p:b='1' q:b='2'/>", 'not-well-formed'],
    ["<a xmlns:p='urn:1' xmlns:q='urn:&#49;' p:b='1' q:b='2'/>", 'not-well-formed'],
    ["<a b='<'/>", 'not-well-formed'],
    ['<a b=c>', 'not-well-formed'],
    ['<a b>', 'not-well-formed'],
    ["<a b='1'c='2'>", 'not-well-formed'],
    ["<a b='1'/ >", 'not-well-formed'],
    ['< a>', 'not-well-formed'],
    ['<1>', 'not-well-formed'],
    ['<->', 'not-well-formed'],
    ['<a·/>b', 'bad-format'],
    ['<·a/>', 'not-well-formed'],
    ['<a×/>', 'not-well-formed'],
    ['<:a/>', 'not-well-formed'],
    ['<a:/>', 'not-well-formed'],
    ["<a:b:c xmlns:a='urn:a'/>", 'not-well-formed'],
    ['<stream:1/>', 'not-well-formed'],
    ['<p:a/>', 'not-well-formed'],
    ["<a p:b=''/>", 'not-well-formed'],
    ["<a><b xmlns:p='urn:p'/><p:c/></a>", 'not-well-formed'],
    ["<a xmlns:p=''/>", 'not-well-formed'],
    ["<a xmlns:xmlns='urn:x'/>", 'not-well-formed'],
    ['<xmlns:a/>', 'not-well-formed'],
    ["<a xmlns:xml='urn:x'/>", 'not-well-formed'],
    ["<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", 'not-well-formed'],
    ["<a xmlns='http://www.w3.org/XML/1998/namespace'/>", 'not-well-formed'],
    ["<a xmlns='http://www.w3.org/2000/xmlns/'/>", 'not-well-formed'],
    ["<a xmlns='http://www.w3.org/2000/xmlns&#x2f;'/>", 'not-well-formed'],
    ['<a>]]></a>', 'not-well-formed'],
    ['<a>& </a>', 'not-well-formed'],
    ['<a>&;</a>', 'not-well-formed'],
    ['<a>&#;</a>', 'not-well-formed'],
    ['<a>&#x;</a>', 'not-well-formed'],
    ['<a>&#xG;</a>', 'not-well-formed'],
    ['<a>&#X41;</a>', 'not-well-formed'],
    ['<a>&#0;</a>', 'not-well-formed'],
    ['<a>&#xD800;</a>', 'not-well-formed'],
    ['<a>&#xFFFE;</a>', 'not-well-formed'],
    ['<a>&#x110000;</a>', 'not-well-formed'],
    ['<a>&#99999999999999999999;</a>', 'not-well-formed'],
    ["<a b='&lt'/>", 'not-well-formed'],
    ['<a>&nbsp;</a>', 'restricted-xml'],
    ["<a b='&x;'/>", 'restricted-xml'],
    ['<a>&AMP;</a>', 'restricted-xml'],
    ['<a><!-- x --></a>', 'restricted-xml'],
    ['<!-- x -->', 'restricted-xml'],
    ['<a><?x y?></a>', 'restricted-xml'],
    ['<?xml version="1.0"?>', 'restricted-xml'],
    ['<!DOCTYPE a>', 'restricted-xml'],
    ['<a><!ENTITY x "y"></a>', 'restricted-xml'],
    ['<a><![INCLUDE[x]]></a>', 'not-well-formed'],
    ['<![CDATA[x]]>', 'bad-format'],
    ['text', 'bad-format'],
    ['<a/>&#32;', 'bad-format'],
    ['<a>\u0000</a>', 'not-well-formed'],
    ['<a>\u0001</a>', 'not-well-formed'],
    ["<a b='\u001f'/>", 'not-well-formed'],
    ['<a>\ufffe</a>', 'not-well-formed'],
    ["<a b='\uffff'/>", 'not-well-formed'],
    ['<a><![CDATA[\u0008]]></a>', 'not-well-formed'],
  ])('%s is %s', (xml, condition) => expect(outcome(scanner, xml)).toBe(condition));

  it.each(['c080', 'c1bf', 'e08080', 'eda080', 'f0808080', 'f4908080', 'f5808080', '80', 'ff', 'c3', 'e282', 'f09f98'])(
    'the bytes %s are no UTF-8, in text, values, names and CDATA',
    (hex) => {
      const wrong = Buffer.from(hex, 'hex');
      for (const [before, after] of [
        ['<a>', '</a>'],
        ["<a b='", "'/>"],
        ['<a', '/>'],
        ['<a><![CDATA[', ']]></a>'],
      ]) {
        const xml = Buffer.concat([bytes(before!), wrong, bytes(after!)]);
        expect(outcome(scanner, xml)).toBe('unsupported-encoding');
      }
    },
  );

  it('stays in error, with the same condition, and keeps nothing', () => {
    const before = scanner.used;
    const handle = scanner.open('stream', LIMITS);
    scanner.feed(handle, scanner.input.write(`${HEADER}<a></b><c/>`));
    expect(scanner.next(handle)).toBe(EVENT.error);
    for (const again of [
      () => scanner.next(handle),
      () => scanner.feed(handle, scanner.input.write('<a/>')),
      () => scanner.hold(handle),
    ]) {
      expect(again()).toBe(EVENT.error);
      expect(scanner.error.text).toBe('an end tag that matches no start tag');
    }
    expect(scanner.pending(handle)).toBe(0);
    scanner.close(handle);
    expect(scanner.used).toBe(before);
  });
});
