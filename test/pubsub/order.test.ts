import { describe, expect, it } from 'vitest';
import { counters } from '../../src/metrics/counters.js';
import { StoreError, type Store } from '../../src/store/store.js';
import type { StanzaError } from '../../src/stream/stanza-error.js';
import { memoryStore } from './support/store.js';
import { NS, World, itemIds } from './support/world.js';

/** A store whose publishes are answered when the test says so, by item id. */
function heldStore(): { store: Store; settle: (id: string, outcome?: boolean | Error) => Promise<void> } {
  const store = memoryStore();
  const waiting = new Map<string, { resolve: (there: boolean) => void; reject: (error: Error) => void }>();
  store.items.publish = (_node, { id }) => new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  const settle = async (id: string, outcome: boolean | Error = true): Promise<void> => {
    const { resolve, reject } = waiting.get(id)!;
    if (outcome instanceof Error) reject(outcome);
    else resolve(outcome);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { store, settle };
}

async function setUp() {
  const { store, settle } = heldStore();
  const world = new World({ store });
  const sensor = await world.login('sensor@localhost/s');
  const other = await world.login('sensor@localhost/o');
  const reader = await world.login('reader@localhost/r');
  await sensor.create('kept', { send_last_published_item: 'never' });
  await sensor.create('kept2', { send_last_published_item: 'never' });
  await sensor.create('loose', { persist_items: '0', send_last_published_item: 'never' });
  for (const node of ['kept', 'kept2', 'loose']) await reader.subscribe(node);
  const got = (): string[] => reader.take().flatMap(itemIds);
  const results = (client: typeof sensor): string[] =>
    client.take().map((result) => `${result.attr('type')} ${result.attr('id')}`);
  return { world, sensor, other, reader, settle, got, results };
}

describe('what was accepted leaves in order', () => {
  it('sends neither notification nor result before the store has the item', async () => {
    const { sensor, settle, got, results } = await setUp();
    expect(sensor.hot('kept', 'a', undefined, 'i')).toBe(true);
    expect([got(), results(sensor)]).toEqual([[], []]);
    await settle('a');
    expect([got(), results(sensor)]).toEqual([['a'], ['result i']]);
  });

  it('keeps the order of one node, whichever road a publish takes and whoever publishes', async () => {
    const { sensor, other, settle, got } = await setUp();
    sensor.hot('kept', 'a');
    const slow = other.publish('kept', 'b');
    await new Promise((resolve) => setImmediate(resolve));
    other.hot('kept', 'c');
    await settle('c');
    await settle('b');
    expect(got()).toEqual([]);
    await settle('a');
    await slow;
    expect(got()).toEqual(['a', 'b', 'c']);
  });

  it("keeps the order of one session's publishes over nodes, also of those that are not stored", async () => {
    const { sensor, other, settle, got } = await setUp();
    sensor.hot('kept', 'a');
    sensor.hot('loose', 'b');
    sensor.hot('kept2', 'c');
    // Another session need not wait where the node does not.
    other.hot('kept2', 'x');
    expect(got()).toEqual([]);
    await settle('c');
    await settle('x');
    await settle('a');
    expect(got()).toEqual(['a', 'b', 'c', 'x']);
    other.hot('loose', 'd');
    expect(got()).toEqual(['d']);
  });

  it('answers with an error, and goes on, when the store refuses or the node is gone', async () => {
    const { sensor, settle, got, results } = await setUp();
    const before = counters.publishErrors;
    for (const id of ['a', 'b', 'c', 'd']) sensor.hot('kept', id, undefined, id);
    await settle('b', false);
    await settle('c', new StoreError('full', 'no room'));
    await settle('d');
    await settle('a', new Error('broken'));
    expect(got()).toEqual(['d']);
    expect(counters.publishErrors - before).toBe(3);
    const answers = sensor.take().map((answer) => {
      const error = answer.child('error')?.elements()[0]?.name;
      return [answer.attr('id'), answer.attr('type'), error];
    });
    expect(answers).toEqual([
      ['a', 'error', 'internal-server-error'],
      ['b', 'error', 'item-not-found'],
      ['c', 'error', 'resource-constraint'],
      ['d', 'result', undefined],
    ]);
    expect(results(sensor)).toEqual([]);
  });

  it('makes a session wait that has too many publishes under way', async () => {
    const { sensor, settle } = await setUp();
    let taken = 0;
    while (taken < 5000 && sensor.hot('kept', `i${taken}`)) taken++;
    expect(taken).toBeLessThan(5000);
    expect(taken).toBeGreaterThan(100);
    for (let i = 0; i < taken; i++) await settle(`i${i}`);
    expect(sensor.hot('kept', 'more')).toBe(true);
  });

  it('sends nothing to a session that has ended meanwhile', async () => {
    const { sensor, settle, got } = await setUp();
    sensor.hot('kept', 'a');
    sensor.close();
    await settle('a');
    expect(got()).toEqual(['a']);
  });

  it('lets publishers wait while a worker cannot keep up', async () => {
    const { world, sensor, got } = await setUp();
    const { bus } = world.workers[0]!;
    bus.setCongested(true);
    expect(sensor.hot('loose', 'a')).toBe(false);
    const publish = sensor.publish('loose', 'a');
    await new Promise((resolve) => setImmediate(resolve));
    expect(got()).toEqual([]);
    bus.setCongested(false);
    await publish;
    expect(got()).toEqual(['a']);
  });

  it('takes nothing from who was banned while it waited for that (XEP-0060 §8.9.2)', async () => {
    const { world, sensor, got } = await setUp();
    const owner = await world.login('owner@localhost/r');
    await owner.create('open', { publish_model: 'open' });
    const { bus } = world.workers[0]!;
    bus.setCongested(true);
    const publish = `<publish node='open'><item id='a'><v xmlns='urn:x'/></item></publish>`;
    const publishing = sensor.iq('set', `<pubsub xmlns='${NS}'>${publish}</pubsub>`);
    await new Promise((resolve) => setImmediate(resolve));
    const ban = `<affiliation jid='${sensor.jid.bare}' affiliation='outcast'/>`;
    await owner.own('set', `<affiliations node='open'>${ban}</affiliations>`);
    bus.setCongested(false);
    expect(((await publishing) as StanzaError).condition).toBe('forbidden');
    expect(await world.store.items.count('open')).toBe(0);
    expect(got()).toEqual([]);
  });

  it('counts publishes and deliveries', async () => {
    const { sensor, reader } = await setUp();
    const { publishes, deliveries } = counters;
    await reader.subscribe('loose');
    sensor.hot('loose', 'a');
    sensor.hot('loose', 'b');
    expect([counters.publishes - publishes, counters.deliveries - deliveries]).toEqual([2, 2]);
  });

  it("gives one session's results in order, though some wait for other workers and some for nobody", async () => {
    const world = new World({ workers: 3 });
    const sensor = await world.login('sensor@localhost/s', 0);
    const sent: string[] = [];
    for (const [at, node] of ['here', 'there', 'farther'].entries()) {
      await sensor.create(node, { persist_items: '0', send_last_published_item: 'never' });
      const reader = await world.login(`r${at}@localhost/r`, at);
      await reader.subscribe(node);
      await sensor.publish(node, 'warm');
    }
    await world.quiet();
    sensor.take();
    for (const node of ['there', 'farther', 'here', 'there', 'here', 'farther', 'here']) {
      const id = `${node}${sent.length}`;
      sent.push(`result ${id}`);
      expect(sensor.hot(node, 'a', undefined, id)).toBe(true);
    }
    await world.quiet();
    expect(sensor.take().map((result) => `${result.attr('type')} ${result.attr('id')}`)).toEqual(sent);
  });
});
