import { expect, it } from 'vitest';
import { delay, withChild } from '../../src/xml/delay.js';

it.each([
  ['<message to="a"/>', '<message to="a">+</message>'],
  ['<message></message>', '<message>+</message>'],
  ['<message><body>/></body></message>', '<message><body>/></body>+</message>'],
  ['<message><x/></message >', '<message><x/>+</message >'],
])('a child goes to the end of %s', (message, expected) => {
  expect(withChild(Buffer.from(message), '+').toString()).toBe(expected);
});

it('says who delayed it, and since when (XEP-0203 §2)', () => {
  expect(delay("o'brien@x", 0)).toBe(
    "<delay xmlns='urn:xmpp:delay' from='o&apos;brien@x' stamp='1970-01-01T00:00:00.000Z'/>",
  );
});
