import { isUtf8 } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { E, FLAG, ROW, TYPE } from '../../src/xml/envelope.js';
import { decodeReferences } from '../../src/xml/escape.js';
import { EVENT, Scanner } from '../../src/xml/scanner.js';
import { Generator, mutate, random } from './support/generate.js';
import { kindOf, publishOf, reachesOutside, readStream, type Node } from './support/oracle.js';
import { LIMITS, bytes, pieces, playAlone, textOf, type Outcome } from './support/scan.js';

const scanner = Scanner.create({ memoryBytes: 64 * 1024 * 1024 });
const HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const END = '</stream:stream>';

/** XML 1.0 §2.11 and §3.3.3, then references. */
const decode = (raw: string | undefined): string | undefined =>
  raw === undefined ? undefined : decodeReferences(raw.replace(/\r\n|[\t\r\n]/g, ' '));

function accepts(all: readonly Outcome[]): boolean {
  return all.at(-1)?.event === EVENT.streamClose;
}

describe('differential against saxes', () => {
  it('the envelope of a generated stanza says what saxes reads', () => {
    let read = 0;
    for (let seed = 1; seed <= 4000; seed++) {
      const stanza = new Generator(random(seed)).stanza();
      const nodes = readStream(HEADER + stanza + END);
      const handle = scanner.open('stream', LIMITS);
      scanner.feed(handle, scanner.input.write(HEADER + stanza + END));
      const event = scanner.next(handle);
      scanner.close(handle);
      expect(event === EVENT.stanza, `${seed}: ${stanza}\n${scanner.error.text}`).toBe(nodes !== undefined);
      if (!nodes) continue;
      read++;
      expect(facts(), `${seed}: ${stanza}`).toEqual(expected(nodes[0]!));
      expect(textOf(scanner, E.start)).toBe(stanza);
    }
    expect(read).toBeGreaterThan(3000);
  });

  it('both accept and refuse the same broken streams', () => {
    const tally = { accepted: 0, refused: 0 };
    for (let seed = 1; seed <= 12_000; seed++) {
      const next = random(seed);
      const generator = new Generator(next);
      const source = generator.stanza() + (seed % 3 ? '' : generator.stanza());
      const stream = Buffer.concat([bytes(HEADER), mutate(bytes(source), next), bytes(END)]);
      const accepted = accepts(playAlone(scanner, [stream]));
      // saxes reads strings: what is no UTF-8 has to be refused anyway. It drops what follows the root.
      const text = isUtf8(stream) ? stream.toString() : undefined;
      const fine = text !== undefined && readStream(text) !== undefined;
      if (accepted !== fine) expect(accepted, `${seed}: ${text} (${scanner.error.text})`).toBe(fine);
      tally[accepted ? 'accepted' : 'refused']++;
    }
    expect(tally.accepted).toBeGreaterThan(1000);
    expect(tally.refused).toBeGreaterThan(5000);
  });

  function expected(root: Node): Record<string, unknown> {
    const { attributes } = root;
    const publish = publishOf(root);
    const item = publish?.items[0];
    return {
      kind: kindOf(root),
      local: root.local,
      ns: root.ns,
      to: attributes['to'],
      from: attributes['from'],
      id: attributes['id'],
      type: attributes['type'],
      lang: attributes['xml:lang'],
      version: attributes['version'],
      children: root.children.slice(0, 32).map(({ local, ns }) => [local, ns]),
      node: publish?.node,
      itemId: item?.attributes['id'],
      item: item && 'item',
      itemCount: publish?.items.length ?? 0,
      payload: item?.children[0]?.local,
      payloadCount: item?.children.length ?? 0,
      plain: publish?.plain ?? true,
      outside: item?.children.some((payload) => reachesOutside(payload)) ?? false,
    };
  }

  /** The start tag's local name in a range. */
  function nameAt(field: number): string | undefined {
    const whole = textOf(scanner, field);
    return whole && /^<(?:[^\s/>:]+:)?([^\s/>:]+)/.exec(whole)![1];
  }

  function facts(): Record<string, unknown> {
    const { env } = scanner;
    const text = (field: number): string | undefined => decode(textOf(scanner, field));
    const type = text(E.type);
    const code = TYPE[type as keyof typeof TYPE] ?? (type === undefined ? TYPE.none : TYPE.unknown);
    expect(env[E.typeCode]).toBe(type === 'none' || type === 'unknown' ? TYPE.unknown : code);
    return {
      kind: env[E.kind],
      local: text(E.local),
      ns: text(E.rootNs),
      to: text(E.to),
      from: text(E.from),
      id: text(E.id),
      type,
      lang: text(E.lang),
      version: text(E.version),
      children: Array.from({ length: env[E.childCount]! }, (_, i) => {
        const row = E.child + ROW.size * i;
        return [text(row + ROW.nameS), text(row + ROW.nsS) ?? 'jabber:client'];
      }),
      node: text(E.node),
      itemId: text(E.itemId),
      item: nameAt(E.item),
      itemCount: env[E.itemCount],
      payload: nameAt(E.payload),
      payloadCount: env[E.payloadCount],
      plain: env[E.publishOptions] === 0,
      outside: (env[E.flags]! & FLAG.payloadScope) !== 0,
    };
  }
});

describe('hostile bytes', () => {
  it('never trap, and what lies behind the input is never read as input', () => {
    const clean = Scanner.create({ memoryBytes: 8 * 1024 * 1024 });
    for (let seed = 1; seed <= 4000; seed++) {
      const next = random(seed);
      const generator = new Generator(next);
      let stream = bytes(HEADER + generator.stanza() + generator.stanza());
      stream = mutate(mutate(stream, next), next);
      stream = stream.subarray(0, Math.floor(next() * (stream.length + 1)));
      scanner.input.fill(seed % 2 ? "'/></a></iq>" : 'x');
      const dirty = playAlone(scanner, [stream]);
      clean.input.fill(0);
      expect(dirty, `seed ${seed}`).toEqual(playAlone(clean, [stream]));
    }
    expect(clean.used).toBe(0);
    expect(scanner.used).toBe(0);
  });

  it('of any value never trap', () => {
    for (let seed = 1; seed <= 1500; seed++) {
      const next = random(seed);
      const noise = Buffer.from(Array.from({ length: 1 + Math.floor(next() * 300) }, () => Math.floor(next() * 256)));
      const framed = scanner.open('framed', LIMITS);
      scanner.input.set(noise);
      expect(scanner.feedLast(framed, noise.length)).toBe(EVENT.error);
      expect(scanner.endFrame(framed)).toBe(EVENT.error);
      scanner.close(framed);
      const all = playAlone(scanner, [bytes(`${HEADER}<iq>`), ...pieces(noise, 1 + (seed % 60))]);
      expect(all.length).toBeLessThanOrEqual(2);
    }
    expect(scanner.used).toBe(0);
  });

  it('that fill the whole window are scanned to their last byte', () => {
    const stanza = `<iq><a>${'x'.repeat(1000)}</a></iq>`;
    const all = (HEADER + stanza.repeat(64)).padEnd(65_536, ' ');
    expect(playAlone(scanner, [bytes(all)])).toHaveLength(65);
    const full = HEADER + '<iq a="'.padEnd(65_536 - HEADER.length - 3, 'x') + '"/>';
    expect(full.length).toBe(65_536);
    expect(playAlone(scanner, [bytes(full)])).toHaveLength(2);
  });
});
