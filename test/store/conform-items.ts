import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Given } from './conformance.js';
import { ids, item, node } from './records.js';

export function itemsConform(given: Given): void {
  const made = async (name: string) => {
    expect(await given().nodes.create(node(name))).toBe(true);
    return given().items;
  };
  const range = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, n) => `i${from + n}`);

  test('an item is read back as it was published', async () => {
    const items = await made('item');
    const record = item('an id — 日本', { publisher: 'ÿ@x', published: 1_700_000_000_123, payload: randomBytes(1000) });
    expect(await items.publish('item', record, 10)).toBe(true);
    const [found] = await items.get('item', [record.id]);
    expect({ ...found, payload: Buffer.from(found!.payload) }).toEqual(record);
    expect(await items.count('item')).toBe(1);
  });

  test('the payload is copied before the call returns', async () => {
    const items = await made('copy');
    const memory = Buffer.from('0123456789');
    const writes = [];
    for (let n = 0; n < 10; n++) {
      memory.fill(48 + n);
      writes.push(items.publish('copy', item(`i${n}`, { payload: memory.subarray(2, 6) }), 10));
    }
    memory.fill(0);
    await Promise.all(writes);
    const found = await items.latest('copy', 10);
    expect(found.map(({ payload }) => Buffer.from(payload).toString())).toEqual(
      [9, 8, 7, 6, 5, 4, 3, 2, 1, 0].map((n) => String(n).repeat(4)),
    );
  });

  test('there is nothing of a node that is not there', async () => {
    const { items } = given();
    expect(await items.publish('none', item('a'), 10)).toBe(false);
    expect(await items.retract('none', ['a'])).toEqual([]);
    expect(await items.purge('none')).toBe(0);
    expect(await items.expire('none', 5)).toBe(0);
    expect(await items.get('none', ['a'])).toEqual([]);
    expect(await items.latest('none', 5)).toEqual([]);
    expect(await items.count('none')).toBe(0);
  });

  test('payloads may be empty or large', async () => {
    const items = await made('sizes');
    const sizes = [0, 1, 2000, 4000, 9000, 33_000, 300_000, 2_000_000];
    const records = sizes.map((size) => item(`of ${size}`, { payload: randomBytes(size) }));
    await Promise.all(records.map((record) => items.publish('sizes', record, 100)));
    const same = (found: Uint8Array, record: { payload: Uint8Array }): boolean =>
      Buffer.compare(found, record.payload) === 0;
    const latest = await items.latest('sizes', 100);
    expect(latest.reverse().map(({ payload }, n) => same(payload, records[n]!))).toEqual(sizes.map(() => true));
    const got = await items.get(
      'sizes',
      records.map(({ id }) => id),
    );
    expect(got.map(({ payload }, n) => same(payload, records[n]!))).toEqual(sizes.map(() => true));
  });

  test('ids may hold anything and be long', async () => {
    const items = await made('ids');
    const odd = [
      '',
      ' ',
      '/',
      '😀',
      '\u0001',
      'x'.repeat(1023),
      'ÿ'.repeat(600),
      `${'y'.repeat(3000)}1`,
      `${'y'.repeat(3000)}2`,
    ];
    for (const id of odd) expect(await items.publish('ids', item(id), 100)).toBe(true);
    expect(ids(await items.get('ids', odd))).toEqual(odd);
    expect(ids((await items.page('ids', { limit: 100 }))!.items)).toEqual(odd);
    expect(await items.retract('ids', odd.slice(5))).toEqual(odd.slice(5));
    expect(ids(await items.latest('ids', 100))).toEqual(odd.slice(0, 5).reverse());
  });

  test('the oldest items go when there are more than max_items', async () => {
    const items = await made('trimmed');
    for (const id of range(0, 25)) {
      await items.publish('trimmed', item(id), 10);
      expect(await items.count('trimmed')).toBe(Math.min(Number(id.slice(1)) + 1, 10));
    }
    expect(ids(await items.latest('trimmed', 100))).toEqual(range(15, 25).reverse());
    expect(await items.get('trimmed', ['i14', 'i15'])).toHaveLength(1);
  });

  test('items are trimmed the same when many are published at once', async () => {
    const items = await made('burst');
    await Promise.all(range(0, 500).map((id) => items.publish('burst', item(id), 7)));
    expect(ids(await items.latest('burst', 100))).toEqual(range(493, 500).reverse());
    expect(await items.count('burst')).toBe(7);
  });

  test('a limit applies with the publish that brings it, and items that are gone stay gone', async () => {
    const items = await made('limits');
    await Promise.all(range(0, 400).map((id) => items.publish('limits', item(id), 1000)));
    expect(await items.count('limits')).toBe(400);
    await items.publish('limits', item('a'), 50);
    expect(await items.count('limits')).toBe(50);
    await items.publish('limits', item('b'), 3);
    expect(ids(await items.latest('limits', 100))).toEqual(['b', 'a', 'i399']);
    expect(ids((await items.page('limits', { limit: 100 }))!.items)).toEqual(['i399', 'a', 'b']);
    expect(await items.get('limits', range(0, 399))).toEqual([]);
    await items.publish('limits', item('c'), 1000);
    await items.publish('limits', item('i7'), 1000);
    expect(ids(await items.latest('limits', 100))).toEqual(['i7', 'c', 'b', 'a', 'i399']);
    expect(await items.count('limits')).toBe(5);
    await items.publish('limits', item('d'), 1);
    expect(ids(await items.latest('limits', 100))).toEqual(['d']);
    await items.publish('limits', item('e'), 0);
    expect(await items.latest('limits', 100)).toEqual([]);
    expect(await items.count('limits')).toBe(0);
  });

  test('limits that differ from call to call apply in the order of the calls', async () => {
    const items = await made('limits in turn');
    await Promise.all(range(0, 300).map((id) => items.publish('limits in turn', item(id), 1000)));
    await Promise.all([
      items.publish('limits in turn', item('a'), 5),
      items.publish('limits in turn', item('b'), 1000),
      items.publish('limits in turn', item('c'), 1000),
    ]);
    expect(ids(await items.latest('limits in turn', 9))).toEqual(['c', 'b', 'a', 'i299', 'i298', 'i297', 'i296']);
  });

  test('growing and shrinking limits in one burst end where the calls ended', async () => {
    const items = await made('sway');
    const publishes = range(0, 900).map((id, n) =>
      items.publish('sway', item(id), n < 300 ? 500 : n < 600 ? 100 : 150),
    );
    expect(await Promise.all(publishes)).toEqual(publishes.map(() => true));
    expect(ids(await items.latest('sway', 1000))).toEqual(range(750, 900).reverse());
  });

  test('an item of the same id is replaced and becomes the newest', async () => {
    const items = await made('replaced');
    for (const id of ['a', 'b', 'c']) await items.publish('replaced', item(id), 3);
    await items.publish('replaced', item('a', { payload: Buffer.from('new') }), 3);
    const latest = await items.latest('replaced', 9);
    expect(ids(latest)).toEqual(['a', 'c', 'b']);
    expect(Buffer.from(latest[0]!.payload).toString()).toBe('new');
    await items.publish('replaced', item('d'), 3);
    expect(ids(await items.latest('replaced', 9))).toEqual(['d', 'a', 'c']);
  });

  test('one id published again and again is one item, among few and among many', async () => {
    const items = await made('singleton');
    await Promise.all(range(0, 50).map(() => items.publish('singleton', item('current'), 1)));
    expect(await items.count('singleton')).toBe(1);
    await Promise.all(range(0, 300).map((id) => items.publish('singleton', item(id), 1000)));
    await Promise.all(range(0, 300).map(() => items.publish('singleton', item('current'), 1000)));
    expect(await items.count('singleton')).toBe(301);
    expect(ids(await items.latest('singleton', 2))).toEqual(['current', 'i299']);
    for (let n = 0; n < 20; n++) await items.publish('singleton', item('current'), 1000);
    expect(ids(await items.latest('singleton', 2))).toEqual(['current', 'i299']);
    expect(await items.count('singleton')).toBe(301);
  });

  test('retracted items are gone, and only they', async () => {
    const items = await made('retracted');
    for (const id of range(0, 6)) await items.publish('retracted', item(id), 10);
    expect(await items.retract('retracted', ['i1', 'nothing', 'i4', 'i1'])).toEqual(['i1', 'i4']);
    expect(await items.retract('retracted', [])).toEqual([]);
    expect(ids(await items.latest('retracted', 9))).toEqual(['i5', 'i3', 'i2', 'i0']);
    expect(await items.count('retracted')).toBe(4);
    await items.publish('retracted', item('i1'), 4);
    expect(ids(await items.latest('retracted', 9))).toEqual(['i1', 'i5', 'i3', 'i2']);
  });

  test('a purge empties the node, which goes on', async () => {
    const items = await made('purged');
    await Promise.all(range(0, 700).map((id) => items.publish('purged', item(id), 1000)));
    expect(await items.purge('purged')).toBe(700);
    expect(await items.purge('purged')).toBe(0);
    expect(await items.latest('purged', 9)).toEqual([]);
    expect(await items.get('purged', ['i1'])).toEqual([]);
    await items.publish('purged', item('i1'), 1000);
    expect(ids(await items.latest('purged', 9))).toEqual(['i1']);
    expect(await items.count('purged')).toBe(1);
  });

  test('items come in the order asked for; those not there are left out', async () => {
    const items = await made('asked');
    for (const id of range(0, 4)) await items.publish('asked', item(id), 10);
    expect(ids(await items.get('asked', ['i3', 'x', 'i0', 'i2']))).toEqual(['i3', 'i0', 'i2']);
    expect(await items.get('asked', [])).toEqual([]);
    expect(ids(await items.latest('asked', 2))).toEqual(['i3', 'i2']);
    expect(await items.latest('asked', 0)).toEqual([]);
  });

  for (const many of [10, 600])
    test(`expired items are as if they were not there, among ${many}`, async () => {
      const name = `expiring ${many}`;
      const items = await made(name);
      await Promise.all(range(0, many).map((id, n) => items.publish(name, item(id, { published: 1000 + n }), 1000)));
      await items.retract(name, ['i2', `i${many - 3}`]);
      const alive = range(many - 5, many).filter((id) => id !== `i${many - 3}`);
      const notBefore = 1000 + many - 5;
      expect(ids(await items.latest(name, 9, notBefore))).toEqual([...alive].reverse());
      expect(ids(await items.latest(name, 2, notBefore))).toEqual(alive.slice(-2).reverse());
      expect(await items.count(name, notBefore)).toBe(4);
      expect(await items.count(name)).toBe(many - 2);
      expect(ids(await items.get(name, ['i0', ...alive], notBefore))).toEqual(alive);
      expect(await items.latest(name, 9, 9999)).toEqual([]);
      expect(await items.count(name, 9999)).toBe(0);
      expect(await items.expire(name, notBefore)).toBe(many - 6);
      expect(await items.expire(name, notBefore)).toBe(0);
      expect(await items.count(name)).toBe(4);
      expect(await items.get(name, ['i0'])).toEqual([]);
      await items.publish(name, item('i0', { published: 9999 }), 1000);
      expect(ids(await items.latest(name, 9))).toEqual(['i0', ...[...alive].reverse()]);
      expect(await items.expire(name, 99_999)).toBe(5);
      expect(await items.latest(name, 9)).toEqual([]);
    });

  test('an item does not expire before those that precede it', async () => {
    const items = await made('clocks');
    const times = [100, 300, 200, 250, 400];
    for (const [n, published] of times.entries()) await items.publish('clocks', item(`i${n}`, { published }), 10);
    expect(ids(await items.latest('clocks', 9, 260))).toEqual(['i4', 'i3', 'i2', 'i1']);
    expect(ids(await items.latest('clocks', 9, 301))).toEqual(['i4']);
    expect((await items.get('clocks', ['i2']))[0]!.published).toBe(200);
  });

  for (const room of [10, 300])
    test(`what is added to a node finds room or is refused, and nothing goes for it (${room})`, async () => {
      const name = `room for ${room}`;
      const items = await made(name);
      expect(await items.add('none', item('a'), room)).toBe('gone');
      expect(await items.add('none', item('a'), 0)).toBe('gone');
      expect(await items.add(name, item('a'), 0)).toBe('full');
      const some = range(0, room + 20);
      const outcomes = await Promise.all(some.map((id) => items.add(name, item(id), room)));
      const kept = some.filter((_, n) => outcomes[n] === 'kept');
      expect(kept).toEqual(range(0, room));
      expect(outcomes.slice(room)).toEqual(Array.from({ length: 20 }, () => 'full'));
      // One of the same id takes the place of the one that is there, and is the newest.
      expect(await items.add(name, item('i1', { publisher: 'again@x' }), room)).toBe('kept');
      const [newest] = await items.latest(name, 1);
      expect(newest).toMatchObject({ id: 'i1', publisher: 'again@x' });
      expect(Buffer.from(newest!.payload).toString()).toContain('i1');
      expect(await items.count(name)).toBe(room);
      expect(await items.retract(name, ['i0'])).toEqual(['i0']);
      expect(await Promise.all(['x', 'y'].map((id) => items.add(name, item(id), room)))).toEqual(['kept', 'full']);
      expect(ids(await items.latest(name, 3))).toEqual(['x', 'i1', `i${room - 1}`]);
    });

  test('what has expired takes no room from what is added', async () => {
    const items = await made('expired room');
    for (let n = 0; n < 5; n++)
      expect(await items.add('expired room', item(`i${n}`, { published: 1000 + n }), 5)).toBe('kept');
    const added = (id: string) => items.add('expired room', item(id, { published: 2000 }), 5, 1002);
    expect([await added('a'), await added('i0'), await added('b'), await added('i4')]).toEqual([
      'kept',
      'kept',
      'full',
      'kept',
    ]);
    expect(ids(await items.latest('expired room', 9, 1002))).toEqual(['i4', 'i0', 'a', 'i3', 'i2']);
  });

  test('what is added is copied before the call returns', async () => {
    const items = await made('added copy');
    const memory = Buffer.from('before');
    const added = items.add('added copy', item('a', { payload: memory }), 10);
    memory.fill(0);
    expect(await added).toBe('kept');
    expect(Buffer.from((await items.latest('added copy', 1))[0]!.payload).toString()).toBe('before');
  });

  test('publishes, retractions and purges at once keep the order of the calls', async () => {
    const items = await made('mixed');
    const [, , retracted, , purged, , , again] = await Promise.all([
      items.publish('mixed', item('a'), 10),
      items.publish('mixed', item('b'), 10),
      items.retract('mixed', ['a', 'c']),
      items.publish('mixed', item('c'), 10),
      items.purge('mixed'),
      items.publish('mixed', item('d'), 10),
      items.publish('mixed', item('e'), 10),
      items.retract('mixed', ['d', 'c']),
    ]);
    expect([retracted, purged, again]).toEqual([['a'], 2, ['d']]);
    expect(ids(await items.latest('mixed', 9))).toEqual(['e']);
  });

  test('a random history of one node is that of a simple model', async () => {
    const items = await made('model');
    let seed = 42;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    let model: string[] = [];
    for (let round = 0; round < 60; round++) {
      const maxItems = [3, 40, 400][random(3)] as number;
      const writes: Promise<unknown>[] = [];
      for (let n = random(80); n > 0; n--) {
        const id = `m${random(300)}`;
        if (random(10) > 0) {
          writes.push(items.publish('model', item(id), maxItems));
          model = [...model.filter((other) => other !== id), id].slice(-maxItems);
        } else {
          writes.push(items.retract('model', [id]));
          model = model.filter((other) => other !== id);
        }
      }
      await Promise.all(writes);
      const page = await items.page('model', { limit: 1000 });
      expect(ids(page!.items)).toEqual(model);
      expect(page!.count).toBe(model.length);
      const id = `m${random(300)}`;
      expect(await items.get('model', [id])).toHaveLength(model.includes(id) ? 1 : 0);
    }
  });
}
