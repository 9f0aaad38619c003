import { SaxesParser } from 'saxes';
import { KIND } from '../../../src/xml/envelope.js';

export interface Node {
  name: string;
  local: string;
  ns: string;
  attributes: Record<string, string>;
  children: Node[];
}

/**
 * What saxes makes of a whole stream: the stanzas, or undefined when it is not well-formed (namespaces included), or
 * uses what XMPP forbids, or has text between stanzas.
 */
export function readStream(xml: string): Node[] | undefined {
  const parser = new SaxesParser({ xmlns: true, position: false });
  const open: Node[] = [];
  const stanzas: Node[] = [];
  let bad = false;
  const refuse = (): void => {
    bad = true;
  };
  parser.on('error', refuse);
  parser.on('doctype', refuse);
  parser.on('comment', refuse);
  parser.on('processinginstruction', refuse);
  parser.on('text', (text) => {
    if (open.length < 2 && /[^ \t\r\n]/.test(text)) bad = true;
  });
  parser.on('cdata', () => {
    if (open.length < 2) bad = true;
  });
  parser.on('opentag', (tag) => {
    const attributes: Record<string, string> = {};
    for (const [name, attribute] of Object.entries(tag.attributes)) attributes[name] = attribute.value;
    // saxes takes any name character for the first one of a local part (Namespaces in XML §4 does not).
    if ([tag.name, ...Object.keys(attributes)].some((name) => /:[-.0-9·\u0300-\u036f\u203f\u2040]/.test(name)))
      bad = true;
    const node: Node = { name: tag.name, local: tag.local, ns: tag.uri, attributes, children: [] };
    if (open.length === 1) stanzas.push(node);
    open.at(-1)?.children.push(node);
    open.push(node);
  });
  parser.on('closetag', () => void open.pop());
  try {
    parser.write(xml).close();
  } catch {
    bad = true; // saxes throws when it is used after an error
  }
  return bad ? undefined : stanzas;
}

export function kindOf(node: Node): number {
  if (node.ns === 'jabber:client') {
    if (node.local === 'iq') return KIND.iq;
    if (node.local === 'message') return KIND.message;
    if (node.local === 'presence') return KIND.presence;
  }
  if (node.ns === 'urn:xmpp:sm:3') {
    if (node.local === 'r') return KIND.smRequest;
    if (
      node.local === 'a' &&
      /^[0-9]{1,10}$/.test(node.attributes['h'] ?? '') &&
      Number(node.attributes['h']) < 2 ** 32
    ) {
      return KIND.smAnswer;
    }
  }
  return KIND.other;
}

const NS_PUBSUB = 'http://jabber.org/protocol/pubsub';

export interface Publish {
  node: string | undefined;
  items: Node[];
  plain: boolean;
}

/** The publish in an iq, if it is one. */
export function publishOf(root: Node): Publish | undefined {
  const pubsub = root.children[0];
  if (kindOf(root) !== KIND.iq || pubsub?.local !== 'pubsub' || pubsub.ns !== NS_PUBSUB) return undefined;
  const publish = pubsub.children[0];
  if (publish?.local !== 'publish' || publish.ns !== NS_PUBSUB) return undefined;
  const items = publish.children.filter(({ local, ns }) => local === 'item' && ns === NS_PUBSUB);
  const plain = pubsub.children.length === 1 && items.length === publish.children.length;
  return { node: publish.attributes['node'], items, plain };
}

/** Whether the element or one below uses a prefix or default namespace that is bound neither in it nor below. */
export function reachesOutside(node: Node, own: ReadonlySet<string> = new Set()): boolean {
  const bound = new Set(own);
  for (const name of Object.keys(node.attributes)) {
    if (name === 'xmlns') bound.add('');
    else if (name.startsWith('xmlns:')) bound.add(name.slice(6));
  }
  const prefixes = [node.name, ...Object.keys(node.attributes).filter((name) => name.includes(':'))]
    .map((name) => (name.includes(':') ? name.slice(0, name.indexOf(':')) : ''))
    .filter((prefix) => prefix !== 'xml' && prefix !== 'xmlns');
  return prefixes.some((prefix) => !bound.has(prefix)) || node.children.some((child) => reachesOutside(child, bound));
}
