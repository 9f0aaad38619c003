import { isAscii } from 'node:buffer';
import { Bare, Element, NS_XML, type Attributes, type Node, type Scope, standsFor } from './element.js';
import { decodeReferences } from './escape.js';
import { ATTRIBUTE_WORDS, StartTags, TAG_WORDS } from './sax.js';

const LESS_THAN = 0x3c;
const GREATER_THAN = 0x3e;
const SLASH = 0x2f;
const QUOTE = 0x22;
const APOSTROPHE = 0x27;
/** A start is late by all but the first byte of a character. */
const LATEST = 3;
const CDATA_START = '<![CDATA['.length;
const CDATA_END = ']]>';

/** The bytes were not what the scanner promises: one whole well-formed element with bound prefixes. */
export class TreeFault extends Error {
  override name = 'TreeFault';
}

const ROOT_SCOPE: Scope = { outer: undefined, names: Object.assign(new Bare(), { '': '', xml: NS_XML }) };

/**
 * Builds `Element` trees from bytes that the scanner accepted; one instance serves a worker.
 *
 * sax-wasm finds the start tags and their attributes; the text, CDATA sections and end tags between them are
 * read here (see sax.ts for why).
 */
export class TreeBuilder {
  readonly #tags = new StartTags();
  #bytes: Buffer = Buffer.alloc(0);
  #encoding: 'latin1' | 'utf8' = 'latin1';

  static async create(): Promise<TreeBuilder> {
    return new TreeBuilder();
  }

  /**
   * The tree of one whole stanza.
   *
   * `scope` holds the namespace declarations that it inherits, '' being the default one. Nothing of `bytes` is kept.
   * @throws TreeFault when the bytes are not what the scanner would have accepted
   */
  parse(bytes: Uint8Array, scope?: Record<string, string>): Element {
    const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#bytes = buffer;
    this.#encoding = isAscii(buffer) ? 'latin1' : 'utf8';
    try {
      this.#tags.find(buffer);
      return this.#build(scope ? { outer: ROOT_SCOPE, names: Object.assign(new Bare(), scope) } : ROOT_SCOPE);
    } catch (cause) {
      this.#tags.restart();
      throw cause instanceof TreeFault ? cause : new TreeFault('sax-wasm could not read the stanza', { cause });
    }
  }

  #build(outer: Scope): Element {
    const { table, length } = this.#tags;
    const holder = new Element('', '');
    const open: Element[] = [holder];
    const scopes: Scope[] = [outer];
    let position = 0;
    for (let row = 0; row < length; row += TAG_WORDS + table[row + 4]! * ATTRIBUTE_WORDS) {
      const start = this.#start(row);
      this.#between(position, start, open, scopes);
      position = table[row + 1]!;
      const parent = open[open.length - 1];
      if (!parent) throw new TreeFault('start tag out of place');
      const scope = this.#scope(row, scopes[scopes.length - 1]!);
      const element = this.#element(row, start, scope);
      if (scope !== scopes[scopes.length - 1]) element.declared = scope.names;
      parent.children.push(element);
      if (table[row + 3] === 0) {
        open.push(element);
        scopes.push(scope);
      }
    }
    this.#between(position, this.#bytes.length, open, scopes);
    const root = holder.children.find((node) => typeof node !== 'string');
    if (open.length !== 1 || !root || typeof root === 'string') throw new TreeFault('not one whole element');
    return root;
  }

  /** Where a start tag begins; faults unless the row is what lies there. */
  #start(row: number): number {
    const { table } = this.#tags;
    const bytes = this.#bytes;
    const late = table[row]!;
    let start = late;
    while (bytes[start] !== LESS_THAN && late - start < LATEST) start--;
    let sound = bytes[start] === LESS_THAN && bytes[table[row + 1]! - 1] === GREATER_THAN;
    for (let i = 0, at = row + TAG_WORDS; i < table[row + 4]!; i++, at += ATTRIBUTE_WORDS) {
      const quote = bytes[table[at + 3]!];
      sound &&= (quote === QUOTE || quote === APOSTROPHE) && bytes[table[at + 2]! - 1] === quote;
    }
    if (!sound) throw new TreeFault('sax-wasm misread a start tag');
    return start;
  }

  /** The scope of a start tag: the outer one, or one inside it with what the tag declares. */
  #scope(row: number, outer: Scope): Scope {
    const { table } = this.#tags;
    let scope = outer;
    for (let i = 0, at = row + TAG_WORDS; i < table[row + 4]!; i++, at += ATTRIBUTE_WORDS) {
      const prefix = this.#declares(table[at]!, table[at + 1]!);
      if (prefix === undefined) continue;
      if (scope === outer) scope = { outer, names: new Bare() };
      scope.names[prefix] = this.#value(table[at + 2]!, table[at + 3]!);
    }
    return scope;
  }

  /** The prefix that an attribute declares ('' for `xmlns`), undefined when it is no declaration. */
  #declares(start: number, end: number): string | undefined {
    const bytes = this.#bytes;
    // Most names are told apart by the first letter.
    if (bytes[start] !== 0x78 || end - start < 5) return undefined;
    const name = this.#string(start, end);
    if (name === 'xmlns') return '';
    return name.startsWith('xmlns:') ? name.slice(6) : undefined;
  }

  #element(row: number, start: number, scope: Scope): Element {
    const { table } = this.#tags;
    const name = this.#string(start + 1, start + 1 + table[row + 2]!);
    const colon = name.indexOf(':');
    const ns = standsFor(scope, colon < 0 ? '' : name.slice(0, colon));
    if (ns === undefined) throw new TreeFault('unbound prefix');
    const attrs: Attributes = new Bare();
    const element = new Element(colon < 0 ? name : name.slice(colon + 1), ns, attrs);
    if (colon >= 0) element.prefix = name.slice(0, colon);
    for (let i = 0, at = row + TAG_WORDS; i < table[row + 4]!; i++, at += ATTRIBUTE_WORDS) {
      if (this.#declares(table[at]!, table[at + 1]!) !== undefined) continue;
      const key = this.#string(table[at]!, table[at + 1]!);
      attrs[key] = this.#value(table[at + 2]!, table[at + 3]!);
      const split = key.indexOf(':');
      if (split >= 0) this.#need(element, key.slice(0, split), scope);
    }
    return element;
  }

  /** Notes what the prefix of an attribute stands for. */
  #need(element: Element, prefix: string, scope: Scope): void {
    if (prefix === 'xml') return;
    const ns = standsFor(scope, prefix);
    if (ns === undefined) throw new TreeFault('unbound prefix');
    (element.prefixes ??= new Bare())[prefix] = ns;
  }

  /** Text, CDATA sections and end tags of [start, end). */
  #between(start: number, end: number, open: Element[], scopes: Scope[]): void {
    const bytes = this.#bytes;
    let from = start;
    for (let at = start; at < end; at++) {
      if (bytes[at] !== LESS_THAN) continue;
      if (at > from) addText(open, this.#text(from, at));
      if (bytes[at + 1] === SLASH) {
        while (at < end && bytes[at] !== GREATER_THAN) at++;
        open.pop();
        scopes.pop();
      } else {
        const close = bytes.indexOf(CDATA_END, at + CDATA_START, 'latin1');
        if (bytes[at + 1] !== 0x21 || close < 0 || close > end) throw new TreeFault('markup out of place');
        if (close > at + CDATA_START) addText(open, lines(this.#string(at + CDATA_START, close)));
        at = close + CDATA_END.length - 1;
      }
      from = at + 1;
    }
    if (end > from) addText(open, this.#text(from, end));
  }

  #text(start: number, end: number): string {
    return decodeReferences(lines(this.#string(start, end)));
  }

  /** An attribute's value, normalised as XML §3.3.3 says for CDATA attributes. */
  #value(start: number, end: number): string {
    const raw = this.#string(start, end);
    return decodeReferences(WHITE.test(raw) ? raw.replace(WHITES, ' ') : raw);
  }

  #string(start: number, end: number): string {
    return this.#bytes.toString(this.#encoding, start, end);
  }
}

const WHITE = /[\t\r\n]/;
const WHITES = /\r\n|[\t\r\n]/g;

/** Line ends as XML §2.11 says. */
function lines(raw: string): string {
  return raw.includes('\r') ? raw.replace(/\r\n?/g, '\n') : raw;
}

/** Appends character data, to the text before it where there is some. */
function addText(open: Element[], text: string): void {
  const children: Node[] | undefined = open[open.length - 1]?.children;
  if (!children) throw new TreeFault('text out of place');
  const last = children.length - 1;
  if (last >= 0 && typeof children[last] === 'string') children[last] += text;
  else children.push(text);
}
