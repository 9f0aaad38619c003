import { describe, expect, it } from 'vitest';
import { Element, el } from '../../src/xml/element.js';
import { decodeReferences, escapeAttr, escapeText } from '../../src/xml/escape.js';

describe('an element', () => {
  const query = el('query', 'q', { node: 'n', absent: undefined }, el('item', 'q', { a: '1' }), 'text', undefined);
  query.append(el('item', 'other', { a: '2' }), el('item', 'q', { a: '3' }), ' more');

  it('finds its children by name, in its own namespace unless another is named', () => {
    expect(query.child('item')?.attr('a')).toBe('1');
    expect(query.child('item', 'other')?.attr('a')).toBe('2');
    expect(query.child('item', 'none')).toBeUndefined();
    expect(query.elements('item').map((item) => item.attr('a'))).toEqual(['1', '3']);
    expect(query.elements('item', 'other')).toHaveLength(1);
    expect(query.elements()).toHaveLength(3);
    expect(query.elements(undefined, 'q')).toHaveLength(2);
  });

  it('has text, attributes and no attribute that was undefined', () => {
    expect(query.text()).toBe('text more');
    expect(query.attr('node')).toBe('n');
    expect(query.attrs).toEqual({ node: 'n' });
  });
});

describe('serialisation', () => {
  it('declares a namespace only where it changes', () => {
    const iq = el('iq', 'jabber:client', { id: '1' }, el('q', 'x', {}, el('i', 'x'), el('j', 'jabber:client')));
    expect(iq.serialize('jabber:client')).toBe("<iq id='1'><q xmlns='x'><i/><j xmlns='jabber:client'/></q></iq>");
    expect(String(iq)).toBe("<iq xmlns='jabber:client' id='1'><q xmlns='x'><i/><j xmlns='jabber:client'/></q></iq>");
  });

  it('takes a namespace back where a child has none', () => {
    expect(el('a', 'x', {}, el('b', '')).toString()).toBe("<a xmlns='x'><b xmlns=''/></a>");
    expect(el('a', '').toString()).toBe('<a/>');
  });

  it('declares the prefixes of attributes again and never declares xml', () => {
    const element = new Element('a', 'x', { 'xml:lang': 'en', 'p:b': '1' });
    element.prefixes = { p: 'urn:p' };
    expect(element.toString()).toBe("<a xmlns='x' xmlns:p='urn:p' xml:lang='en' p:b='1'/>");
    const inXml = el('b', 'http://www.w3.org/XML/1998/namespace', {}, el('c', 'x'));
    expect(el('a', 'x', {}, inXml).toString()).toBe("<a xmlns='x'><xml:b><c/></xml:b></a>");
  });

  it('escapes whatever a string holds', () => {
    const hostile = `<&>"'</a>]]>\r\n\t\u0000\u0001\ufffe\ud800x\udc00\u{1f600}`;
    const text = '&lt;&amp;&gt;"\'&lt;/a&gt;]]&gt;&#13;\n\t\ufffd\ufffd\ufffd\ufffdx\ufffd\u{1f600}';
    const value = '&lt;&amp;&gt;&quot;&apos;&lt;/a&gt;]]&gt;&#13;&#10;&#9;\ufffd\ufffd\ufffd\ufffdx\ufffd\u{1f600}';
    expect(el('a', hostile, { b: hostile }, hostile).toString()).toBe(`<a xmlns='${value}' b='${value}'>${text}</a>`);
  });
});

describe('escaping', () => {
  it('leaves plain strings as they are', () => {
    expect(escapeText('plain \u65e5 text\n')).toBe('plain \u65e5 text\n');
    expect(escapeAttr('plain \u65e5 text')).toBe('plain \u65e5 text');
  });

  it('is undone by decoding', () => {
    const all = `a&b<c>d"e'f\rg`;
    expect(decodeReferences(escapeText(all))).toBe(all);
    expect(decodeReferences(escapeAttr(`${all}\t\n`))).toBe(`${all}\t\n`);
  });

  it('decodes the predefined entities and character references once', () => {
    expect(decodeReferences('&amp;lt;&lt;&gt;&quot;&apos;&#65;&#x1F600;&#x41;&#10;')).toBe('&lt;<>"\'A\u{1f600}A\n');
    expect(decodeReferences('no references; at & all')).toBe('no references; at & all');
  });
});
