import { describe, expect, it } from 'vitest';
import { random } from './support/random.js';
import { type Client, NS, World, form, itemIds } from './support/world.js';

describe('several workers', () => {
  it('delivers a publish at any of them, with one frame for each interested one', async () => {
    const world = new World({ workers: 3 });
    const sensor = await world.login('sensor@localhost/s', 0);
    await sensor.create('n', { persist_items: '0', send_last_published_item: 'never' });
    const readers: Client[] = [];
    for (let i = 0; i < 9; i++) readers.push(await world.login(`r${i}@localhost/r`, i % 2));
    for (const reader of readers) await reader.subscribe('n');
    await world.quiet();
    const before = world.hub.frames;
    expect(sensor.hot('n', 'a')).toBe(true);
    expect(world.hub.frames - before).toBe(1);
    await world.quiet();
    for (const reader of readers) expect(reader.take().flatMap(itemIds)).toEqual(['a']);
  });

  it('reaches a subscriber whose result has come, with publishes at every worker, and its other sessions', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = new World({ workers: 3, pick: random(seed) });
      const owner = await world.login('owner@localhost/r', 2);
      await owner.create('n', { persist_items: '0', send_last_published_item: 'never' });
      const sensors: Client[] = [];
      for (const at of [0, 1, 2]) sensors.push(await world.login(`owner@localhost/s${at}`, at));
      for (const sensor of sensors) await sensor.publish('n', 'warm');
      const reader = await world.login('reader@localhost/0', 0);
      const elsewhere = await world.login('reader@localhost/1', 1);
      await reader.subscribe('n');
      for (const [at, sensor] of sensors.entries()) expect(sensor.hot('n', `a${at}`)).toBe(true);
      await world.quiet();
      for (const session of [reader, elsewhere]) {
        expect(session.take().flatMap(itemIds).sort()).toEqual(['a0', 'a1', 'a2']);
      }
      await reader.set(`<unsubscribe node='n' jid='reader@localhost'/>`);
      for (const sensor of sensors) sensor.hot('n', 'b');
      await world.quiet();
      expect([...reader.take(), ...elsewhere.take()].flatMap(itemIds)).toEqual([]);
    }
  });

  it('reaches a session of an account that had no subscription at its worker before it subscribed at another', async () => {
    const world = new World({ workers: 2, pick: random(11) });
    const sensor = await world.login('sensor@localhost/s', 0);
    await sensor.create('n', { persist_items: '0', send_last_published_item: 'never' });
    const first = await world.login('reader@localhost/1', 1);
    const second = await world.login('reader@localhost/2', 1);
    expect(await first.get('<subscriptions/>')).toBeDefined();
    const subscriber = await world.login('reader@localhost/0', 0);
    await subscriber.subscribe('n');
    const third = await world.login('reader@localhost/3', 1);
    const bound = world.bind('reader@localhost/4', 1);
    await subscriber.subscribe('n', 'reader@localhost/0');
    await world.quiet();
    expect(sensor.hot('n', 'a')).toBe(true);
    await world.quiet();
    for (const session of [first, second, third, subscriber]) expect(session.take().flatMap(itemIds)).toEqual(['a']);
    await bound.come();
    sensor.hot('n', 'b');
    await world.quiet();
    for (const session of [first, second, third, subscriber, bound]) {
      expect(session.take().flatMap(itemIds)).toEqual(['b']);
    }
  });

  it('keeps the order of one publisher to one subscriber', async () => {
    const world = new World({ workers: 2, pick: random(7) });
    const sensor = await world.login('sensor@localhost/s', 0);
    const reader = await world.login('reader@localhost/r', 1);
    await sensor.create('kept', { max_items: '5', send_last_published_item: 'never' });
    await sensor.create('loose', { persist_items: '0', send_last_published_item: 'never' });
    await reader.subscribe('kept');
    await reader.subscribe('loose');
    await sensor.publish('kept', 'w');
    await sensor.publish('loose', 'w');
    await world.quiet();
    reader.take();
    const sent: string[] = [];
    const pick = random(3);
    for (let i = 0; i < 200; i++) {
      const node = pick(2) === 0 ? 'kept' : 'loose';
      sent.push(String(i));
      if (pick(5) === 0) await sensor.publish(node, String(i));
      else expect(sensor.hot(node, String(i))).toBe(true);
    }
    await world.quiet();
    expect(reader.take().flatMap(itemIds)).toEqual(sent);
  });

  it('goes by a changed configuration or affiliation everywhere once the result has come', async () => {
    const world = new World({ workers: 2, pick: random(5) });
    const owner = await world.login('owner@localhost/r', 0);
    const bard = await world.login('bard@localhost/r', 1);
    const reader = await world.login('reader@localhost/r', 1);
    await owner.create('n', { publish_model: 'open' });
    await reader.subscribe('n');
    await bard.publish('n', '1');
    expect(bard.hot('n', '2')).toBe(true);
    await owner.own('set', `<configure node='n'>${form('node_config', { publish_model: 'publishers' })}</configure>`);
    expect(bard.hot('n', '3')).toBe(false);
    expect(await bard.refused('n')).toBe('forbidden');
    await owner.own('set', `<configure node='n'>${form('node_config', { notification_type: 'normal' })}</configure>`);
    reader.take();
    await owner.publish('n', '4');
    await world.quiet();
    expect(reader.take().map((message) => message.attr('type'))).toEqual(['normal']);
  });

  it('deletes a node for all: no publish is taken, and no subscription lives on in a new one', async () => {
    const world = new World({ workers: 3, pick: random(11) });
    const owner = await world.login('owner@localhost/r', 0);
    const sensor = await world.login('owner@localhost/s', 1);
    const reader = await world.login('reader@localhost/r', 2);
    await owner.create('n', { persist_items: '0' });
    await reader.subscribe('n');
    await sensor.publish('n', '1');
    expect(sensor.hot('n', '2')).toBe(true);
    await owner.own('set', `<delete node='n'/>`);
    expect(sensor.hot('n', '3')).toBe(false);
    await world.quiet();
    expect(reader.take().at(-1)!.child('event', `${NS}#event`)!.child('delete')!.attr('node')).toBe('n');
    await owner.create('n', { persist_items: '0' });
    await sensor.publish('n', '4');
    expect(sensor.hot('n', '5')).toBe(true);
    await world.quiet();
    expect(reader.take()).toEqual([]);
  });

  it('tells a worker that comes later, and forgets one that dies', async () => {
    const world = new World();
    const reader = await world.login('reader@localhost/r', 0);
    await reader.create('n', { persist_items: '0', send_last_published_item: 'never' });
    await reader.subscribe('n');
    const late = world.start();
    await world.quiet();
    const sensor = await world.login('reader@localhost/s', 1);
    await sensor.publish('n', '1');
    await world.quiet();
    expect(reader.take().flatMap(itemIds)).toEqual(['1']);
    sensor.take();
    world.hub.kill(late.bus);
    world.workers.pop();
    await world.quiet();
    const { frames } = world.hub;
    await reader.publish('n', '2');
    expect(world.hub.frames).toBe(frames);
  });

  it('finds the last item of a node that does not persist wherever it was published', async () => {
    const world = new World({ workers: 3 });
    const a = await world.login('sensor@localhost/a', 0);
    const b = await world.login('sensor@localhost/b', 1);
    await a.create('n', { persist_items: '0' });
    await a.create('m', { persist_items: '0' });
    await a.publish('n', '1');
    // Times are told apart by the millisecond.
    for (const now = Date.now(); Date.now() === now;) await new Promise((resolve) => setImmediate(resolve));
    await b.publish('n', '2');
    await a.publish('m', '3');
    const elsewhere = await world.login('reader@localhost/0', 0);
    const reader = await world.login('reader@localhost/r', 2);
    await reader.subscribe('n');
    await reader.subscribe('m');
    await world.quiet();
    expect(reader.take().flatMap(itemIds)).toEqual(['2', '3']);
    expect(elsewhere.take().flatMap(itemIds)).toEqual(['2', '3']);
    const back = await world.login('reader@localhost/back', 2);
    await world.quiet();
    expect(back.take().flatMap(itemIds).sort()).toEqual(['2', '3']);
  });

  it('goes by what a worker had changed that died before it could tell', async () => {
    const world = new World({ workers: 2 });
    const owner = await world.login('owner@localhost/r', 0);
    const bard = await world.login('bard@localhost/r', 0);
    const reader = await world.login('reader@localhost/r', 0);
    await owner.create('n', { publish_model: 'open' });
    await owner.create('m');
    await reader.subscribe('n');
    await bard.publish('n', '1');
    expect(bard.hot('n', '2')).toBe(true);
    await world.quiet();
    expect(reader.take().flatMap(itemIds)).toEqual(['1', '2']);
    // The dead worker's last deeds, as the store has them.
    await world.store.nodes.update('n', (node) => ({
      ...node,
      config: { ...node.config, publish_model: 'publishers' },
    }));
    const [subscription] = await world.store.nodes.subscriptionsOfNode('n');
    await world.store.nodes.addSubscription({ ...subscription!, node: 'm' });
    await world.store.nodes.removeSubscription('n', subscription!.jid);
    world.hub.kill(world.workers.pop()!.bus);
    await world.quiet();
    expect(bard.hot('n', '3')).toBe(false);
    await owner.publish('n', '4');
    await owner.publish('m', '5');
    await world.quiet();
    expect(reader.take().flatMap(itemIds)).toEqual(['5']);
  });
});
