import { describe, expect, it } from 'vitest';
import { CHANNEL } from '../../src/cluster/bus.js';
import { counters } from '../../src/metrics/counters.js';
import { StoreError } from '../../src/store/store.js';
import { random } from './support/random.js';
import { memoryStore, slowStore } from './support/store.js';
import { type Client, World, itemIds } from './support/world.js';

const KEPT = { send_last_published_item: 'never', max_items: '1000', publish_model: 'open' };

/** Two workers, a sensor at the first, a reader at each. */
async function setUp(config: Record<string, string> = {}) {
  const store = memoryStore();
  const world = new World({ workers: 2, store });
  const sensor = await world.login('sensor@localhost/s', 0);
  const near = await world.login('near@localhost/n', 0);
  const far = await world.login('far@localhost/f', 1);
  await sensor.create('news', { ...KEPT, ...config });
  for (const reader of [near, far]) await reader.subscribe('news');
  await world.quiet();
  const [home, away] = world.workers.map(({ bus }) => bus) as [
    (typeof world.workers)[0]['bus'],
    (typeof world.workers)[0]['bus'],
  ];
  const got = async (reader: Client): Promise<string[]> => {
    await world.quiet();
    return reader.take().flatMap(itemIds);
  };
  return { world, store, sensor, near, far, home, away, got };
}

describe('a worker that was cut off', () => {
  it('sends its subscribers what was published and kept meanwhile, once, in order and with its time', async () => {
    const { world, sensor, near, far, away, got } = await setUp();
    await sensor.publish('news', 'a');
    expect(await got(far)).toEqual(['a']);
    world.hub.cutOff(away);
    for (const id of ['b', 'c']) await sensor.publish('news', id);
    expect(await got(far)).toEqual([]);
    await world.hub.rejoin(away);
    await sensor.publish('news', 'd');
    await world.quiet();
    const stanzas = far.take();
    expect(stanzas.flatMap(itemIds)).toEqual(['b', 'c', 'd']);
    // XEP-0203: those were late.
    for (const stanza of stanzas.slice(0, 2)) {
      const delay = stanza.child('delay', 'urn:xmpp:delay');
      expect(delay?.attr('from')).toBe('pubsub.localhost');
      expect(Date.parse(delay?.attr('stamp') ?? '')).toBeGreaterThan(0);
    }
    expect(await got(near)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('also where none of the items that it saw is kept any more', async () => {
    const { world, sensor, far, away, got } = await setUp({ max_items: '2' });
    await sensor.publish('news', 'a');
    expect(await got(far)).toEqual(['a']);
    world.hub.cutOff(away);
    for (const id of ['b', 'c', 'd']) await sensor.publish('news', id);
    await world.hub.rejoin(away);
    expect(await got(far)).toEqual(['c', 'd']);
  });

  it('also an item of an id that it had seen, published anew', async () => {
    const { world, sensor, far, away } = await setUp({ max_items: '1' });
    await sensor.publish('news', 'current', `<v xmlns='urn:x'>1</v>`);
    await world.quiet();
    far.take();
    world.hub.cutOff(away);
    await sensor.publish('news', 'current', `<v xmlns='urn:x'>2</v>`);
    await world.hub.rejoin(away);
    await world.quiet();
    const [only, ...more] = far.take();
    expect(only!.toString()).toContain(`>2</v>`);
    expect(more).toEqual([]);
  });

  it('of nodes that were silent before only what was published since', async () => {
    const { world, sensor, far, away, got } = await setUp();
    await sensor.create('quiet', KEPT);
    await sensor.publish('quiet', 'old');
    await far.subscribe('quiet');
    await world.quiet();
    // Clocks count milliseconds.
    const at = Date.now();
    while (Date.now() === at) await new Promise((resolve) => setImmediate(resolve));
    world.hub.cutOff(away);
    await sensor.publish('quiet', 'new');
    await world.hub.rejoin(away);
    expect(await got(far)).toEqual(['new']);
  });

  it('nothing that was published before anybody read it there, also when that was a moment before', async () => {
    const { world, sensor, far, away, got } = await setUp();
    await sensor.create('late', KEPT);
    await sensor.publish('late', 'before');
    await far.subscribe('late');
    await sensor.publish('late', 'a');
    expect(await got(far)).toEqual(['a']);
    world.hub.cutOff(away);
    await sensor.publish('late', 'b');
    await world.hub.rejoin(away);
    expect(await got(far)).toEqual(['b']);
  });

  it('nothing where nothing was missed, and not what was retracted', async () => {
    const { world, sensor, far, away, got } = await setUp();
    for (const id of ['a', 'b', 'c']) await sensor.publish('news', id);
    expect(await got(far)).toEqual(['a', 'b', 'c']);
    await sensor.set(`<retract node='news'><item id='c'/></retract>`);
    world.hub.cutOff(away);
    await world.hub.rejoin(away);
    expect(await got(far)).toEqual([]);
    world.hub.cutOff(away);
    for (const id of ['d', 'e']) await sensor.publish('news', id);
    await sensor.set(`<retract node='news'><item id='d'/></retract>`);
    await world.hub.rejoin(away);
    expect(await got(far)).toEqual(['e']);
  });

  it('what its own publishers had for others arrives there, once', async () => {
    const { world, far, near, away, got } = await setUp();
    await far.publish('news', 'a');
    await world.quiet();
    far.hot('news', 'b');
    world.hub.cutOff(away);
    far.hot('news', 'c');
    expect(await got(near)).toEqual(['a']);
    const rejoined = world.hub.rejoin(away);
    far.hot('news', 'd');
    await rejoined;
    expect(await got(near)).toEqual(['b', 'c', 'd']);
    expect(await got(far)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('answers its publishers when others are on their way to hear of it', async () => {
    const { world, far, away } = await setUp();
    world.hub.cutOff(away);
    for (const listener of away.gaps) listener(Date.now(), new Promise(() => undefined));
    let answered = false;
    void far.publish('news', 'a').then(() => (answered = true));
    await world.quiet();
    expect(answered).toBe(false);
    // The second time it is over.
    await world.hub.rejoin(away);
    await world.quiet();
    expect(answered).toBe(true);
  });

  it('sends nothing twice whose notification was still on its way, from a worker that has died', async () => {
    const { world, sensor, home, far, away, got } = await setUp();
    const third = world.start();
    const other = await world.login('other@localhost/o', 2);
    await other.subscribe('news');
    await world.quiet();
    const frames: Buffer[] = [];
    const hear = third.bus.listeners.get(CHANNEL.notify)!;
    third.bus.listeners.set(CHANNEL.notify, (from, body) => {
      frames.push(Buffer.from(body));
      return hear(from, body);
    });
    world.hub.cutOff(away);
    await sensor.publish('news', 'a');
    await world.hub.rejoin(away);
    expect(await got(far)).toEqual(['a']);
    expect(frames).toHaveLength(1);
    void away.listeners.get(CHANNEL.notify)!(home.self, frames[0]!);
    expect(await got(far)).toEqual([]);
  });

  it('does not take the end of another gap for its own', async () => {
    const { world, far, near, away, got } = await setUp();
    world.hub.cutOff(away);
    const rejoined = world.hub.rejoin(away);
    // The way to one of the others begins anew while it registers.
    for (const listener of away.gaps) listener(Date.now(), undefined);
    let answered = false;
    void far.publish('news', 'a').then(() => (answered = true));
    expect(answered).toBe(false);
    await rejoined;
    expect(await got(near)).toEqual(['a']);
    expect(answered).toBe(true);
  });

  it('goes on within itself with what nobody keeps, however long it takes to come back', async () => {
    const { world, far, away } = await setUp();
    await far.create('loose', { persist_items: '0', send_last_published_item: 'never' });
    await far.subscribe('loose');
    world.hub.cutOff(away);
    for (const listener of away.gaps) listener(Date.now(), new Promise(() => undefined));
    await far.publish('loose', 'a');
    expect(far.take().flatMap(itemIds)).toEqual(['a']);
  });

  it('asks the store again that could not answer, and keeps what comes back meanwhile', async () => {
    const { world, store, sensor, far, away, got } = await setUp();
    await sensor.publish('news', 'a');
    await world.quiet();
    world.hub.cutOff(away);
    await sensor.publish('news', 'b');
    const { page } = store.items;
    let asked!: () => void;
    const refused = new Promise<void>((resolve) => (asked = resolve));
    store.items.page = () => {
      asked();
      return Promise.reject(new StoreError('unavailable', 'away'));
    };
    await world.hub.rejoin(away);
    await refused;
    await sensor.publish('news', 'c');
    expect(await got(far)).toEqual(['a']);
    store.items.page = page;
    expect([await far.next(), await far.next()].flatMap(itemIds)).toEqual(['b', 'c']);
  });

  it('keeps no more back than it has room for, and counts what it gives up', async () => {
    const { world, store, sensor, far, away, got } = await setUp();
    world.hub.cutOff(away);
    await sensor.publish('news', 'a');
    store.items.page = () => new Promise(() => undefined);
    await world.hub.rejoin(away);
    await world.quiet();
    const before = counters.drops['catching_up'] ?? 0;
    const large = `<v xmlns='urn:x'>${'x'.repeat(60_000)}</v>`;
    for (let i = 0; i < 300; i++) await sensor.publish('news', `i${i}`, large);
    const ids = await got(far);
    expect([ids.length, ids[0], ids[299]]).toEqual([300, 'i0', 'i299']);
    expect(counters.drops['catching_up']).toBe(before + 1);
  });

  it('sends the last of very much, and says so', async () => {
    const { world, sensor, far, away, got } = await setUp({ max_items: '2000' });
    await sensor.publish('news', 'a');
    await got(far);
    world.hub.cutOff(away);
    for (let i = 0; i < 1500; i++) await sensor.publish('news', `i${i}`);
    await world.hub.rejoin(away);
    const ids = await got(far);
    expect([ids.length, ids.at(-1)]).toEqual([1024, 'i1499']);
    const text = 'of some nodes subscribers were sent only the last of what they had missed';
    expect(world.workers[1]!.lines).toMatchObject([{ msg: expect.stringContaining(text), items: 1024, incomplete: 1 }]);
  });

  it('sends nothing twice to who came while it was at it', async () => {
    const { world, store, sensor, away, got } = await setUp();
    await sensor.create('last', { ...KEPT, send_last_published_item: 'on_sub_and_presence' });
    const old = await world.login('old@localhost/o', 1);
    await old.subscribe('last');
    const late = world.bind('late@localhost/l', 1);
    await late.subscribe('last');
    await world.quiet();
    world.hub.cutOff(away);
    await sensor.publish('last', 'a');
    const { page } = store.items;
    const release: (() => void)[] = [];
    store.items.page = async (...args) => {
      await new Promise<void>((resolve) => release.push(resolve));
      return page.apply(store.items, args);
    };
    await world.hub.rejoin(away);
    await world.quiet();
    // It gets the last item for coming, and not once more for having missed it.
    await late.come();
    await world.quiet();
    for (const go of release) go();
    store.items.page = page;
    await sensor.publish('last', 'b');
    expect(await got(late)).toEqual(['a', 'b']);
    expect(await got(old)).toEqual(['a', 'b']);
  });
});

describe('whoever is cut off, and whenever', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'every subscriber gets each item once, and those of one publisher in order (seed %i)',
    async (seed) => {
      const pick = random(seed);
      const world = new World({ workers: 3, pick, store: slowStore(pick) });
      const { hub, workers } = world;
      const sensors = await Promise.all([0, 1, 2].map((at) => world.login(`s${at}@localhost/s`, at)));
      const readers = await Promise.all([0, 1, 2].map((at) => world.login(`r${at}@localhost/r`, at)));
      const nodes = ['one', 'two'];
      for (const node of nodes) {
        await sensors[0]!.create(node, KEPT);
        for (const reader of readers) await reader.subscribe(node);
      }
      await world.quiet();
      const away = new Set<number>();
      const published: string[] = [];
      for (let step = 0; step < 150; step++) {
        const at = pick(3);
        if (pick(20) === 0) {
          const { bus } = workers[at]!;
          if (away.delete(at)) await hub.rejoin(bus);
          else if (away.size === 0) {
            away.add(at);
            hub.cutOff(bus);
          }
        }
        const node = nodes[pick(2)]!;
        const id = `${at} ${node} ${step}`;
        if (!sensors[at]!.hot(node, id)) await sensors[at]!.publish(node, id);
        published.push(id);
        for (let turns = pick(4); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
      }
      for (const at of away) await hub.rejoin(workers[at]!.bus);
      await world.quiet();
      await world.quiet();
      for (const reader of readers) {
        const ids = reader.take().flatMap(itemIds);
        expect(ids.toSorted(), reader.jid.full).toEqual(published.toSorted());
        // By publisher and node: whoever missed something of one node hears of others meanwhile.
        const last = new Map<string, number>();
        for (const id of ids) {
          const [, publication, step] = /^(.* .*) (.*)$/.exec(id)!;
          expect(Number(step), `${publication} at ${reader.jid.full}`).toBeGreaterThan(last.get(publication!) ?? -1);
          last.set(publication!, Number(step));
        }
      }
    },
  );
});
