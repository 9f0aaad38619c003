import { expect, test } from 'vitest';
import { Destinations, type Place } from '../../src/session/moving/destinations.js';
import { Hub } from '../pubsub/support/bus.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Workers 1 to 6, two at each of the hosts a, b and c. */
function cluster(change: (place: Place) => Partial<Place> = () => ({})) {
  const hub = new Hub();
  const places: Place[] = [];
  const all = Array.from({ length: 6 }, () => new Destinations(hub.join(), () => places));
  for (let number = 1; number <= 6; number++) {
    const pool = 'abc'[(number - 1) >> 1]!;
    const place = { number, pool, advertise: `${pool}.example:5222`, draining: false };
    places.push({ ...place, ...change(place) });
  }
  return { hub, all, first: all[0]! };
}

const several = <T>(next: () => T, times = 8) => Array.from({ length: times }, next);

test('a worker that closes alone sends its sessions to its own host, and its clients nowhere in particular', () => {
  const { first } = cluster();
  first.leave(false);
  expect(new Set(several(() => first.next()))).toEqual(new Set([2]));
  expect(first.refuge()).toBe(undefined);
});

test('a worker without a neighbour sends them to other hosts', () => {
  const { first } = cluster(({ number }) => (number === 2 ? { draining: true } : {}));
  first.leave(false);
  expect(new Set(several(() => first.next()))).toEqual(new Set([3, 4, 5, 6]));
});

test('a host that closes sends sessions and clients to those that stay, in turns', async () => {
  const { all, first, hub } = cluster(({ number }) => (number === 5 ? { draining: true } : {}));
  first.leave(true);
  expect(several(() => first.next(), 4)).toEqual([3, 4, 6, 3]);
  expect(several(() => first.refuge(), 3)).toEqual(['b.example:5222', 'c.example:5222', 'b.example:5222']);
  all[5]!.leave(false);
  while (first.stays(6)) await turn();
  expect(several(() => first.next(), 4)).toEqual([3, 4, 3, 4]);
  expect(new Set(several(() => first.refuge()))).toEqual(new Set(['b.example:5222']));
  // One that comes now knows at once that nothing may go here.
  const late = new Destinations(hub.join(), () => []);
  while (late.stays(1)) await turn();
});

test('hosts that do not say where they are get no clients', () => {
  const { first } = cluster(() => ({ advertise: '' }));
  first.leave(true);
  expect(first.refuge()).toBe(undefined);
});

test('a pool that closes as a whole has nowhere to send anybody, nor has a lone worker', () => {
  const hub = new Hub();
  const [one] = [1, 2].map(() => new Destinations(hub.join(), () => []));
  expect(one!.next()).toBe(2);
  one!.leave(true);
  expect([one!.any, one!.next(), one!.refuge()]).toEqual([false, undefined, undefined]);
  expect(new Destinations(new Hub().join(), () => []).next()).toBe(undefined);
});
