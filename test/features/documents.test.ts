import { SaxesParser } from 'saxes';
import { describe, expect, it } from 'vitest';
import { doap, specificationUrl, table } from '../../src/features/doap.js';
import type { Feature } from '../../src/features/feature.js';
import { TreeBuilder } from '../../src/xml/tree.js';
import { household } from './harness.js';

const FEATURES: Feature[] = [
  { spec: 'XEP-0199', title: 'XMPP Ping', version: '2.0.1' },
  { spec: 'XEP-0012', title: 'Last | Activity', version: '2.0', note: 'server & <only>' },
  { spec: 'RFC 6120', title: 'XMPP: Core', version: '2011-03' },
];

describe('the table of extensions', () => {
  it('has a row for each, in order, with a link', () => {
    expect(table(FEATURES).split('\n')).toEqual([
      '| Specification | Title | Version | Note |',
      '| --- | --- | --- | --- |',
      '| [RFC 6120](https://www.rfc-editor.org/rfc/rfc6120) | XMPP: Core | 2011-03 |  |',
      '| [XEP-0012](https://xmpp.org/extensions/xep-0012.html) | Last \\| Activity | 2.0 | server & <only> |',
      '| [XEP-0199](https://xmpp.org/extensions/xep-0199.html) | XMPP Ping | 2.0.1 |  |',
    ]);
  });
});

describe('the DOAP file', () => {
  const written = doap({ name: 'Thrum', description: 'A broker & more' }, FEATURES);

  it('is well-formed XML with the names that XEP-0453 asks for', async () => {
    const parser = new SaxesParser({ xmlns: true });
    parser.on('error', (error) => {
      throw error;
    });
    parser.write(written).close();
    const builder = await TreeBuilder.create();
    const root = builder.parse(Buffer.from(written.slice(written.indexOf('?>\n') + 3).trim()));
    expect([root.name, root.ns]).toEqual(['RDF', 'http://www.w3.org/1999/02/22-rdf-syntax-ns#']);
    const project = root.child('Project', 'http://usefulinc.com/ns/doap#')!;
    expect(project.child('shortdesc')!.text()).toBe('A broker & more');
    const implemented = project.elements('implements');
    expect(implemented).toHaveLength(3);
    expect(implemented[0]!.attr('rdf:resource')).toBe('https://www.rfc-editor.org/rfc/rfc6120');
    const last = implemented[1]!.child('SupportedXep', 'https://linkmauve.fr/ns/xmpp-doap#')!;
    expect(last.child('xep')!.attr('rdf:resource')).toBe('https://xmpp.org/extensions/xep-0012.html');
    expect(['status', 'version', 'note'].map((name) => last.child(name)!.text())).toEqual([
      'partial',
      '2.0',
      'server & <only>',
    ]);
    const ping = implemented[2]!.child('SupportedXep', 'https://linkmauve.fr/ns/xmpp-doap#')!;
    expect(ping.child('status')!.text()).toBe('complete');
    expect(ping.child('note')).toBeUndefined();
  });
});

describe('every declaration', () => {
  it('names a specification once, with a version', async () => {
    const { set } = await household();
    const specs = set.all.map(({ spec }) => spec);
    expect(new Set(specs).size).toBe(specs.length);
    for (const { spec, title, version } of set.all) {
      expect(spec).toMatch(/^(XEP-\d{4}|RFC \d+)$/);
      expect(specificationUrl(spec)).toMatch(/^https:/);
      expect(title).not.toBe('');
      expect(version).toMatch(/^\d/);
    }
  });
});
