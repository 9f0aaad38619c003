import { describe, expect, it } from 'vitest';
import { parseJid } from '../../src/jid/jid.js';
import { type Endpoint, Interest, Reader } from '../../src/pubsub/interest.js';
import { Policies } from '../../src/pubsub/node.js';
import { Nodes } from '../../src/pubsub/nodes.js';
import { memoryStore, slowStore } from './support/store.js';
import { random } from './support/random.js';
import { type Client, NS, World, form, itemIds } from './support/world.js';

describe('interest lists', () => {
  it('are what a naive model says, through random changes', () => {
    const pick = random(42);
    const nodes = new Nodes(memoryStore().nodes, new Policies({ itemsPerNode: 10, payloadBytes: 10 }));
    const announced = new Set<string>();
    const interest = new Interest(nodes, (gained, lost) => {
      for (const name of lost) expect(announced.delete(name)).toBe(true);
      for (const name of gained) {
        expect(announced.has(name)).toBe(false);
        announced.add(name);
      }
    });
    const names = Array.from({ length: 12 }, (_, i) => `n${i}`);
    let count = 0;
    const open = (): Reader => {
      const session = { jid: parseJid(`u@localhost/${count++}`)! } as Endpoint;
      return new Reader(session, 'pubsub.localhost');
    };
    const readers = Array.from({ length: 20 }, open);
    const model = new Map<Reader, Map<string, { bare: boolean; full: boolean }>>();
    const remote = new Map<string, Set<number>>();
    for (let step = 0; step < 6000; step++) {
      const at = pick(readers.length);
      const reader = readers[at]!;
      const name = names[pick(names.length)]!;
      const mine = model.get(reader) ?? new Map<string, { bare: boolean; full: boolean }>();
      model.set(reader, mine);
      const entry = mine.get(name) ?? { bare: false, full: false };
      const action = pick(20);
      if (action < 12) {
        const form = pick(2) === 0 ? 'bare' : 'full';
        const on = pick(2) === 0;
        interest.set(reader, name, form, on);
        entry[form] = on && (form === 'full' || reader.reachable);
        mine.set(name, entry);
      } else if (action < 15) {
        const reachable = pick(2) === 0;
        interest.reach(reader, reachable);
        if (!reachable) for (const other of mine.values()) other.bare = false;
      } else if (action === 15) {
        interest.close(reader);
        model.delete(reader);
        readers[at] = open();
      } else if (action < 18) {
        const worker = 2 + pick(3);
        interest.gain(worker, name);
        remote.set(name, (remote.get(name) ?? new Set()).add(worker));
      } else if (action === 18) {
        const worker = 2 + pick(3);
        interest.lose(worker, name);
        remote.get(name)?.delete(worker);
      } else {
        interest.workerGone(2);
        for (const workers of remote.values()) workers.delete(2);
      }
      if (pick(4) > 0) continue;
      interest.flush();
      for (const known of names) {
        const state = nodes.peek(known);
        const expected = [...model].filter(([, list]) => list.get(known)?.bare || list.get(known)?.full);
        const listed = state?.recipients ?? [];
        expect(new Set(listed.map((recipient) => recipient.reader))).toEqual(new Set(expected.map(([r]) => r)));
        expect(listed.length).toBe(expected.length);
        listed.forEach((recipient, index) => {
          expect(recipient.index).toBe(index);
          const { full } = model.get(recipient.reader)!.get(known)!;
          const { jid } = recipient.session;
          expect(recipient.head.toString()).toContain(` to='${full ? jid.full : jid.bare}'`);
        });
        expect(announced.has(known)).toBe(listed.length > 0);
        const elsewhere = [...(remote.get(known) ?? [])].sort();
        expect(nodes.elsewhere.of(known).workers).toEqual(elsewhere);
        if (expected.length === 0) expect(state).toBeUndefined();
        else expect(state!.workers).toEqual(elsewhere);
      }
      expect(interest.local().sort()).toEqual([...announced].sort());
    }
  });
});

describe('subscriptions over a pool', () => {
  it('reach exactly those that the store and their presence say, after random stories', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const pick = random(seed);
      const store = slowStore(random(seed + 200));
      const world = new World({ workers: 1 + pick(3), pick: random(seed + 100), store });
      const owner = await world.login('owner@localhost/r');
      const nodes = ['a', 'b', 'c'];
      for (const node of nodes) {
        await owner.create(node, { persist_items: '0', send_last_published_item: 'never' });
        await owner.publish(node, 'warm');
      }
      const users = ['u@localhost', 'v@localhost'];
      const clients: Client[] = [];
      const running: Promise<unknown>[] = [];
      let resources = 0;
      for (let step = 0; step < 120; step++) {
        const action = pick(11);
        const client = clients[pick(Math.max(1, clients.length))];
        if (action < 2 || client === undefined) {
          const jid = `${users[pick(2)]}/${resources++}`;
          const fresh = world.bind(jid, pick(world.workers.length));
          clients.push(fresh);
          running.push(fresh.come(pick(4) === 0 ? -1 : 1));
        } else if (action < 7) {
          const node = nodes[pick(3)]!;
          const jid = pick(3) === 0 ? client.jid.full : client.jid.bare;
          const name = pick(5) < 3 ? 'subscribe' : 'unsubscribe';
          running.push(
            client.iq(
              'set',
              `<pubsub xmlns='http://jabber.org/protocol/pubsub'><${name} node='${node}' jid='${jid}'/></pubsub>`,
            ),
          );
        } else if (action === 10) {
          const node = nodes[pick(3)]!;
          const config = { persist_items: '0', send_last_published_item: 'never' };
          const again = async (): Promise<void> => {
            await owner.iq('set', `<pubsub xmlns='${NS}#owner'><delete node='${node}'/></pubsub>`);
            await owner.iq(
              'set',
              `<pubsub xmlns='${NS}'><create node='${node}'/><configure>${form('node_config', config)}</configure></pubsub>`,
            );
          };
          if (pick(3) === 0) running.push(again());
        } else if (action === 7) {
          client.leave();
        } else if (action === 8) {
          running.push(client.come(pick(3) === 0 ? -1 : 2));
        } else if (clients.length > 3) {
          clients.splice(clients.indexOf(client), 1);
          client.close();
        }
        // Now and then the dust settles; otherwise requests and loads cross each other.
        if (pick(6) === 0) await Promise.all(running.splice(0));
      }
      await Promise.all(running);
      await world.quiet();
      clients.forEach((client) => client.take());
      for (const node of nodes) {
        const at = pick(2) === 0 ? owner : (clients.find((client) => client.worker !== owner.worker) ?? owner);
        const publisher = world.bind('owner@localhost/p', world.workers.indexOf(at.worker));
        await publisher.publish(node, node);
        await world.quiet();
        publisher.close();
        const subscribed = new Set((await world.store.nodes.subscriptionsOfNode(node)).map(({ jid }) => jid));
        for (const client of clients) {
          const reachable = client.available && client.priority >= 0;
          const due = subscribed.has(client.jid.full) || (subscribed.has(client.jid.bare) && reachable);
          expect([seed, client.jid.full, ...client.take().flatMap(itemIds)]).toEqual(
            due ? [seed, client.jid.full, node] : [seed, client.jid.full],
          );
        }
      }
    }
  });
});
