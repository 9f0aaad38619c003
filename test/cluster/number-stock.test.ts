import { expect, test } from 'vitest';
import { NumberStock } from '../../src/cluster/number-stock.js';

test('numbers come from blocks that are reserved before the last one is used up', async () => {
  let asked = 0;
  const stock = new NumberStock(
    () => Promise.resolve({ first: 100 * ++asked, count: 4 }),
    () => undefined,
  );
  await stock.fill();
  const taken: (number | undefined)[] = [];
  for (let i = 0; i < 10; i++) {
    taken.push(stock.take());
    await Promise.resolve().then(() => new Promise(setImmediate));
  }
  expect(taken).toEqual([100, 101, 102, 103, 200, 201, 202, 203, 300, 301]);
  expect(asked).toBe(3);
});

test('a block that cannot be had hinders nobody while numbers are left, and is asked for again', async () => {
  let away = false;
  let blocks = 0;
  const errors: unknown[] = [];
  const stock = new NumberStock(
    () => (away ? Promise.reject(new Error('away')) : Promise.resolve({ first: 10 * ++blocks, count: 2 })),
    (error) => errors.push(error),
  );
  await stock.fill();
  away = true;
  expect([stock.take(), stock.take(), stock.take()]).toEqual([10, 11, undefined]);
  await expect.poll(() => errors).toHaveLength(1);
  away = false;
  await expect.poll(() => stock.take(), { timeout: 10_000 }).toBe(20);
  stock.close();
});
