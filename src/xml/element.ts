import { escapeAttr, escapeText } from './escape.js';

export type Attributes = Record<string, string>;
export type Node = Element | string;

/** The namespace of the prefix `xml`, which is always bound and may never be the default (Namespaces in XML §3). */
export const NS_XML = 'http://www.w3.org/XML/1998/namespace';

/** An object without inherited keys, as names come from the network; cheaper to use than `Object.create(null)`. */
export const Bare = function () {} as unknown as new () => Record<string, string>;
Bare.prototype = Object.create(null);

/** The namespaces that a start tag declares, by prefix, '' being the default one; then those of the tags around it. */
export interface Scope {
  outer: Scope | undefined;
  names: Record<string, string>;
}

/** What the prefix stands for there, undefined when nobody says. */
export function standsFor(scope: Scope | undefined, prefix: string): string | undefined {
  for (let at = scope; at !== undefined; at = at.outer) {
    const ns = at.names[prefix];
    if (ns !== undefined) return ns;
  }
  return undefined;
}

/** The element that is written, and what it has to declare because its content leans on what stood around it. */
interface Top {
  root: Element;
  names: Record<string, string>;
  inheritedNs: string;
}

/**
 * One XML element of the comfortable road: names resolved to namespaces, references decoded.
 *
 * `attrs` holds no namespace declarations. A prefixed attribute is keyed with its prefix (`xml:lang`, `p:x`), and
 * `prefixes` says what the prefixes other than `xml` stand for, so that they can be declared again on output.
 *
 * What was read also knows its own `prefix` and what its start tag `declared`, '' being the default namespace: it is written as
 * it was, so that it does not grow. Declared anew wherever it is used, a long namespace would be written thousands of times.
 */
export class Element {
  name: string;
  ns: string;
  attrs: Attributes;
  children: Node[];
  prefixes?: Record<string, string>;
  prefix?: string;
  declared?: Record<string, string>;

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
    return this.write(undefined, undefined, { root: this, names: new Bare(), inheritedNs });
  }

  /** The same as a part of a larger whole; `defaultNs` is undefined where no element of that declares one. */
  protected write(defaultNs: string | undefined, outer: Scope | undefined, top: Top): string {
    const { declared, ns } = this;
    let scope = declared === undefined ? outer : { outer, names: declared };
    let declarations = '';
    for (const prefix in declared) {
      if (prefix !== '') declarations += ` xmlns:${prefix}='${escapeAttr(declared[prefix]!)}'`;
    }
    const bind = (prefix: string, wanted: string): void => {
      if (bound(scope, prefix, wanted, top)) return;
      declarations += ` xmlns:${prefix}='${escapeAttr(wanted)}'`;
      scope = { outer: scope, names: Object.assign(new Bare(), { [prefix]: wanted }) };
    };
    const prefix = ns === NS_XML ? 'xml' : this.prefix;
    let inner = defaultNs;
    if (prefix === undefined) {
      if (defaultNs === undefined ? !bound(undefined, '', ns, top) : ns !== defaultNs) {
        declarations = ` xmlns='${escapeAttr(ns)}'${declarations}`;
      }
      inner = ns;
    } else {
      if (prefix !== 'xml') bind(prefix, ns);
      const own = declared?.[''];
      if (own !== undefined && own !== defaultNs) declarations = ` xmlns='${escapeAttr(own)}'${declarations}`;
      inner = own ?? defaultNs;
    }
    for (const used in this.prefixes) bind(used, this.prefixes[used]!);
    let attributes = '';
    for (const key in this.attrs) attributes += ` ${key}='${escapeAttr(this.attrs[key]!)}'`;
    let content = '';
    for (const node of this.children)
      content += typeof node === 'string' ? escapeText(node) : node.write(inner, scope, top);
    const tag = prefix === undefined ? this.name : `${prefix}:${this.name}`;
    const open = `<${tag}${top.root === this ? leanedOn(top) : ''}${declarations}${attributes}`;
    return this.children.length === 0 ? `${open}/>` : `${open}>${content}</${tag}>`;
  }

  toString(): string {
    return this.serialize();
  }
}

/** Whether the prefix stands for that namespace; where no start tag says, the root will, unless it has to say something else. */
function bound(scope: Scope | undefined, prefix: string, ns: string, { names }: Top): boolean {
  return (standsFor(scope, prefix) ?? (names[prefix] ??= ns)) === ns;
}

function leanedOn({ names, inheritedNs }: Top): string {
  let declarations = '';
  for (const prefix in names) {
    if (prefix !== '') declarations += ` xmlns:${prefix}='${escapeAttr(names[prefix]!)}'`;
    else if (names[prefix] !== inheritedNs) declarations = ` xmlns='${escapeAttr(names[prefix]!)}'${declarations}`;
  }
  return declarations;
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
