import { expect, it } from 'vitest';
import { SENT_LATE_MOST, SentLate } from '../../src/pubsub/sent-late.js';

it('remembers which missed items were sent, the last of them only', () => {
  const sent = new SentLate();
  for (let i = 0; i <= SENT_LATE_MOST; i++) sent.add('news', i);
  expect(sent.has('news', 0)).toBe(false);
  expect(sent.has('news', 1)).toBe(true);
  expect(sent.has('other', 1)).toBe(false);
  expect(sent.has('news', SENT_LATE_MOST)).toBe(true);
  sent.clear();
  expect(sent.has('news', SENT_LATE_MOST)).toBe(false);
});
