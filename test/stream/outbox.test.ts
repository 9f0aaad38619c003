import { beforeEach, describe, expect, it } from 'vitest';
import { counters } from '../../src/metrics/counters.js';
import { Outbox, Shared, type SlowReaderPolicy } from '../../src/stream/outbox.js';
import { flusher } from '../../src/stream/flusher.js';

/** A sink that writes everything at once, or nothing while it is closed. */
class Recorder {
  writable = true;
  readonly written: string[] = [];

  drain(outbox: Outbox): void {
    for (let next = outbox.takeOne(); next !== undefined; next = outbox.takeOne()) {
      this.written.push((outbox.head?.toString() ?? '') + next.bytes.toString());
    }
    for (let nonza = outbox.takeNonza(); nonza !== undefined; nonza = outbox.takeNonza())
      this.written.push(nonza.toString());
  }
}

const stanza = (text: string, node?: string) => new Shared(Buffer.from(text), node);
const nonza = (text: string) => new Shared(Buffer.from(text), undefined, true);

function make(limit = 1000, policy: SlowReaderPolicy = 'drop_oldest') {
  const sink = new Recorder();
  let overflows = 0;
  const outbox = new Outbox(limit, policy, () => overflows++);
  outbox.sink = sink;
  return { sink, outbox, overflows: () => overflows };
}

beforeEach(() => {
  counters.drops = {};
  counters.outboxBytes = 0;
});

describe('an outbox', () => {
  it('writes what was queued in order, own opening bytes first, once per tick', () => {
    const { sink, outbox } = make();
    outbox.push(Buffer.from('<a>'), stanza('1</a>'));
    outbox.push(undefined, stanza('<b/>'));
    expect(sink.written).toEqual([]);
    flusher.flush();
    expect(sink.written).toEqual(['<a>1</a>', '<b/>']);
    expect(counters.outboxBytes).toBe(0);
  });

  it('fills a buffer with whole entries only, and leaves one that is larger than the buffer', () => {
    const { outbox } = make();
    outbox.sink = undefined;
    for (const text of ['aaaa', 'bbbb', 'cccc']) outbox.push(Buffer.from('<>'), stanza(text));
    const target = Buffer.alloc(16);
    expect(target.toString('latin1', 0, outbox.takeInto(target, 13))).toBe('<>aaaa<>bbbb');
    expect(outbox.takeInto(target, 5)).toBe(0);
    expect(outbox.empty).toBe(false);
    expect(target.toString('latin1', 0, outbox.takeInto(target, 6))).toBe('<>cccc');
    expect(outbox.empty).toBe(true);
  });

  it('keeps its order through growth and wrapping of the ring', () => {
    const { sink, outbox } = make(1 << 20);
    const sent: string[] = [];
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < (round * 7) % 23; i++) {
        const text = `<m n='${sent.length}'/>`;
        sent.push(text);
        outbox.push(undefined, stanza(text));
      }
      flusher.flush();
    }
    expect(sink.written).toEqual(sent);
  });
});

describe('stream management in the outbox (XEP-0198)', () => {
  it('keeps stanzas until they are acknowledged, and never counts nonzas', () => {
    const { sink, outbox } = make();
    outbox.push(undefined, stanza('<before/>'));
    outbox.push(undefined, nonza('<enabled/>'));
    outbox.keepUntilAcknowledged(100);
    outbox.push(undefined, stanza('<one/>'));
    outbox.push(undefined, nonza('<x/>'));
    outbox.push(undefined, stanza('<two/>'));
    flusher.flush();
    expect(sink.written).toEqual(['<before/>', '<enabled/>', '<one/>', '<x/>', '<two/>']);
    expect(outbox.outstanding).toBe(2);
    expect(outbox.acknowledge(1)).toBe(true);
    expect(outbox.outstanding).toBe(1);
    expect(outbox.acknowledge(3)).toBe(false);
    expect(outbox.acknowledge(2)).toBe(true);
    expect(outbox.bytes).toBe(0);
  });

  it('sends again exactly what was not acknowledged, before what was not sent', () => {
    const { sink, outbox } = make();
    outbox.keepUntilAcknowledged(100);
    for (const text of ['<1/>', '<2/>', '<3/>']) outbox.push(undefined, stanza(text));
    flusher.flush();
    outbox.sink = undefined;
    outbox.push(undefined, stanza('<4/>'));
    outbox.acknowledge(1);
    sink.written.length = 0;
    outbox.sink = sink;
    outbox.rewind();
    flusher.flush();
    expect(sink.written).toEqual(['<2/>', '<3/>', '<4/>']);
    expect(outbox.acknowledge(4)).toBe(true);
    expect(outbox.outstanding).toBe(0);
  });

  it('follows a counter that wraps at 2^32', () => {
    const { outbox } = make();
    outbox.keepUntilAcknowledged(1000);
    // Bring the counter near its end without sending four thousand million stanzas.
    (outbox as unknown as { lastH: number }).lastH = 0xffff_fffe;
    for (let i = 0; i < 4; i++) outbox.push(undefined, stanza('<m/>'));
    flusher.flush();
    expect(outbox.sentCount).toBe(2);
    expect(outbox.acknowledge(0xffff_ffff)).toBe(true);
    expect(outbox.outstanding).toBe(3);
    expect(outbox.acknowledge(1)).toBe(true);
    expect(outbox.outstanding).toBe(1);
    expect(outbox.acknowledge(2)).toBe(true);
    expect(outbox.bytes).toBe(0);
  });

  it('asks for an acknowledgement after the configured number of stanzas, and answers once however often it is asked', () => {
    const { sink, outbox } = make();
    outbox.keepUntilAcknowledged(2);
    outbox.push(undefined, stanza('<1/>'));
    flusher.flush();
    expect(sink.written).toEqual(['<1/>']);
    outbox.push(undefined, stanza('<2/>'));
    outbox.owe(() => Buffer.from('<a/>'));
    outbox.owe(() => Buffer.from('<a/>'));
    flusher.flush();
    expect(sink.written.slice(1)).toEqual(['<2/>', '<a/>', "<r xmlns='urn:xmpp:sm:3'/>"]);
  });

  it('stays small when a client only ever asks', () => {
    const { outbox } = make();
    outbox.keepUntilAcknowledged(10);
    outbox.push(undefined, stanza('<1/>'));
    for (let i = 0; i < 1000; i++) {
      outbox.owe(() => Buffer.from('<a/>'));
      flusher.flush();
    }
    expect((outbox as unknown as { capacity: number }).capacity).toBeLessThan(10);
  });

  it('hands out every stanza it holds when the session ends', () => {
    const { outbox } = make();
    outbox.keepUntilAcknowledged(100);
    outbox.push(undefined, stanza('<1/>'));
    flusher.flush();
    outbox.sink = undefined;
    outbox.push(Buffer.from('<2>'), stanza('</2>'));
    outbox.push(undefined, nonza('<n/>'));
    outbox.push(undefined, stanza('<event/>', 'node'));
    expect([...outbox.drainStanzas()].map(({ bytes }) => String(bytes))).toEqual(['<1/>', '<2></2>']);
    expect(counters.outboxBytes).toBe(0);
  });
});

describe('a full outbox', () => {
  const item = (n: number, node: string) => stanza(`<item n='${n}'/>`, node);

  it('drops the oldest notifications, and only notifications', () => {
    const { sink, outbox, overflows } = make(200);
    sink.writable = false;
    outbox.push(undefined, stanza('<chat/>'));
    for (let i = 0; i < 50; i++) outbox.push(undefined, item(i, 'n'));
    expect(outbox.bytes).toBeLessThanOrEqual(200);
    sink.writable = true;
    outbox.flush();
    expect(sink.written[0]).toBe('<chat/>');
    expect(sink.written.at(-1)).toBe("<item n='49'/>");
    expect(counters.drops['oldest']).toBe(51 - sink.written.length);
    expect(overflows()).toBe(0);
  });

  it('keeps the latest of each node where the policy says so', () => {
    const { sink, outbox } = make(200, 'keep_latest');
    sink.writable = false;
    for (let i = 0; i < 100; i++) outbox.push(undefined, item(i, `node${i % 3}`));
    sink.writable = true;
    outbox.flush();
    expect(sink.written.slice(-3)).toEqual(["<item n='97'/>", "<item n='98'/>", "<item n='99'/>"]);
    expect(counters.drops['oldest']).toBeUndefined();
  });

  it('gives the connection up when what is queued must not be dropped', () => {
    const { sink, outbox, overflows } = make(100);
    sink.writable = false;
    for (let i = 0; overflows() === 0; i++) expect(outbox.push(undefined, stanza(`<chat>${i}</chat>`))).toBe(true);
    expect(outbox.push(undefined, item(0, 'n'))).toBe(false);
    // The one that did not fit is there to be returned to its sender.
    const held = [...outbox.drainStanzas()].map(({ bytes }) => String(bytes));
    expect(held.length * '<chat>0</chat>'.length).toBeGreaterThan(100);
    expect(held).toEqual(held.map((_, i) => `<chat>${i}</chat>`));
    expect(outbox.bytes).toBe(0);
  });

  it('gives the connection up at once under the policy disconnect', () => {
    const { sink, outbox, overflows } = make(100, 'disconnect');
    sink.writable = false;
    for (let i = 0; i < 20; i++) outbox.push(undefined, item(i, 'n'));
    expect(overflows()).toBeGreaterThan(0);
  });
});
