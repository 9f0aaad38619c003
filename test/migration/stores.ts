import type { Store } from '../../src/store/store.js';
import { account, item, node, subscription } from '../store/records.js';

/** Of everything that a store keeps, and of what is easily lost on the way. */
export async function fill(store: Store, size = { accounts: 1200, nodes: 70, items: 700 }): Promise<void> {
  await Promise.all(
    Array.from({ length: size.accounts }, (_, i) => store.accounts.create(`user-${i}`, account(i % 250))),
  );
  await store.accounts.create('ünïcode', account(3));
  for (let i = 0; i < size.nodes; i++) {
    const name = `sensors/${i}`;
    const jid = (n: number) => `user-${n}@montague.lit`;
    await store.nodes.create(
      node(name, {
        creator: jid(i),
        version: i,
        affiliations: { [jid(i)]: 'owner', [jid(i + 1)]: 'publisher', ['constructor@x.lit']: 'outcast' },
        config: { title: `Node ${i} “ü”`, children: [], max_items: 'max' },
      }),
    );
    await Promise.all([
      store.nodes.addSubscription(subscription(name, jid(i), { options: { deliver: '1', show: ['a', 'b'] } })),
      store.nodes.addSubscription(subscription(name, `${jid(i)}/balcony`, { state: 'pending', subid: 's2' })),
      ...Array.from({ length: i % 50 }, (_, n) => store.items.publish(name, item(`i${n}`, { published: n }), 1000)),
    ]);
  }
  await store.nodes.create(node('big'));
  await Promise.all(
    Array.from({ length: size.items }, (_, n) =>
      store.items.publish('big', item(`big-${n}`, { payload: Buffer.alloc(n % 3000, n) }), 1e6),
    ),
  );
  // Their order is not that of their ids, nor of their dates.
  await store.items.publish('big', item('big-0', { published: 1, payload: Buffer.from([0xff, 0xfe, 0]) }), 1e6);
  await store.nodes.create(node('a name with spaces, ümläuts and a very long end '.padEnd(1500, '/x')));
}
