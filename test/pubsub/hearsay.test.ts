import { describe, expect, it } from 'vitest';
import { CHANNEL } from '../../src/cluster/bus.js';
import { CHANGE, nameBytes } from '../../src/pubsub/frames.js';
import { MemoryStore } from '../../src/store/memory.js';
import { type NodeStore, type Store, StoreError } from '../../src/store/store.js';
import { World, itemIds } from './support/world.js';

/** A store that takes its time, and can be away: then it tells nothing of nodes. */
function failing(): { store: Store; outage: { now: boolean } } {
  const memory = new MemoryStore();
  const outage = { now: false };
  const nodes = new Proxy<NodeStore>(memory.nodes, {
    get: (target, name) => {
      const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
      return async (...args: unknown[]) => {
        if (outage.now) throw new StoreError('unavailable', 'It is away.');
        const answer = await method.apply(target, args);
        await new Promise((resolve) => setImmediate(resolve));
        return answer;
      };
    },
  });
  return { store: Object.assign(Object.create(memory) as Store, { nodes, items: memory.items }), outage };
}

async function begin(options: { workers: number }) {
  const { store, outage } = failing();
  const world = new World({ ...options, store });
  const owner = await world.login('owner@localhost/r', 1);
  /** A node that the worker of `owner` knows, and no other does. */
  const create = async (node: string, config: Record<string, string>): Promise<void> => {
    await owner.create(node, { send_last_published_item: 'never', ...config });
    await owner.publish(node, 'first');
  };
  const sensor = await world.login('sensor@localhost/s', 0);
  return { world, outage, owner, sensor, create };
}

const LOOSE = { persist_items: '0', publish_model: 'open' };

function banning(jid: string): string {
  return `<affiliations node='n'><affiliation jid='${jid}' affiliation='outcast'/></affiliations>`;
}

/** Changes the node so that nobody is told. */
async function ban(world: World, jid: string): Promise<void> {
  await world.store.nodes.update('n', (node) => ({
    ...node,
    affiliations: { ...node.affiliations, [jid]: 'outcast' },
  }));
}

describe('a node that the store cannot tell of', () => {
  it('is published to as another worker knows it, and its subscribers hear of it', async () => {
    const { world, outage, owner, sensor, create } = await begin({ workers: 2 });
    await create('n', LOOSE);
    await owner.subscribe('n');
    await owner.own('set', banning('banned@localhost'));
    await owner.publish('n', 'second');
    await world.quiet();
    owner.take();
    const banned = await world.login('banned@localhost/r', 0);
    outage.now = true;
    expect(await banned.refused('n')).toBe('forbidden');
    await sensor.publish('n', 'a');
    expect(sensor.hot('n', 'b')).toBe(true);
    expect(await banned.refused('n')).toBe('forbidden');
    await world.quiet();
    expect(owner.take().flatMap(itemIds)).toEqual(['a', 'b']);
  });

  it('is not published to when nobody knows it, when it keeps items, or when a subscription decides', async () => {
    const { outage, owner, sensor, create } = await begin({ workers: 2 });
    await create('kept', { publish_model: 'open' });
    await create('readers', { persist_items: '0', publish_model: 'subscribers' });
    await sensor.subscribe('readers');
    await owner.publish('readers', 'second');
    sensor.worker.pubsub.recheck();
    await new Promise((resolve) => setImmediate(resolve));
    outage.now = true;
    for (const node of ['none', 'kept', 'readers']) {
      expect([node, await sensor.refused(node)]).toEqual([node, 'internal-server-error']);
    }
  });

  it('is known as it was last, where other workers know different states of it', async () => {
    const { world, outage, sensor, create } = await begin({ workers: 3 });
    await create('n', LOOSE);
    await ban(world, 'sensor@localhost');
    const third = await world.login('third@localhost/r', 2);
    await third.publish('n', 'second');
    outage.now = true;
    expect(await sensor.refused('n')).toBe('forbidden');
  });

  it.each(['told', 'untold'] as const)('is read there when it can be: %s that it can', async (how) => {
    const { world, outage, sensor, create } = await begin({ workers: 2 });
    await create('n', LOOSE);
    outage.now = true;
    await sensor.publish('n', 'a');
    outage.now = false;
    await ban(world, 'sensor@localhost');
    if (how === 'told') sensor.worker.pubsub.recheck();
    while (sensor.hot('n', 'b')) await new Promise((resolve) => setImmediate(resolve));
    expect(await sensor.refused('n')).toBe('forbidden');
  });

  it('is not published to by what changed while it was told', async () => {
    const { world, outage, sensor, create } = await begin({ workers: 2 });
    await create('n', LOOSE);
    outage.now = true;
    const refused = sensor.refused('n');
    await new Promise((resolve) => setImmediate(resolve));
    outage.now = false;
    await ban(world, 'sensor@localhost');
    // This worker hears of it before the other one, which tells what it has known so far.
    const { bus } = sensor.worker;
    await bus.listeners.get(CHANNEL.node)!(99, Buffer.concat([Buffer.from([CHANGE.node]), nameBytes('n')]));
    expect(await refused).toBe('forbidden');
  });
});
