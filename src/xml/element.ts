import { escapeAttr, escapeText } from './escape.js';

export type Attributes = Record<string, string>;
export type Node = Element | string;

/** The namespace of the prefix `xml`, which is always bound and may never be the default (Namespaces in XML §3). */
export const NS_XML = 'http://www.w3.org/XML/1998/namespace';

/**
 * One XML element of the comfortable road: names resolved to namespaces, references decoded.
 *
 * `attrs` holds no namespace declarations. A prefixed attribute is keyed with its prefix (`xml:lang`, `p:x`), and
 * `prefixes` says what the prefixes other than `xml` stand for, so that they can be declared again on output.
 */
export class Element {
  name: string;
  ns: string;
  attrs: Attributes;
  children: Node[];
  prefixes?: Record<string, string>;

  constructor(name: string, ns: string, attrs: Attributes = {}, children: Node[] = []) {
    this.name = name;
    this.ns = ns;
    this.attrs = attrs;
    this.children = children;
  }

  attr(name: string): string | undefined {
    return this.attrs[name];
  }

  /** The first child element of that name, in this element's namespace unless said otherwise. */
  child(name: string, ns: string = this.ns): Element | undefined {
    for (const node of this.children) {
      if (typeof node !== 'string' && node.name === name && node.ns === ns) return node;
    }
    return undefined;
  }

  /** Child elements: all, or those of that name (in this element's namespace unless said otherwise). */
  elements(name?: string, ns: string | undefined = name === undefined ? undefined : this.ns): Element[] {
    const found: Element[] = [];
    for (const node of this.children) {
      if (typeof node === 'string') continue;
      if ((name === undefined || node.name === name) && (ns === undefined || node.ns === ns)) found.push(node);
    }
    return found;
  }

  /** The character data directly inside. */
  text(): string {
    let text = '';
    for (const node of this.children) if (typeof node === 'string') text += node;
    return text;
  }

  append(...nodes: (Node | undefined)[]): this {
    for (const node of nodes) if (node !== undefined) this.children.push(node);
    return this;
  }

  /** XML text; `xmlns` is declared wherever the namespace differs from the inherited default. */
  serialize(inheritedNs = ''): string {
    let tag = this.name;
    let inner = this.ns;
    let out: string;
    if (inner === NS_XML) {
      tag = `xml:${tag}`;
      inner = inheritedNs;
      out = `<${tag}`;
    } else {
      out = inner === inheritedNs ? `<${tag}` : `<${tag} xmlns='${escapeAttr(inner)}'`;
    }
    for (const prefix in this.prefixes) out += ` xmlns:${prefix}='${escapeAttr(this.prefixes[prefix]!)}'`;
    for (const key in this.attrs) out += ` ${key}='${escapeAttr(this.attrs[key]!)}'`;
    if (this.children.length === 0) return `${out}/>`;
    out += '>';
    for (const node of this.children) out += typeof node === 'string' ? escapeText(node) : node.serialize(inner);
    return `${out}</${tag}>`;
  }

  toString(): string {
    return this.serialize();
  }
}

/** Shorthand for building: attributes and children that are undefined are left out. */
export function el(
  name: string,
  ns: string,
  attrs?: Record<string, string | undefined>,
  ...children: (Node | undefined)[]
): Element {
  const element = new Element(name, ns);
  for (const key in attrs) {
    const value = attrs[key];
    if (value !== undefined) element.attrs[key] = value;
  }
  return element.append(...children);
}
