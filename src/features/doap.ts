import { el, type Element } from '../xml/element.js';
import type { Feature } from './feature.js';

/** The documents that derive from the declarations: the table in the README and the DOAP file (XEP-0453). */

const NS_RDF = 'http://www.w3.org/1999/02/22-rdf-syntax-ns#';
const NS_DOAP = 'http://usefulinc.com/ns/doap#';
const NS_XMPP = 'https://linkmauve.fr/ns/xmpp-doap#';

/** Where a specification such as `XEP-0199` or `RFC 6120` is found. */
export function specificationUrl(spec: string): string {
  const [series, number] = spec.split(/[- ]/) as [string, string];
  return series === 'XEP'
    ? `https://xmpp.org/extensions/xep-${number}.html`
    : `https://www.rfc-editor.org/rfc/rfc${number}`;
}

/** RFCs before XEPs, each by number. */
function sorted(features: readonly Feature[]): Feature[] {
  return [...features].sort((a, b) => (a.spec < b.spec ? -1 : 1));
}

/** A table in Markdown: the specification, what it is, the version written from, and what is left out. */
export function table(features: readonly Feature[]): string {
  const rows = sorted(features).map(
    ({ spec, title, version, note = '' }) =>
      `| [${spec}](${specificationUrl(spec)}) | ${[title, version, note].map(cell).join(' | ')} |`,
  );
  return ['| Specification | Title | Version | Note |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

export interface Project {
  name: string;
  /** One sentence. */
  description: string;
}

/** The DOAP file, in RDF/XML (XEP-0453 §5). */
export function doap(project: Project, features: readonly Feature[]): string {
  const resource = (name: string, url: string): Element => withRdf(el(name, NS_DOAP, { 'rdf:resource': url }));
  const implemented = sorted(features).map((feature) =>
    feature.spec.startsWith('XEP')
      ? el('implements', NS_DOAP, {}, supported(feature))
      : resource('implements', specificationUrl(feature.spec)),
  );
  const root = el(
    'RDF',
    NS_RDF,
    {},
    el(
      'Project',
      NS_DOAP,
      {},
      el('name', NS_DOAP, {}, project.name),
      el('shortdesc', NS_DOAP, { 'xml:lang': 'en' }, project.description),
      resource('license', 'https://spdx.org/licenses/MIT.html'),
      el('programming-language', NS_DOAP, {}, 'TypeScript'),
      el('os', NS_DOAP, {}, 'Linux'),
      resource('category', `${NS_XMPP}category-server`),
      ...implemented,
    ),
  );
  return `<?xml version='1.0' encoding='UTF-8'?>\n${indented(root, '', '')}`;
}

function supported(feature: Feature): Element {
  const { spec, version, note } = feature;
  return el(
    'SupportedXep',
    NS_XMPP,
    {},
    withRdf(el('xep', NS_XMPP, { 'rdf:resource': specificationUrl(spec) })),
    el('status', NS_XMPP, {}, note === undefined ? 'complete' : 'partial'),
    el('version', NS_XMPP, {}, version),
    note === undefined ? undefined : el('note', NS_XMPP, { 'xml:lang': 'en' }, note),
  );
}

function withRdf(element: Element): Element {
  element.prefixes = { rdf: NS_RDF };
  return element;
}

/** An element a line; text is never broken, since white space would become a part of it. */
function indented(element: Element, indent: string, ns: string): string {
  const children = element.elements();
  if (children.length === 0) return `${indent}${element.serialize(ns)}\n`;
  const shell = el(element.name, element.ns, element.attrs, ' ').serialize(ns);
  const split = shell.indexOf('> <') + 1;
  const inside = children.map((child) => indented(child, `${indent}  `, element.ns)).join('');
  return `${indent}${shell.slice(0, split)}\n${inside}${indent}${shell.slice(split + 1)}\n`;
}
