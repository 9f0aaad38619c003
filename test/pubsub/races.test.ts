import { describe, expect, it } from 'vitest';
import { Policies } from '../../src/pubsub/node.js';
import { Nodes } from '../../src/pubsub/nodes.js';
import type { NodeRecord } from '../../src/store/store.js';
import { memoryStore } from './support/store.js';
import type { StanzaError } from '../../src/stream/stanza-error.js';
import { NS, World, form, itemIds } from './support/world.js';

/** Answers of `method` are taken at once, but handed out when the test opens the gate. */
function gate<Key extends string>(
  target: Record<Key, (...args: never[]) => Promise<unknown>>,
  method: Key,
): () => void {
  const original = target[method];
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  target[method] = async (...args: never[]) => {
    const answer = await original.apply(target, args);
    await opened;
    return answer;
  };
  return () => {
    target[method] = original;
    open();
  };
}

describe('what changes while something is being read', () => {
  it('a subscription begins, and another ends, while those of a session are read', async () => {
    const store = memoryStore();
    const world = new World({ store, workers: 2 });
    const owner = await world.login('owner@localhost/r');
    const first = await world.login('reader@localhost/first');
    for (const node of ['begins', 'ends']) await owner.create(node, { send_last_published_item: 'never' });
    await first.subscribe('ends');
    const open = gate(store.nodes as never, 'subscriptionsOf');
    const late = world.bind('reader@localhost/late', 1);
    const coming = late.come();
    await first.subscribe('begins');
    await first.set(`<unsubscribe node='ends' jid='reader@localhost'/>`);
    open();
    await coming;
    // The other worker has to hear of it; presence has no answer that could wait for that.
    await world.quiet();
    late.take();
    for (const node of ['begins', 'ends']) await owner.publish(node, node);
    await world.quiet();
    expect(late.take().flatMap(itemIds)).toEqual(['begins']);
  });

  it('a session leaves, or ends, while its subscriptions are read', async () => {
    const store = memoryStore();
    const world = new World({ store });
    const owner = await world.login('owner@localhost/r');
    await owner.create('n', { send_last_published_item: 'never' });
    await (await world.login('reader@localhost/first')).subscribe('n');
    const open = gate(store.nodes as never, 'subscriptionsOf');
    const leaves = world.bind('reader@localhost/leaves');
    const ends = world.bind('reader@localhost/ends');
    const coming = Promise.all([leaves.come(), ends.come()]);
    leaves.leave();
    ends.close();
    open();
    await coming;
    await owner.publish('n', '1');
    expect([...leaves.take(), ...ends.take()]).toEqual([]);
  });

  it('an owner bans somebody who is just subscribing (XEP-0060 §8.9.2.1, §4.1)', async () => {
    const store = memoryStore();
    const world = new World({ store, workers: 2 });
    const owner = await world.login('owner@localhost/r');
    const banned = await world.login('banned@localhost/r', 1);
    await owner.create('n', { send_last_published_item: 'never' });
    // What the store knew of the subscriber was read before the ban, and the subscription is written after it.
    const open = gate(store.nodes as never, 'subscription');
    const subscribing = banned.iq('set', `<pubsub xmlns='${NS}'><subscribe node='n' jid='banned@localhost'/></pubsub>`);
    await world.workers[1]!.bus.barrier();
    await owner.own(
      'set',
      `<affiliations node='n'><affiliation jid='banned@localhost' affiliation='outcast'/></affiliations>`,
    );
    open();
    const answer = (await subscribing) as StanzaError;
    expect(answer.condition).toBe('forbidden');
    await owner.publish('n', '1');
    await world.quiet();
    expect(banned.take().flatMap(itemIds)).toEqual([]);
    expect(await store.nodes.subscriptionsOf('banned@localhost')).toEqual([]);
  });

  it.each(['subscribes', 'comes online'])(
    'somebody %s when an item is kept and not notified yet: it comes once',
    async (how) => {
      const store = memoryStore();
      const world = new World({ store, workers: 2 });
      const owner = await world.login('owner@localhost/r');
      await owner.create('n', { send_last_published_item: 'on_sub_and_presence' });
      const before = await world.login('juliet@localhost/b', 1);
      if (how === 'comes online') await before.subscribe('n');
      const open = gate(store.items as never, 'publish');
      const publishing = owner.publish('n', '1');
      await expect.poll(() => store.items.count('n')).toBe(1);
      const reader = how === 'comes online' ? await world.login('juliet@localhost/c', 1) : before;
      if (how === 'subscribes') await reader.subscribe('n');
      for (let i = 0; i < 5; i++) await world.workers[1]!.bus.barrier();
      open();
      await publishing;
      await world.quiet();
      expect(reader.take().flatMap(itemIds)).toEqual(['1']);
    },
  );

  it('a subscriber leaves while its options are changed by another of its resources (XEP-0060 §6.3.5)', async () => {
    const store = memoryStore();
    const world = new World({ store, workers: 2 });
    const owner = await world.login('owner@localhost/r');
    const [one, other] = [await world.login('juliet@localhost/a'), await world.login('juliet@localhost/b', 1)];
    await owner.create('n', { send_last_published_item: 'never' });
    await one.subscribe('n');
    const open = gate(store.nodes as never, 'subscription');
    const form = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>${NS}#subscribe_options</value></field><field var='pubsub#deliver'><value>1</value></field></x>`;
    const configuring = other.iq(
      'set',
      `<pubsub xmlns='${NS}'><options node='n' jid='juliet@localhost'>${form}</options></pubsub>`,
    );
    await world.workers[1]!.bus.barrier();
    await store.nodes.removeSubscription('n', 'juliet@localhost');
    open();
    expect(((await configuring) as StanzaError).condition).toBe('unexpected-request');
    expect(await store.nodes.subscriptionsOf('juliet@localhost')).toEqual([]);
  });

  it('sessions of an account subscribe in the same moment, and an owner for them: all know of the one that there is (XEP-0060 §6.1.2)', async () => {
    const store = memoryStore();
    const world = new World({ store, workers: 2 });
    const owner = await world.login('owner@localhost/r');
    const sessions = [await world.login('juliet@localhost/a'), await world.login('juliet@localhost/b', 1)];
    await owner.create('n', { send_last_published_item: 'never' });
    const open = gate(store.nodes as never, 'subscription');
    const subscribing = sessions.map((session) => session.subscribe('n'));
    const entry = `<subscription jid='juliet@localhost' subscription='subscribed'/>`;
    const granting = owner.own('set', `<subscriptions node='n'>${entry}</subscriptions>`);
    for (const { bus } of world.workers) await bus.barrier();
    open();
    const told = (await Promise.all(subscribing)).map((answer) => answer!.child('subscription')!.attr('subid'));
    await granting;
    const there = await store.nodes.subscriptionsOf('juliet@localhost');
    expect(there).toHaveLength(1);
    expect(told).toEqual([there[0]!.subid, there[0]!.subid]);
  });

  it('an owner configures the node while somebody subscribes: the last item comes all the same (XEP-0060 §12.10)', async () => {
    for (let ticks = 0; ticks < 40; ticks++) {
      const world = new World({ workers: 2 });
      const owner = await world.login('owner@localhost/r', 1);
      const reader = await world.login('reader@localhost/r');
      await owner.create('n');
      await owner.publish('n', '1');
      const subscribing = reader.subscribe('n');
      for (let tick = 0; tick < ticks; tick++) {
        await (ticks % 2 === 0 ? undefined : new Promise((resolve) => setImmediate(resolve)));
      }
      const title = form('node_config', { title: 'new' });
      const configuring = owner.own('set', `<configure node='n'>${title}</configure>`);
      await Promise.all([subscribing, configuring]);
      await world.quiet();
      expect(reader.take().flatMap(itemIds), `after ${ticks} ticks`).toEqual(['1']);
    }
  });

  it('an owner closes a node, and another lets one of its subscribers stay meanwhile (XEP-0060 §14.3)', async () => {
    const store = memoryStore();
    const world = new World({ store });
    const owner = await world.login('owner@localhost/r');
    const bob = await world.login('bob@localhost/r');
    await owner.create('n', { send_last_published_item: 'never' });
    await (await world.login('alice@localhost/r')).subscribe('n');
    await bob.subscribe('n');
    // The first of them is being dismissed.
    const open = gate(store.nodes as never, 'removeSubscription');
    const whitelist = form('node_config', { access_model: 'whitelist' });
    const closing = owner.own('set', `<configure node='n'>${whitelist}</configure>`);
    await expect.poll(() => store.nodes.subscriptionsOf('alice@localhost')).toEqual([]);
    const second = await world.login('owner@localhost/second');
    const member = `<affiliation jid='bob@localhost' affiliation='member'/>`;
    await second.own('set', `<affiliations node='n'>${member}</affiliations>`);
    open();
    await closing;
    expect(await store.nodes.subscriptionsOf('bob@localhost')).toHaveLength(1);
  });

  it('a node is deleted while another worker publishes or retracts there: nothing of it stays in memory', async () => {
    for (const [method, request] of [
      ['publish', `<publish node='n'><item id='2'><v xmlns='urn:x'/></item></publish>`],
      ['retract', `<retract node='n'><item id='1'/></retract>`],
    ] as const) {
      const store = memoryStore();
      const world = new World({ store, workers: 2 });
      const owner = await world.login('owner@localhost/r', 1);
      await owner.create('n');
      await owner.publish('n', '1');
      const open = gate(store.items as never, method);
      const asking = owner.iq('set', `<pubsub xmlns='${NS}'>${request}</pubsub>`);
      await new Promise((resolve) => setImmediate(resolve));
      const second = await world.login('owner@localhost/second');
      await second.own('set', `<delete node='n'/>`);
      open();
      await asking;
      await world.quiet();
      expect(world.workers.map(({ pubsub }) => pubsub['engine'].nodes.size)).toEqual([0, 0]);
    }
  });

  it("a node's facts are dropped in the moment in which they were read", async () => {
    for (let ticks = 0; ticks < 12; ticks++) {
      const store = memoryStore();
      const world = new World({ store });
      const owner = await world.login('owner@localhost/r');
      await owner.create('n', { title: 'old' });
      const open = gate(store.nodes as never, 'get');
      const asking = owner.get(`<items node='n'/>`);
      open();
      for (let tick = 0; tick < ticks; tick++) await undefined;
      const title = form('node_config', { title: 'new' });
      const configuring = owner.own('set', `<configure node='n'>${title}</configure>`);
      await Promise.all([asking, configuring]);
    }
  });

  it("a node's facts change while they are read", async () => {
    const record = (title: string): NodeRecord => ({
      name: 'n',
      creator: 'o@localhost',
      created: 0,
      version: 1,
      config: { title },
      affiliations: { 'o@localhost': 'owner' },
    });
    const reads: ((record: NodeRecord | undefined) => void)[] = [];
    const store = { get: () => new Promise<NodeRecord | undefined>((resolve) => reads.push(resolve)) };
    const nodes = new Nodes(store as never, new Policies({ itemsPerNode: 1, payloadBytes: 1 }));
    const loading = nodes.load('n');
    expect(nodes.load('n')).toBe(loading);
    nodes.invalidate('n');
    reads[0]!(record('old'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(nodes.peek('n')?.facts).toBeUndefined();
    reads[1]!(record('new'));
    expect((await loading)!.facts!.policy.config.title).toBe('new');
    expect(nodes.load('n')).toBe(nodes.peek('n'));
    nodes.invalidate('n');
    expect(nodes.size).toBe(0);
    const gone = nodes.load('n');
    reads[2]!(undefined);
    expect(await gone).toBeUndefined();
    expect(nodes.size).toBe(0);
  });
});
