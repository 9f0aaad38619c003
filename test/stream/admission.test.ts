import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { counters } from '../../src/metrics/counters.js';
import { admissionWait } from '../../src/metrics/histogram.js';
import { Admission, type Guest } from '../../src/stream/admission.js';
import { random } from '../support/proxy.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'setImmediate', 'performance'] });
  counters.drops = {};
  counters.admissionWaiting = 0;
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

/** Clients of those addresses come in this order; `in` and `out` are their names, as they were let in and turned away. */
function come(admission: Admission, ...addresses: string[]) {
  const outcome = { in: [] as string[], out: [] as string[] };
  const seen = new Map<string, number>();
  const places = addresses.map((address) => {
    const number = (seen.get(address) ?? 0) + 1;
    seen.set(address, number);
    const name = `${address}${number}`;
    const guest: Guest = { admitted: () => outcome.in.push(name), refused: () => outcome.out.push(name) };
    if (!admission.take()) return admission.wait(address, guest);
    outcome.in.push(name);
    return undefined;
  });
  return { outcome, places };
}

const times = (count: number, address: string) => Array<string>(count).fill(address);
/** Until nobody waits, and nothing is scheduled. */
const settled = () => vi.runAllTimers();

describe('letting clients in', () => {
  test('costs no timer while there are tokens, and none while nobody waits', () => {
    const { outcome } = come(new Admission({ connections_per_second: 1, burst: 9, queue: 9 }), ...times(9, 'a'));
    expect(outcome.in).toHaveLength(9);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('beyond the burst they wait their turn, and come at the rate', () => {
    const { outcome } = come(new Admission({ connections_per_second: 10, burst: 2, queue: 9 }), ...times(5, 'a'));
    expect(outcome.in).toEqual(['a1', 'a2']);
    expect(counters.admissionWaiting).toBe(3);
    const waited = admissionWait.count;
    for (let n = 3; n <= 5; n++) {
      vi.advanceTimersByTime(90);
      expect(outcome.in).toHaveLength(n - 1);
      vi.advanceTimersByTime(10);
      expect(outcome.in).toHaveLength(n);
    }
    expect(outcome.in).toEqual(['a1', 'a2', 'a3', 'a4', 'a5']);
    expect(admissionWait.count).toBe(waited + 3);
    expect(counters.admissionWaiting).toBe(0);
    settled();
  });

  test('nobody overtakes those who wait, even if there is a token again', () => {
    const admission = new Admission({ connections_per_second: 1, burst: 1, queue: 9 });
    const first = come(admission, 'a', 'a');
    vi.setSystemTime(Date.now() + 10_000);
    expect(admission.take()).toBe(false);
    settled();
    expect(first.outcome.in).toEqual(['a1', 'a2']);
  });

  test('addresses take turns, however many clients one of them has', () => {
    const admission = new Admission({ connections_per_second: 100, burst: 1, queue: 9999 });
    const { outcome } = come(admission, ...times(1000, 'a'), 'b', 'c', 'b');
    settled();
    expect(outcome.in.slice(0, 7)).toEqual(['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4']);
    expect(outcome.in).toHaveLength(1003);
  });

  test('above the queue they are turned away; who leaves makes room', () => {
    const admission = new Admission({ connections_per_second: 1, burst: 1, queue: 3 });
    const { outcome, places } = come(admission, ...times(6, 'a'));
    expect(places.map((place) => place !== undefined)).toEqual([false, true, true, true, false, false]);
    expect(counters.drops).toEqual({ admission_queue: 2 });
    admission.leave(places[2]!);
    admission.leave(places[2]!);
    expect(counters.drops).toEqual({ admission_queue: 2, admission_left: 1 });
    expect(come(admission, 'b').places[0]).toBeDefined();
    settled();
    expect(outcome.in).toEqual(['a1', 'a2', 'a4']);
    expect(counters.admissionWaiting).toBe(0);
    expect(places[3]!.waits).toBe(false);
  });

  test('closing turns all away who wait', () => {
    const admission = new Admission({ connections_per_second: 1, burst: 1, queue: 9 });
    const { outcome } = come(admission, 'a', 'a', 'b', 'a', 'b');
    admission.close();
    expect(outcome).toEqual({ in: ['a1'], out: ['a2', 'a3', 'b1', 'b2'] });
    expect(counters.admissionWaiting).toBe(0);
    settled();
    expect(outcome.in).toEqual(['a1']);
  });

  test('a crowd comes in small slices, with turns of the event loop between, though there are tokens for all', () => {
    const admission = new Admission({ connections_per_second: 1000, burst: 1000, queue: 1000 });
    const { outcome } = come(admission, ...times(500, 'a'));
    const slice = outcome.in.length;
    expect(slice).toBeLessThan(50);
    while (outcome.in.length < 500) {
      const before = outcome.in.length;
      vi.runOnlyPendingTimers();
      expect(outcome.in.length - before).toBeLessThanOrEqual(slice);
      expect(outcome.in.length).toBeGreaterThan(before);
    }
    settled();
    expect(come(admission, 'a').outcome.in).toEqual(['a1']);
  });

  test('the rate holds with the smallest burst, and after a quiet time no more than the burst comes at once', () => {
    const admission = new Admission({ connections_per_second: 2000, burst: 1, queue: 9999 });
    const { outcome } = come(admission, ...times(2001, 'a'));
    vi.advanceTimersByTime(1010);
    expect(outcome.in.length).toBe(2001);
    vi.advanceTimersByTime(60_000);
    expect(come(admission, 'a', 'a').outcome.in).toEqual(['a1']);
    settled();
  });

  test('whatever happens, everybody is let in once, or turned away, or has left; each address in its order', () => {
    const next = random(3);
    for (let round = 0; round < 50; round++) {
      const admission = new Admission({ connections_per_second: 1 + next(500), burst: 1 + next(20), queue: next(100) });
      const fates = new Map<number, string>();
      const order = new Map<string, number[]>();
      const waiting = new Map<number, NonNullable<ReturnType<Admission['wait']>>>();
      const fate = (id: number, what: string) => {
        expect(fates.has(id)).toBe(false);
        fates.set(id, what);
        waiting.delete(id);
      };
      const clients = 300;
      for (let id = 0; id < clients; id++) {
        const address = `10.0.0.${next(5)}`;
        const admitted = () => {
          fate(id, 'in');
          order.set(address, [...(order.get(address) ?? []), id]);
        };
        if (admission.take()) admitted();
        else {
          const place = admission.wait(address, { admitted, refused: () => fate(id, 'out') });
          if (place === undefined) fate(id, 'full');
          else waiting.set(id, place);
        }
        expect(counters.admissionWaiting).toBe(waiting.size);
        if (next(4) === 0) vi.advanceTimersByTime(next(20));
        if (next(5) === 0 && waiting.size > 0) {
          const [left, place] = [...waiting][next(waiting.size)]!;
          admission.leave(place);
          fate(left, 'left');
        }
      }
      if (next(2) === 0) admission.close();
      settled();
      expect(fates.size).toBe(clients);
      expect(counters.admissionWaiting).toBe(0);
      for (const ids of order.values()) expect(ids).toEqual([...ids].sort((a, b) => a - b));
    }
  });
});
