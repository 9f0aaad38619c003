import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Telling } from '../../src/redis/telling.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function telling() {
  const lines: [text: string, details: object][] = [];
  const say = (details: object, text: string): void => void lines.push([text, details]);
  return { lines, telling: new Telling({ info: say, warn: say } as never) };
}

test('an outage is told at once, and its end', () => {
  const { lines, telling: one } = telling();
  one.down('somewhere: no connection');
  one.up();
  expect(lines).toEqual([
    ['Redis does not take commands', { reason: 'somewhere: no connection' }],
    ['Redis takes commands', {}],
  ]);
});

test.each([
  ['is there', 100, ['Redis takes commands', { unsaid: 193 }]],
  ['is away', 100.5, ['Redis does not take commands', { reason: 'gone', unsaid: 194 }]],
])('of a Redis that comes and goes some is told, and after a minute how it is: it %s', (_what, times, last) => {
  const { lines, telling: one } = telling();
  for (let i = 0; i < times; i++) {
    one.down('gone');
    if (i + 1 <= times) one.up();
  }
  expect(lines).toHaveLength(6);
  vi.advanceTimersByTime(60_000);
  expect(lines.slice(6)).toEqual([last]);
  vi.advanceTimersByTime(600_000);
  expect(lines).toHaveLength(7);
  one.down('gone again');
  expect(lines[7]).toEqual(['Redis does not take commands', { reason: 'gone again' }]);
});
