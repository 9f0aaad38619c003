import { SaxesParser, type SaxesTagNS } from 'saxes';

/** An element as the test client saw it on the wire. Made by saxes, so that the product's own XML code is not its own judge. */
export class XmlElement {
  readonly children: (XmlElement | string)[] = [];

  constructor(
    readonly name: string,
    readonly ns: string,
    /** Without namespace declarations; prefixed ones keyed as written (`xml:lang`). */
    readonly attrs: Readonly<Record<string, string>>,
    /** Exactly as it was written on the start tag, if at all. */
    readonly xmlns: string | undefined,
  ) {}

  attr(name: string): string | undefined {
    return this.attrs[name];
  }

  elements(name?: string, ns?: string): XmlElement[] {
    return this.children.filter(
      (child): child is XmlElement =>
        typeof child !== 'string' &&
        (name === undefined || child.name === name) &&
        (ns === undefined || child.ns === ns),
    );
  }

  /** The first child element of that name (any namespace unless given). */
  child(name: string, ns?: string): XmlElement | undefined {
    return this.elements(name, ns)[0];
  }

  /** The element at the end of a path of child names; fails the test when it is not there. */
  get(...path: string[]): XmlElement {
    let at: XmlElement = this;
    for (const name of path) {
      const next = at.child(name);
      if (next === undefined) throw new Error(`no <${name}/> in ${at.toString()}`);
      at = next;
    }
    return at;
  }

  /** Names of the child elements, in order. */
  names(): string[] {
    return this.elements().map((child) => child.name);
  }

  /** All text in it. */
  text(): string {
    return this.children.map((child) => (typeof child === 'string' ? child : child.text())).join('');
  }

  /** For messages of failing tests, and for comparing: namespaces are declared where they change. */
  toString(inherited = ''): string {
    const attrs = Object.entries(this.attrs).map(([name, value]) => ` ${name}='${escape(value)}'`);
    const xmlns = this.ns === inherited ? '' : ` xmlns='${escape(this.ns)}'`;
    const inner = this.children.map((child) => (typeof child === 'string' ? escape(child) : child.toString(this.ns)));
    const open = `<${this.name}${xmlns}${attrs.join('')}`;
    return inner.length === 0 ? `${open}/>` : `${open}>${inner.join('')}</${this.name}>`;
  }
}

export interface XmlEvents {
  /** The stream header, or none over WebSocket. */
  header(element: XmlElement): void;
  /** A whole child of the stream. */
  element(element: XmlElement): void;
  /** `</stream:stream>` */
  footer(): void;
  /** The server sent something that is not well-formed. */
  malformed(error: Error): void;
}

/** Reads a stream of elements: TCP (children of one root that stays open). */
export class StreamReader {
  private readonly parser = new SaxesParser({ xmlns: true });
  private readonly open: XmlElement[] = [];
  private depth = 0;
  private over = false;
  /** saxes closes elements before it says that the closing tag did not fit: what is closed counts one step later. */
  private closing: (() => void) | undefined;

  constructor(private readonly events: XmlEvents) {
    this.parser.on('opentag', (tag) => this.opened(tag));
    this.parser.on('closetag', () => this.closed());
    const text = (text: string) => {
      this.settle();
      this.open.at(-1)?.children.push(text);
    };
    this.parser.on('text', text);
    this.parser.on('cdata', text);
    this.parser.on('error', (error) => {
      if (this.over) return;
      this.over = true;
      this.closing = undefined;
      events.malformed(error);
    });
  }

  write(text: string): void {
    if (this.over) return;
    this.parser.write(text);
    this.settle();
  }

  /** Nothing more is taken: a new stream begins on the same connection. */
  stop(): void {
    this.over = true;
  }

  private settle(): void {
    const closing = this.closing;
    this.closing = undefined;
    if (!this.over) closing?.();
  }

  private opened(tag: SaxesTagNS): void {
    this.settle();
    if (this.over) return;
    const element = elementOf(tag);
    if (this.depth++ === 0) return this.events.header(element);
    this.open.at(-1)?.children.push(element);
    this.open.push(element);
  }

  private closed(): void {
    this.settle();
    if (this.over) return;
    this.depth--;
    const element = this.open.pop();
    if (this.depth === 0) this.closing = () => this.events.footer();
    else if (this.depth === 1) this.closing = () => this.events.element(element!);
  }
}

/** One whole element, as a WebSocket message or a test's expectation. Throws when it is not well-formed. */
export function parseXml(text: string): XmlElement {
  let result: XmlElement | undefined;
  const reader = new StreamReader({
    header: () => undefined,
    element: (element) => (result ??= element),
    footer: () => undefined,
    malformed: (error) => {
      throw error;
    },
  });
  reader.write(`<wrapper>${text}</wrapper>`);
  if (result === undefined) throw new Error(`no element in ${JSON.stringify(text)}`);
  return result;
}

function elementOf(tag: SaxesTagNS): XmlElement {
  const attrs: Record<string, string> = {};
  let xmlns: string | undefined;
  for (const [name, attribute] of Object.entries(tag.attributes)) {
    if (name === 'xmlns') xmlns = attribute.value;
    else if (attribute.prefix !== 'xmlns') attrs[name] = attribute.value;
  }
  return new XmlElement(tag.local, tag.uri, attrs, xmlns);
}

const REFERENCES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&apos;', '"': '&quot;' };

/** Text for an attribute or an element's content. */
export function escape(text: string): string {
  return text.replace(/[&<>'"]/g, (character) => REFERENCES[character]!);
}
