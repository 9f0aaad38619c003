// How fast a 415-byte publish is scanned on one core: our scanner beside sax-wasm, saxes and ltx.
//
//   npm run build && node bench/micro/scanner.mjs [seconds per row]
//
// Each parser gets the same stream, as 64 KiB chunks of many stanzas and as one stanza a chunk, and must hand out what
// a broker needs: where stanzas end and what they say. The scanner's time includes the copy into its window and
// reading kind, id, node and payload from the envelope; the others' events are read (names, attributes, text), for
// that is what would have to be done with them. Only the scanner checks all that RFC 6120 §11 and XML demand.
// Needs: sax-wasm, saxes, ltx (bench/package.json).
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { SAXParser, SaxEventType } from 'sax-wasm';
import { SaxesParser } from 'saxes';
import { Parser as LtxTree } from 'ltx';
import LtxParser from 'ltx/src/parsers/ltx.js';
import { E } from '../../dist/xml/envelope.js';
import { EVENT, Scanner } from '../../dist/xml/scanner.js';

const seconds = Number(process.argv[2] ?? 1);
const HEADER =
  "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const SIZE = 415;
const CHUNK = 65536;

function publish(i) {
  const id = String(i).padStart(10, '0');
  const make = (pad) =>
    `<iq type='set' to='pubsub.localhost' id='p${id}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='xl123/0'><item>` +
    `<data xmlns='urn:example:sensor' p='000000' seq='${id}' t='000000${id}'><temp u='C'>21.37</temp><hum u='%'>48.2</hum>` +
    `<volt>3.712</volt><pad>${'x'.repeat(pad)}</pad></data></item></publish></pubsub></iq>`;
  return make(SIZE - make(0).length);
}

const stanzas = Array.from({ length: Math.floor(CHUNK / SIZE) }, (_, i) => Buffer.from(publish(i)));
const chunk = Buffer.concat(stanzas);

function ours() {
  const scanner = Scanner.create();
  const handle = scanner.open('stream', { stanzaBytes: 262144, depth: 64, attributes: 64 });
  scanner.feed(handle, scanner.input.write(HEADER));
  const { env, input } = scanner;
  let sum = 0;
  return (bytes) => {
    input.set(bytes);
    let seen = 0;
    let event = scanner.feed(handle, bytes.length);
    while (event === EVENT.stanza) {
      sum += env[E.kind] + env[E.idEnd] - env[E.id] + env[E.nodeEnd] - env[E.node] + env[E.payloadEnd] - env[E.payload];
      seen++;
      if (env[E.rest] === 0) break;
      event = scanner.next(handle);
    }
    if (event === EVENT.error || sum === 0) throw new Error(scanner.error.text);
    return seen;
  };
}

async function saxWasm() {
  const parser = new SAXParser(SaxEventType.OpenTag | SaxEventType.CloseTag | SaxEventType.Text);
  let depth = 0;
  let seen = 0;
  let sum = 0;
  parser.eventHandler = (event, detail) => {
    if (event === SaxEventType.OpenTag) {
      sum += detail.name.length;
      for (const { name, value } of detail.attributes) sum += name.value.length + value.value.length;
      depth++;
    } else if (event === SaxEventType.CloseTag) {
      sum += detail.name.length;
      if (--depth === 1) seen++;
    } else sum += detail.value.length;
  };
  await parser.prepareWasm(readFileSync(createRequire(import.meta.url).resolve('sax-wasm/lib/sax-wasm.wasm')));
  parser.write(Buffer.from(HEADER));
  return (bytes) => {
    seen = 0;
    parser.write(bytes);
    return seen;
  };
}

function saxes() {
  const parser = new SaxesParser({ xmlns: true, position: false });
  let depth = 0;
  let seen = 0;
  let sum = 0;
  parser.on('opentag', (tag) => {
    sum += tag.local.length + tag.uri.length;
    for (const name in tag.attributes) sum += name.length + tag.attributes[name].value.length;
    depth++;
  });
  parser.on('closetag', () => {
    if (--depth === 1) seen++;
  });
  parser.on('text', (text) => {
    sum += text.length;
  });
  parser.write(HEADER);
  return (bytes) => {
    seen = 0;
    parser.write(bytes.toString());
    return seen;
  };
}

function ltx() {
  const parser = new LtxParser();
  let depth = 0;
  let seen = 0;
  let sum = 0;
  parser.on('startElement', (name, attributes) => {
    sum += name.length;
    for (const attribute in attributes) sum += attribute.length + attributes[attribute].length;
    depth++;
  });
  parser.on('endElement', () => {
    if (--depth === 1) seen++;
  });
  parser.on('text', (text) => {
    sum += text.length;
  });
  parser.write(HEADER);
  return (bytes) => {
    seen = 0;
    parser.write(bytes);
    return seen;
  };
}

/** A tree per stanza, as @xmpp/client has them. */
function ltxTree() {
  return (bytes) => {
    const parser = new LtxTree();
    let trees = 0;
    parser.on('tree', () => trees++);
    parser.end(bytes);
    return trees;
  };
}

/** MB per second of CPU. */
function measure(scan, chunks) {
  const expected = chunks.length === 1 ? stanzas.length : 1;
  const round = () => {
    for (const bytes of chunks) if (scan(bytes) !== expected) throw new Error('a stanza was not seen');
  };
  const until = (milliseconds) => {
    const end = performance.now() + milliseconds;
    let rounds = 0;
    while (performance.now() < end) {
      round();
      rounds++;
    }
    return rounds;
  };
  until(300);
  const before = process.cpuUsage();
  const rounds = until(seconds * 1000);
  const cpu = process.cpuUsage(before);
  return (rounds * chunk.length) / (cpu.user + cpu.system);
}

const rows = [
  ['scanner', ours(), ours()],
  ['sax-wasm, events read', await saxWasm(), await saxWasm()],
  ['saxes', saxes(), saxes()],
  ['ltx, events', ltx(), ltx()],
  ['ltx, trees', undefined, ltxTree()],
];
const results = rows.map(([name, many, one]) => [
  name,
  many ? measure(many, [chunk]) : undefined,
  measure(one, stanzas),
]);

const cell = (rate) => (rate === undefined ? '' : `${rate.toFixed(1)} MB/s`).padStart(14);
const times = (rate, of) => (rate === undefined ? '' : `${(of / rate).toFixed(1)} ×`).padStart(10);
console.log(
  `${'415-byte publish'.padEnd(24)}${'64 KiB a chunk'.padStart(14)}${''.padStart(10)}${'one a chunk'.padStart(14)}`,
);
const [, best, bestOne] = results[0];
for (const [name, many, one] of results) {
  console.log(`${name.padEnd(24)}${cell(many)}${times(many, best)}${cell(one)}${times(one, bestOne)}`);
}
