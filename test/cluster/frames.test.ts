import { expect, test } from 'vitest';
import { Batch, FRAME_HEADER, FrameReader, GREETING_BYTES, greeted, greeting } from '../../src/cluster/frames.js';

let seed = 1;
const random = (below: number): number => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % below;

/** Puts bytes into a reader as a socket would, in chunks of at most `most` bytes. */
function feed(reader: FrameReader, bytes: Buffer, most: number, frame: (kind: number, body: Buffer) => void): boolean {
  for (let at = 0; at < bytes.length;) {
    const space = reader.space();
    expect(space.length).toBeGreaterThan(0);
    const count = bytes.copy(space, 0, at, at + Math.min(most, space.length));
    at += count;
    reader.filled(count);
    if (!reader.frames(frame, random(4) === 0 && reader.space().length > most)) return false;
  }
  return true;
}

test.each([1, 2, 3, 7, 100, 4096, 65_536, 1_000_000])('frames survive chunks of up to %i bytes', (most) => {
  const sizes = [0, 1, 5, 300, 16_384, 65_531, 65_532, 65_536, 300_000, 2].slice(0, most < 3 ? 5 : 10);
  const batch = new Batch();
  const expected: string[] = [];
  for (const [i, size] of sizes.entries()) {
    const body = Buffer.alloc(size, i + 1);
    batch.add(i, size, [body.subarray(0, size / 3), body.subarray(size / 3)]);
    expected.push(`${i} ${size} ${i + 1}`);
  }
  expect(batch.used).toBe(sizes.reduce((sum, size) => sum + size + FRAME_HEADER, 0));
  const reader = new FrameReader();
  const got: string[] = [];
  const frame = (kind: number, body: Buffer): void => {
    expect(body.every((byte) => byte === kind + 1)).toBe(true);
    got.push(`${kind} ${body.length} ${kind + 1}`);
  };
  for (let round = 1; round <= 3; round++) expect(feed(reader, batch.view(), most, frame)).toBe(true);
  expect(got).toEqual([...expected, ...expected, ...expected]);
});

test('what is no frame is said to be none, whatever came before', () => {
  for (let round = 0; round < 2000; round++) {
    const noise = Buffer.from(Array.from({ length: 1 + random(200) }, () => random(256)));
    const reader = new FrameReader();
    // A length up to 64 MiB may be announced: nothing is given out before it has come.
    feed(reader, noise, 1 + random(50), (_kind, body) => expect(body.length).toBeLessThan(noise.length));
    expect(reader.space().length).toBeLessThanOrEqual(64 * 1024 * 1024 + FRAME_HEADER);
  }
});

test('a greeting tells its number, and anything else none', () => {
  expect(greeting(4294967295)).toHaveLength(GREETING_BYTES);
  expect(greeted(greeting(4294967295))).toBe(4294967295);
  const other = greeting(1);
  other[0]! ^= 1;
  expect(greeted(other)).toBe(undefined);
});
