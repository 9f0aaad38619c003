import { SaxesParser } from 'saxes';
import { beforeAll, describe, expect, it } from 'vitest';
import { Element } from '../../src/xml/element.js';
import { TreeBuilder, TreeFault } from '../../src/xml/tree.js';

let builder: TreeBuilder;
beforeAll(async () => {
  builder = await TreeBuilder.create();
});

const parse = (xml: string, scope?: Record<string, string>) => builder.parse(Buffer.from(xml), scope);

describe('the tree of a stanza', () => {
  it('has resolved namespaces, inherited ones too', () => {
    const iq = parse(`<iq xmlns:p='u'><p:a/><b xmlns='v'><c/><d xmlns=''/></b><s:e/></iq>`, {
      '': 'jabber:client',
      s: 'streams',
    });
    expect([iq.name, iq.ns]).toEqual(['iq', 'jabber:client']);
    expect(iq.elements().map((e) => [e.name, e.ns])).toEqual([
      ['a', 'u'],
      ['b', 'v'],
      ['e', 'streams'],
    ]);
    expect(
      iq
        .elements()[1]!
        .elements()
        .map((e) => e.ns),
    ).toEqual(['v', '']);
    expect(iq.attrs).toEqual({});
  });

  it('keeps prefixed attributes and what their prefixes mean', () => {
    const a = parse(`<a xmlns:p='u' p:x='1' x='2' xml:lang='en'/>`);
    expect(a.attrs).toEqual({ 'p:x': '1', x: '2', 'xml:lang': 'en' });
    expect(a.prefixes).toEqual({ p: 'u' });
  });

  it('has references decoded, line ends and white space in attributes normalised', () => {
    const a = parse(`<a b=' x&#10;\r\n\ty&amp;&lt;&quot;{'>1\r\n2\r3&#13;&#x1F600;&amp;lt;</a>`);
    expect(a.attr('b')).toBe(' x\n  y&<"{');
    expect(a.text()).toBe('1\n2\r3\r\u{1f600}&lt;'.replace('2\r', '2\n'));
  });

  it('takes CDATA sections for text, joined with the text around', () => {
    const a = parse(`<a>1<![CDATA[<b>&amp;]]]]><![CDATA[>{]]>2<c/><![CDATA[]]></a>`);
    expect(a.children[0]).toBe('1<b>&amp;]]>{2');
    expect(a.children).toHaveLength(2);
    expect(a.elements().map((e) => e.name)).toEqual(['c']);
  });

  it.each([
    `<a>{<b/>}</a>`,
    `<a>"{'<b c="{"/>}</a>`,
    '<a>`${<b/>}`</a>',
    `<a><script>1 > 2 {<b/>}</script><style/><b/></a>`,
    `<a\r\nb\r\n=\r\n'1'\r\n><b\n/></a\r\n>`,
    `<a\u0020><x></x\n><b></b\t></a >`,
    `<a>\u65e5\u672c{\u8a9e<b c='\u00e9\u{1f600}'/>\u8a9e</a>`,
    `<a>]]&gt;<b/>--></a>`,
    `<a b='/>' c='<' d="]]>"><b/></a>`.replace("'<'", "'&lt;'"),
  ])('is not misled by what means something in other languages: %j', (xml) => {
    expect(parse(xml).toString()).toBe(reference(xml).toString());
  });

  it('takes names that objects inherit for names', () => {
    const a = parse(`<a __proto__='1' constructor='2' xmlns:__proto__='u' __proto__:toString='3'><__proto__:b/></a>`);
    expect(Object.entries(a.attrs)).toEqual([
      ['__proto__', '1'],
      ['constructor', '2'],
      ['__proto__:toString', '3'],
    ]);
    expect(a.elements()[0]!.ns).toBe('u');
    expect(a.attr('hasOwnProperty')).toBeUndefined();
    expect(parse(String(a)).attrs).toEqual(a.attrs);
  });

  it('may be as large as the largest stanza allowed, in any part', () => {
    const big = 'x\u00e9'.repeat(500_000);
    expect(parse(`<a>${big}</a>`).text()).toBe(big);
    expect(parse(`<a b='${big}'/>`).attr('b')).toBe(big);
    expect(parse(`<a>${`<b c='${'d'.repeat(50)}'>{</b>`.repeat(20_000)}</a>`).elements('b')).toHaveLength(20_000);
    expect(parse(`<a>${'<b/>'.repeat(60_000)}</a>`).children).toHaveLength(60_000);
    expect(parse('<a/>').name).toBe('a');
  });

  it('does not depend on the bytes after the call', () => {
    const bytes = Buffer.from(`<a b='value of an attribute'>some text that is long enough</a>`);
    const a = builder.parse(bytes);
    bytes.fill(0);
    expect(a.toString()).toBe(`<a b='value of an attribute'>some text that is long enough</a>`);
  });

  it('is refused with a fault, and the next one is read, when the bytes are not one whole element', () => {
    for (const xml of [
      '',
      'text',
      '<a>',
      '</a>',
      '<a><b></a>',
      '<a/><!-- -->',
      '<p:a/>',
      '<a p:b="1"/>',
      '<a>&lt;<!x></a>',
    ]) {
      expect(() => parse(xml), xml).toThrow(TreeFault);
      expect(parse('<a><b/></a>').toString()).toBe('<a><b/></a>');
    }
  });
});

/** The same tree by another parser. */
function reference(xml: string, scope: Record<string, string> = {}): Element {
  const parser = new SaxesParser({ xmlns: true, additionalNamespaces: scope });
  const holder = new Element('', '');
  const open = [holder];
  const addText = (text: string) => {
    const { children } = open.at(-1)!;
    if (typeof children.at(-1) === 'string') children[children.length - 1] += text;
    else if (text !== '') children.push(text);
  };
  parser.on('error', (error) => {
    throw error;
  });
  parser.on('opentag', (tag) => {
    const element = new Element(tag.local, tag.uri);
    for (const attribute of Object.values(tag.attributes)) {
      if (attribute.name === 'xmlns' || attribute.prefix === 'xmlns') continue;
      element.attrs[attribute.name] = attribute.value;
      if (attribute.prefix && attribute.prefix !== 'xml') (element.prefixes ??= {})[attribute.prefix] = attribute.uri;
    }
    open.at(-1)!.children.push(element);
    open.push(element);
  });
  parser.on('closetag', () => open.pop());
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.write(xml).close();
  return holder.children.find((node) => typeof node !== 'string') as Element;
}

/** Well-formed XML full of what other parsers stumble over, from a seed. */
class Generator {
  #seed: number;
  constructor(seed: number) {
    this.#seed = seed >>> 0;
  }

  random(n: number): number {
    this.#seed = (Math.imul(this.#seed, 1103515245) + 12345) >>> 0;
    return (this.#seed >>> 8) % n;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.random(from.length)]!;
  }

  space(least: string): string {
    return this.pick([least, ' ', '\n', '\t', '\r\n', '  ', '\r']);
  }

  text(most: number): string {
    let s = '';
    for (let i = this.random(most); i > 0; i--) s += this.pick(PIECES);
    return s.replaceAll(']]>', ']]&gt;');
  }

  attribute(): string {
    const quote = this.pick(['"', "'"]);
    return quote + this.text(6).replaceAll(quote, '') + quote;
  }

  cdata(): string {
    const inner =
      this.text(5) + this.pick(['', '<q>', '</a>', '<', '&', ']', '{', '<!--', '<?x']) + this.pick(['', ']']);
    return `<![CDATA[${inner.replaceAll(']]>', '')}]]>`;
  }

  element(depth: number, bound: readonly string[]): string {
    const name = this.pick(['', '', ...bound.map((prefix) => `${prefix}:`)]) + this.pick(NAMES);
    let xml = `<${name}`;
    const seen = new Set<string>();
    for (let i = this.random(4); i > 0; i--) {
      const key = this.pick(['', '', 'xml:', 'p:']) + this.pick(NAMES);
      if (seen.has(key)) continue;
      seen.add(key);
      xml += `${this.space(' ')}${key}${this.space('')}=${this.space('')}${this.attribute()}`;
    }
    if (this.random(5) === 0) xml += ` xmlns='${this.pick(['', 'urn:a', 'urn:b&amp;c'])}'`;
    xml += this.space('');
    if (this.random(4) === 0) return `${xml}/>`;
    xml += '>';
    for (let i = this.random(depth > 0 ? 5 : 2); i > 0; i--) {
      const kind = this.random(6);
      if (kind < 2 && depth > 0) xml += this.element(depth - 1, bound);
      else xml += kind === 2 ? this.cdata() : this.text(6);
    }
    return `${xml}</${name}${this.space('')}>`;
  }
}

const NAMES = [
  'a',
  'b',
  'script',
  'style',
  '\u65e5\u672c',
  'a.b-c',
  '_x',
  'Text',
  'svg',
  '\u00e9',
  'A',
  'x1',
  'title',
  'xml1',
];
// prettier-ignore
const PIECES = ['{', '}', '"', "'", 'x', '\u65e5', '\u00e9', '\u{1f600}', '&lt;', '&#x41;', '&amp;', '&apos;', ' ', '\n', '\t', ']]', '>', '/', '=',
  '!', '--', '?', '`', '$', '@', '(', ')', '[', ']', '&#10;', '&#13;', '\\', '#', ';', '{{', '}}', '${', '0', '\r', '\r\n', '\u0085', '\u2028', '/>'];

describe('the tree of generated XML', () => {
  it('is the one that another strict parser builds, and stays so when serialised', () => {
    const generator = new Generator(42);
    let compared = 0;
    for (let i = 0; i < 4000; i++) {
      const xml = generator
        .element(3, ['p', 'q'])
        .replace(/^<([^\s/>]+)/, (_, name) => `<${name} xmlns:p='urn:p' xmlns:q='urn:q&lt;'`);
      let expected: Element;
      try {
        expected = reference(xml, { '': 'jabber:client' });
      } catch {
        continue; // A generated document that is not well-formed, e.g. two attributes of the same resolved name.
      }
      compared++;
      const built = parse(xml, { '': 'jabber:client' });
      expect(shape(built), xml).toEqual(shape(expected));
      expect(shape(parse(built.toString())), xml).toEqual(shape(expected));
    }
    expect(compared).toBeGreaterThan(3000);
  });
});

/** Plain values, so that a difference is easy to see. */
function shape(node: Element | string): unknown {
  if (typeof node === 'string') return node;
  return [node.name, node.ns, { ...node.attrs }, { ...node.prefixes }, node.children.map(shape)];
}
