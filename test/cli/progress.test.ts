import { expect, test } from 'vitest';
import { ProgressBar, type ProgressOptions } from '../../src/cli/render/progress.js';

/** What was written last, of a bar that comes half way in ten seconds, and then to its end. */
function seen(output: Partial<ProgressOptions['output']>): string[] {
  const lines: string[] = [];
  let now = 0;
  const write = (text: string) => lines.push(text.replace(/\x1b\[K|\r/g, '').replaceAll('\u202f', ' '));
  const bar = new ProgressBar({ output: { ...output, write }, now: () => now });
  const shares = (accounts: number, items: number) => [
    { what: 'accounts', done: accounts, total: 50_000 },
    { what: 'nodes', done: 0, total: 0 },
    { what: 'items', done: items, total: 150_000 },
  ];
  bar.begin('copying', 200_000);
  bar.at(0, shares(0, 0));
  now = 10_000;
  bar.at(100_000, shares(50_000, 50_000));
  const half = lines.at(-1)!;
  now = 20_000;
  bar.at(200_000, shares(50_000, 150_000));
  bar.end();
  return [
    half.trimEnd(),
    lines
      .filter((line) => line !== '\n')
      .at(-1)!
      .trimEnd(),
  ];
}

test('a bar fits its terminal, and says first how long it takes', () => {
  expect(seen({ isTTY: true, columns: 120 })).toEqual([
    'copying ████████████░░░░░░░░░░░░   50 %  0:10 left  10 000/s  50 000/150 000 items',
    'copying ████████████████████████  100 %  in 0:20  50 000 accounts, 150 000 items',
  ]);
  expect(seen({ isTTY: true, columns: 60 })).toEqual([
    'copying ██████░░░░░░   50 %  0:10 left  10 000/s',
    'copying ████████████  100 %  in 0:20  150 000 items',
  ]);
  expect(seen({ isTTY: true, columns: 20 })).toEqual(['copying ██████░░░░░', 'copying ███████████']);
});

test('elsewhere it is a line now and then, with everything', () => {
  expect(seen({})).toEqual([
    'copying:   50 %  0:10 left  10 000/s  50 000 accounts, 50 000/150 000 items',
    'copying:  100 %  in 0:20  50 000 accounts, 150 000 items',
  ]);
});
