/** The least by which times differ that are written in 64 bits, in milliseconds, in this century. */
const STEP = 2 ** -12;
/** The clock was set back by more, in milliseconds: it is believed. */
const SET_BACK = 1_000;

let last = 0;

/**
 * When an item is published, in milliseconds since the epoch. No two items of this worker have the same time, and of two workers hardly
 * ever: with its node it says which publish it was, also in notifications and at hosts that have not seen them.
 */
export function publishedNow(): number {
  const now = Date.now() + Math.floor((performance.now() % 1) / STEP) * STEP;
  last = now > last || now < last - SET_BACK ? now : last + STEP;
  return last;
}
