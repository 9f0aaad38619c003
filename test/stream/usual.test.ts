import { expect, test } from 'vitest';
import { usualBind, usualSasl } from '../../src/stream/usual.js';
import { EVENT, Scanner } from '../../src/xml/scanner.js';
import { TreeBuilder } from '../../src/xml/tree.js';
import { E } from '../../src/xml/envelope.js';
import { HEADER, LIMITS } from '../xml/support/scan.js';

const SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';
const BIND = 'urn:ietf:params:xml:ns:xmpp-bind';
const scanner = Scanner.create();
const trees = await TreeBuilder.create();

/** Leaves the element in the envelope, and gives its tree. */
function scan(element: string) {
  const handle = scanner.open('stream', LIMITS);
  const bytes = Buffer.from(HEADER + element);
  scanner.input.set(bytes, 0);
  expect(scanner.feed(handle, bytes.length)).toBe(EVENT.streamOpen);
  expect(scanner.next(handle), element).toBe(EVENT.stanza);
  scanner.close(handle);
  const scope = { '': 'jabber:client', stream: 'http://etherx.jabber.org/streams' };
  return trees.parse(scanner.bytes.subarray(scanner.env[E.start]!, scanner.env[E.end]!), scope);
}

test.each([
  `<auth xmlns='${SASL}' mechanism='PLAIN'>AGEAYg==</auth>`,
  `<auth mechanism="SCRAM-SHA-256-PLUS" xmlns="${SASL}">=</auth>`,
  `<auth xmlns="${SASL}" mechanism='EXTERNAL'></auth>`,
  `<response xmlns='${SASL}'>Yz1i</response>`,
  `<response xmlns="${SASL}"></response>`,
])('%s is read as its tree says', (element) => {
  const tree = scan(element);
  expect(tree.ns).toBe(SASL);
  expect(usualSasl(scanner)).toEqual({
    mechanism: tree.name === 'auth' ? tree.attr('mechanism') : undefined,
    text: tree.text(),
  });
});

test.each([
  `<auth xmlns="${SASL}' mechanism='PLAIN">AGEAYg==</auth>`,
  `<auth xmlns='${SASL}' xml:lang='en' mechanism='PLAIN'>AGEAYg==</auth>`,
  `<auth xmlns='${SASL}' mechanism='PLAIN'><x/>AGEAYg==</auth>`,
  `<auth xmlns='${SASL}' mechanism='PLAIN'><![CDATA[AGEAYg==]]></auth>`,
  `<auth xmlns='${SASL}' mechanism='PLAIN'>AGE&#65;Yg==</auth>`,
  `<auth xmlns='${SASL}' mechanism='PLAIN'> AGEAYg==</auth>`,
  `<auth xmlns='${SASL}x' mechanism='PLAIN'>AGEAYg==</auth>`,
  `<auth xmlns='${SASL}' mechanism='PLAIN'/>`,
  `<response xmlns='${SASL}'/>`,
  `<abort xmlns='${SASL}'/>`,
  `<auth xmlns='${SASL}' mechanism='PLAIN'>${'A'.repeat(4096)}</auth>`,
])('%s needs a tree', (element) => {
  scan(element);
  expect(usualSasl(scanner)).toBeUndefined();
});

test.each([
  `<iq type='set' id='b1'><bind xmlns='${BIND}'><resource>phone</resource></bind></iq>`,
  `<iq id="x y" type="set"><bind xmlns="${BIND}"/></iq>`,
  `<iq xmlns='jabber:client' type='set' id='1'><bind xmlns='${BIND}'></bind></iq>`,
  `<iq type='set' id='1' to='localhost'> <bind xmlns='${BIND}'><resource> a'b"/ </resource></bind></iq>`,
  `<iq type='set' id='1'><bind xmlns='${BIND}'><resource></resource></bind></iq>`,
])('%s is read as its tree says, too', (element) => {
  const tree = scan(element);
  const bind = tree.elements()[0]!;
  expect([bind.ns, bind.name]).toEqual([BIND, 'bind']);
  expect(usualBind(scanner)).toEqual({
    id: tree.attr('id'),
    resource: bind.child('resource')?.text() || undefined,
  });
});

test.each([
  `<iq type='get' id='b1'><bind xmlns='${BIND}'/></iq>`,
  `<iq type='set'><bind xmlns='${BIND}'/></iq>`,
  `<iq type='set' id='a&amp;b'><bind xmlns='${BIND}'/></iq>`,
  `<iq type='set' id='é'><bind xmlns='${BIND}'/></iq>`,
  `<iq type='set' id='1'><bind xmlns='${BIND}'/><x/></iq>`,
  `<iq type='set' id='1'><bind xmlns='${BIND}'><resource>é</resource></bind></iq>`,
  `<iq type='set' id='1'><bind xmlns='${BIND}'><resource>a&lt;b</resource></bind></iq>`,
  `<iq type='set' id='1'><bind xmlns='${BIND}'><resource><x/></resource></bind></iq>`,
  `<iq type='set' id='1'><bind xmlns='${BIND}'> <resource>a</resource></bind></iq>`,
  `<iq type='set' id='1'><b:bind xmlns:b='${BIND}'/></iq>`,
  `<iq type='set' id='1'><bind xmlns='jabber:iq:register'/></iq>`,
])('%s is another request, or needs a tree', (element) => {
  scan(element);
  expect(usualBind(scanner)).toBeUndefined();
});
