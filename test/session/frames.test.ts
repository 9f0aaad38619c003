import { expect, test } from 'vitest';
import { MOVE, entryFrames, readEntries } from '../../src/session/moving/frames.js';
import { Shared, type Entry } from '../../src/stream/outbox.js';

test('entries come as they were, in frames of a bounded size', () => {
  const copies = { key: 'k', sessions: ['1.ä', '2.b'] };
  const entries: Entry[] = [];
  for (let i = 0; i < 40; i++) {
    const text = `${i} ${'x'.repeat(20_000)}`;
    entries.push(
      {
        head: undefined,
        shared: new Shared(Buffer.from(`<message>${text}</message>`), undefined, false, copies, 1e12 + i),
      },
      { head: undefined, shared: new Shared(Buffer.from('<presence/>')) },
      {
        head: Buffer.from('<message>'),
        shared: new Shared(Buffer.from(`${text}</message>`), i % 2 === 0 ? '' : 'ñode'),
      },
    );
  }
  const frames = [...entryFrames(MOVE.late, ['id', 'ä@b/c'], entries)];
  expect(frames.length).toBeGreaterThan(3);
  const read = frames.map((frame) => readEntries(frame, 2));
  for (const { names } of read) expect(names).toEqual(['id', 'ä@b/c']);
  expect(read.flatMap((frame) => frame.entries)).toEqual(entries);
});
