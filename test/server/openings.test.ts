import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Openings } from '../../src/server/openings.js';

/** Openings over workers that answer at once; what they were asked, in order. */
function openings(): { asked: string[]; openings: Openings } {
  const asked: string[] = [];
  const supervisor = { askAll: (name: string) => (asked.push(name), Promise.resolve([])) };
  return { asked, openings: new Openings(supervisor) };
}

it('opens one at a time, and all hold their writes meanwhile', async () => {
  const { asked, openings: room } = openings();
  await room.begin('worker 1');
  let second = false;
  const waiting = room.begin('worker 2').then(() => (second = true));
  await turn();
  expect([asked, second]).toEqual([['hold'], false]);
  room.end('worker 1');
  await waiting;
  room.end('worker 2');
  expect(asked).toEqual(['hold', 'release', 'hold', 'release']);
});

it('holds nothing for a worker that died while it waited for its turn', async () => {
  const { asked, openings: room } = openings();
  await room.begin('worker 1');
  void room.begin('worker 2');
  const third = room.begin('worker 3');
  room.gone('worker 2');
  expect(asked).toEqual(['hold']);
  room.end('worker 1');
  await third;
  room.end('worker 3');
  expect(asked).toEqual(['hold', 'release', 'hold', 'release']);
});

it('ends an opening with its worker, and another process by itself alone', async () => {
  const { asked, openings: room } = openings();
  await room.begin('another process');
  const next = room.begin('another process');
  room.gone('worker 1');
  room.end('another process');
  await next;
  expect(asked).toEqual(['hold', 'release', 'hold']);
  room.end('another process');
  await room.begin('worker 4');
  room.gone('worker 4');
  expect(asked).toEqual(['hold', 'release', 'hold', 'release', 'hold', 'release']);
});
