import { expect, it } from 'vitest';
import { Elsewhere, NOBODY } from '../../src/pubsub/elsewhere.js';

it('nodes with the same readers share one audience, in whatever order these came', () => {
  const elsewhere = new Elsewhere();
  for (const worker of [7, 3, 12]) elsewhere.gain(worker, 'a');
  for (const worker of [12, 7, 3]) elsewhere.gain(worker, 'b');
  expect(elsewhere.of('a')).toBe(elsewhere.of('b'));
  expect(elsewhere.of('a').workers).toEqual([3, 7, 12]);
  expect(elsewhere.lose(7, 'a').workers).toEqual([3, 12]);
  expect(elsewhere.of('b').workers).toEqual([3, 7, 12]);
  expect(elsewhere.lose(99, 'c')).toBe(NOBODY);
});

it('a worker that goes is out of all audiences at once, and nodes that nobody reads any more are forgotten', async () => {
  const elsewhere = new Elsewhere();
  const count = 30_000;
  for (let i = 0; i < count; i++) {
    elsewhere.gain(1, `n${i}`);
    if (i % 3 === 0) elsewhere.gain(2, `n${i}`);
    if (i % 5 === 0) elsewhere.gain(3, `n${i}`);
  }
  const expected = (i: number): number[] => [...(i % 3 === 0 ? [2] : []), ...(i % 5 === 0 ? [3] : [])];
  elsewhere.workerGone(1);
  const seen = Array.from({ length: count }, (_, i) => elsewhere.of(`n${i}`).workers);
  expect(seen).toEqual(Array.from({ length: count }, (_, i) => expected(i)));
  // What comes before they are forgotten is kept.
  elsewhere.gain(4, 'n1');
  elsewhere.workerGone(3);
  while (elsewhere.size > count / 3 + 1) await new Promise((resolve) => setImmediate(resolve));
  expect(elsewhere.of('n1').workers).toEqual([4]);
  expect(elsewhere.of('n3').workers).toEqual([2]);
  expect(elsewhere.of('n5')).toBe(NOBODY);
  elsewhere.workerGone(2);
  elsewhere.workerGone(4);
  while (elsewhere.size > 0) await new Promise((resolve) => setImmediate(resolve));
});
