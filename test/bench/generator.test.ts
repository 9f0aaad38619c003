import { describe, expect, test } from 'vitest';
import { Latencies } from '../../bench/src/latency.js';
import { quantile, type Buckets } from '../../bench/src/metrics.js';
import { Order } from '../../bench/src/order.js';
import { Finder, RECORD, REQUEST_ID, Template } from '../../bench/src/record.js';

/** What a generator would find in the bytes when they come in pieces of these sizes. */
function found(bytes: Buffer, sizes: () => number) {
  const records: number[][] = [];
  const answers: number[] = [];
  const finder = new Finder({ record: (...facts) => records.push(facts), answer: (seq) => answers.push(seq) });
  for (let at = 0; at < bytes.length;) {
    const size = sizes();
    finder.feed(bytes.subarray(at, at + size));
    at += size;
  }
  return { records, answers, errors: finder.errors, acks: finder.ackRequests };
}

describe('the load generator', () => {
  const notification = new Template(Buffer.from(`<message><event><data r='${RECORD}'/></event></message>`));
  const request = new Template(Buffer.from(`<iq id='${REQUEST_ID}' r='${RECORD}'/>`));
  const stream = Buffer.concat(
    Array.from({ length: 20 }, (_, i) => {
      const template = i % 3 === 0 ? request : notification;
      const bytes = Buffer.alloc(template.length);
      template.put(bytes, 0, i, i * 1000, i * 1_000_003);
      const tail = i % 4 === 0 ? "<r xmlns='urn:xmpp:sm:3'/>" : i % 5 === 0 ? "<iq type='error'/>" : '~q#~';
      return Buffer.concat([bytes, Buffer.from(tail)]);
    }),
  );
  const whole = found(stream, () => stream.length);

  test('finds every record, answer, error and acknowledgement request', () => {
    expect(whole.records).toEqual(Array.from({ length: 20 }, (_, i) => [i, i * 1000, i * 1_000_003]));
    expect(whole.answers).toEqual([0, 3, 6, 9, 12, 15, 18].map((i) => i * 1000));
    expect(whole.acks).toBe(5);
    expect(whole.errors).toBe(3);
  });

  test('finds the same, each once, however the bytes are cut', () => {
    for (let size = 1; size <= 80; size++) expect(found(stream, () => size)).toEqual(whole);
    for (let round = 0; round < 200; round++) {
      expect(found(stream, () => 1 + Math.floor(Math.random() * 60))).toEqual(whole);
    }
    for (let cut = 1; cut < stream.length; cut++) {
      let first = true;
      expect(found(stream, () => (first ? ((first = false), cut) : stream.length))).toEqual(whole);
    }
  });

  test('tells loss, doubling and disorder apart', () => {
    const order = new Order(2);
    for (const seq of [0, 1, 3, 2, 3, 4, 7]) order.take(0, seq);
    order.end(0, 9);
    order.end(1, 2);
    expect(order).toMatchObject({ received: 7, reordered: 1, duplicates: 1, missing: 2 + 1 + 2 });
  });

  test('knows percentiles to within two hundredths', () => {
    const latencies = new Latencies();
    for (let i = 1; i <= 100_000; i++) latencies.add(i);
    for (const share of [0.5, 0.99, 0.999]) {
      expect(Math.abs(latencies.percentile(share) / (share * 100_000) - 1)).toBeLessThan(0.02);
    }
    expect(new Latencies().percentile(0.5)).toBeNaN();
  });

  test('reads quantiles off what a histogram has grown by', () => {
    const before: Buckets = new Map([
      [0.1, 5],
      [1, 5],
      [Infinity, 0],
    ]);
    const after: Buckets = new Map([
      [0.1, 5],
      [1, 8],
      [10, 1],
      [Infinity, 0],
    ]);
    expect([0.5, 0.75, 0.76, 1].map((share) => quantile(before, after, share))).toEqual([1, 1, 10, 10]);
    expect(quantile(before, before, 0.5)).toBe(0);
  });
});
