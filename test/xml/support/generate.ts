/** Small seeded generator (mulberry32), so that every failure can be repeated. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const NAMESPACES = [
  'jabber:client',
  'http://jabber.org/protocol/pubsub',
  'urn:x',
  'urn:y?a=1&amp;b=2',
  'urn:&#x79;',
  'urn:y',
];
const NAMES = ['iq', 'message', 'presence', 'body', 'x', 'data', 'pubsub', 'publish', 'item', 'größe', 'a-b.c_9'];
const LONG_NAMES = ['publish-options', 'a-name-of-more-than-sixteen', 'exactly-sixteen-', '名前'];
const TEXTS = [
  '21.37',
  '&lt;&amp;&#x1F600;',
  'Größe 漢字 😀',
  ' \n\t',
  ']] ]&gt;',
  '<![CDATA[<raw> ]] & ]]>',
  'x'.repeat(40),
  '>',
];
const VALUES = ['1', 'a@b/c', '&quot;&apos;', 'ü', 'tab\there', 'a&#9;b', 'set', 'get', '>', '', 'y'.repeat(33)];
const PREFIXES = ['p', 'q', 'long-prefix', 'stream'];

/** Makes well-formed stanzas of all sorts; `random` decides. */
export class Generator {
  constructor(private readonly random: () => number) {}

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random() * from.length)]!;
  }

  private chance(of: number): boolean {
    return this.random() < of;
  }

  private quoted(value: string): string {
    const quote = this.chance(0.7) ? "'" : '"';
    return quote + value + quote;
  }

  private space(): string {
    return this.chance(0.9) ? ' ' : this.pick(['  ', '\n', '\t ', '\r\n']);
  }

  private attribute(name: string, value: string): string {
    return this.space() + name + (this.chance(0.95) ? '=' : ' = ') + this.quoted(value);
  }

  element(depth: number, bound: readonly string[], name?: string): string {
    const scope = [...bound];
    let attributes = '';
    const names = new Set<string>();
    const add = (attribute: string, value: string): void => {
      if (names.has(attribute)) return;
      names.add(attribute);
      attributes += this.attribute(attribute, value);
    };
    if (this.chance(0.3)) add('xmlns', this.pick(NAMESPACES.concat(depth > 0 ? [''] : [])));
    if (this.chance(0.15)) {
      const prefix = this.pick(PREFIXES);
      scope.push(prefix);
      add(`xmlns:${prefix}`, this.pick(NAMESPACES));
    }
    while (this.chance(0.4)) {
      const local = this.pick([
        'to',
        'from',
        'id',
        'type',
        'node',
        'h',
        'xml:lang',
        'version',
        'ä',
        'attribute-of-some-length',
      ]);
      add(local, this.pick(VALUES));
    }
    if (this.chance(0.1)) add(`${this.pick(scope)}:only`, this.pick(VALUES));
    const plain = name ?? this.pick(this.chance(0.9) ? NAMES : LONG_NAMES);
    const qname = this.chance(0.12) ? `${this.pick(scope)}:${plain}` : plain;
    if (this.chance(0.2)) return `<${qname}${attributes}${this.chance(0.3) ? ' ' : ''}/>`;
    let content = '';
    while (this.chance(0.65 - depth * 0.1))
      content += this.chance(0.5) ? this.element(depth + 1, scope) : this.pick(TEXTS);
    return `<${qname}${attributes}>${content}</${qname}${this.chance(0.05) ? ' ' : ''}>`;
  }

  private publish(): string {
    const payload = this.chance(0.9) ? this.element(2, ['stream']) : '';
    const more = this.chance(0.2) ? this.element(2, ['stream']) : '';
    const id = this.chance(0.5) ? this.attribute('id', this.pick(VALUES)) : '';
    const item = this.chance(0.9) ? `<item${id}>${payload}${more}</item>` : '<item/>';
    const second = this.chance(0.2) ? '<item id="2"><x xmlns="urn:x"/></item>' : '';
    const options = this.chance(0.2) ? '<publish-options><x xmlns="jabber:x:data"/></publish-options>' : '';
    return `<iq type='set'${this.attribute('id', this.pick(VALUES))}${this.attribute('to', 'pubsub.localhost')}><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish${this.attribute('node', this.pick(VALUES))}>${item}${second}</publish>${options}</pubsub></iq>`;
  }

  stanza(): string {
    if (this.chance(0.3)) return this.publish();
    if (this.chance(0.1)) return this.pick(["<r xmlns='urn:xmpp:sm:3'/>", "<a h='4294967295' xmlns='urn:xmpp:sm:3'/>"]);
    return this.element(0, ['stream'], this.chance(0.7) ? this.pick(['iq', 'message', 'presence']) : undefined);
  }
}

const BITS = [
  '<',
  '>',
  '/',
  '&',
  ';',
  "'",
  '"',
  '=',
  ' ',
  ':',
  ']]>',
  '<!--',
  '<?',
  '<![CDATA[',
  '&amp;',
  '&#0;',
  '&#x;',
  '&x;',
  '\0',
  '\u0001',
  'é',
  '\ufffe',
  'xmlns',
  "xmlns:q='urn:q'",
  'q:',
  '</a>',
  '<a>',
  "a='1'",
  'A',
];

/** Breaks bytes in one to three places. */
export function mutate(source: Buffer, next: () => number): Buffer {
  let bytes = source;
  for (let times = 1 + Math.floor(next() * 3); times > 0; times--) {
    const at = Math.floor(next() * (bytes.length + 1));
    const length = Math.floor(next() * next() * 12);
    const head = bytes.subarray(0, at);
    const kind = next();
    if (kind < 0.25) bytes = Buffer.concat([head, bytes.subarray(at + 1 + length)]);
    else if (kind < 0.5)
      bytes = Buffer.concat([head, Buffer.from(BITS[Math.floor(next() * BITS.length)]!), bytes.subarray(at)]);
    else if (kind < 0.75)
      bytes = Buffer.concat([head, Buffer.from(BITS[Math.floor(next() * BITS.length)]!), bytes.subarray(at + 1)]);
    else if (kind < 0.85) bytes = Buffer.concat([head, bytes.subarray(at, at + length), bytes.subarray(at)]);
    else bytes = Buffer.concat([head, Buffer.from([Math.floor(next() * 256)]), bytes.subarray(at + 1)]);
  }
  return bytes;
}
