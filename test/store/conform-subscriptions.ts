import { expect, test } from 'vitest';
import type { Given } from './conformance.js';
import { node, subscription } from './records.js';

const jids = (records: readonly { jid: string }[]): string[] => records.map(({ jid }) => jid).sort();

export function subscriptionsConform(given: Given): void {
  test('a subscription is read back, replaced and removed', async () => {
    const { nodes } = given();
    await nodes.create(node('sub'));
    const first = subscription('sub', 'juliet@capulet.lit/balcony', { options: { deliver: '1', show: ['a', 'b'] } });
    expect(await nodes.subscription('sub', first.jid)).toBeUndefined();
    expect(await nodes.addSubscription(first)).toEqual(first);
    expect(await nodes.subscription('sub', first.jid)).toEqual(first);
    const second = subscription('sub', first.jid, { state: 'pending' });
    expect(await nodes.replaceSubscription(second)).toBe(true);
    expect(await nodes.subscription('sub', first.jid)).toEqual(second);
    expect(await nodes.subscriptionsOfNode('sub')).toEqual([second]);
    expect(await nodes.removeSubscription('sub', first.jid)).toBe(true);
    expect(await nodes.removeSubscription('sub', first.jid)).toBe(false);
    expect(await nodes.subscriptionsOfNode('sub')).toEqual([]);
    expect(await nodes.subscriptionsOf('juliet@capulet.lit')).toEqual([]);
  });

  test('all subscriptions of a node are read and counted, however many they are', async () => {
    const { nodes } = given();
    await nodes.create(node('many subs'));
    await nodes.create(node('other subs'));
    expect(await nodes.countSubscriptions('many subs')).toBe(0);
    expect(await nodes.countSubscriptions('no such node')).toBe(0);
    // Some JIDs are longer than what is kept of them in keys.
    const all = Array.from(
      { length: 2500 },
      (_, n) => `${n}@capulet.lit${n % 100 === 0 ? `/${'r'.repeat(1000)}` : ''}`,
    );
    await Promise.all(all.map((jid) => nodes.addSubscription(subscription('many subs', jid))));
    await nodes.addSubscription(subscription('other subs', 'a@capulet.lit', { state: 'pending' }));
    expect(jids(await nodes.subscriptionsOfNode('many subs'))).toEqual(all.sort());
    expect(await nodes.countSubscriptions('many subs')).toBe(2500);
    expect(await nodes.countSubscriptions('other subs')).toBe(1);
    await Promise.all([nodes.remove('many subs'), nodes.remove('other subs')]);
    expect(await nodes.countSubscriptions('many subs')).toBe(0);
  });

  test('a subscription is replaced only while it is there, and no other in its place', async () => {
    const { nodes } = given();
    await nodes.create(node('sub'));
    const first = subscription('sub', 'juliet@capulet.lit/balcony', { state: 'pending', subid: 's1' });
    expect(await nodes.replaceSubscription(first)).toBe(false);
    expect(await nodes.subscriptionsOf('juliet@capulet.lit')).toEqual([]);
    await nodes.addSubscription(first);
    const approved = { ...first, state: 'subscribed' as const };
    expect(await nodes.replaceSubscription(approved)).toBe(true);
    expect(await nodes.subscription('sub', first.jid)).toEqual(approved);
    // One that begins alike.
    const other = subscription('sub', first.jid, { subid: 's12' });
    await nodes.removeSubscription('sub', first.jid);
    await nodes.addSubscription(other);
    expect(await nodes.replaceSubscription(approved)).toBe(false);
    expect(await nodes.subscriptionsOf('juliet@capulet.lit')).toEqual([other]);
    const [gone, replaced] = await Promise.all([
      nodes.removeSubscription('sub', first.jid),
      nodes.replaceSubscription({ ...other, state: 'pending' }),
    ]);
    expect(gone).toBe(true);
    expect(replaced).toBe(false);
    expect(await nodes.subscriptionsOf('juliet@capulet.lit')).toEqual([]);
    await nodes.remove('sub');
    expect(await nodes.replaceSubscription(other)).toBe(false);
  });

  test('of those that are added for one JID at once one is there, and all are told which', async () => {
    const { nodes } = given();
    await nodes.create(node('quick'));
    const jid = 'quick@capulet.lit';
    const all = Array.from({ length: 5 }, (_, n) => subscription('quick', jid, { subid: `s${n}` }));
    const told = await Promise.all(all.map((record) => nodes.addSubscription(record)));
    const kept = await nodes.subscription('quick', jid);
    expect(all).toContainEqual(kept);
    expect(told).toEqual(all.map(() => kept));
    expect(await nodes.subscriptionsOf(jid)).toEqual([kept]);
    const changed = { ...kept!, options: { deliver: '0' } };
    await nodes.replaceSubscription(changed);
    expect(await nodes.addSubscription(all[0]!)).toEqual(changed);
    expect(await nodes.subscriptionsOfNode('quick')).toEqual([changed]);
  });

  test('nobody subscribes to a node that is not there', async () => {
    const { nodes } = given();
    expect(await nodes.addSubscription(subscription('nowhere', 'juliet@capulet.lit'))).toBeUndefined();
    expect(await nodes.removeSubscription('nowhere', 'juliet@capulet.lit')).toBe(false);
    expect(await nodes.subscription('nowhere', 'juliet@capulet.lit')).toBeUndefined();
    expect(await nodes.subscriptionsOfNode('nowhere')).toEqual([]);
    expect(await nodes.subscriptionsOf('juliet@capulet.lit')).toEqual([]);
  });

  test('subscriptions of a bare JID are those of all its full JIDs over all nodes, and of nobody else', async () => {
    const { nodes } = given();
    const bare = 'nurse@capulet.lit';
    for (const name of ['n1', 'n2', 'n3']) await nodes.create(node(name));
    await Promise.all([
      nodes.addSubscription(subscription('n1', bare)),
      nodes.addSubscription(subscription('n1', `${bare}/a`)),
      nodes.addSubscription(subscription('n2', `${bare}/日本`)),
      nodes.addSubscription(subscription('n2', `${bare}x`)),
      nodes.addSubscription(subscription('n3', `x${bare}`)),
    ]);
    const of = async () => (await nodes.subscriptionsOf(bare)).map((found) => `${found.node} ${found.jid}`).sort();
    expect(await of()).toEqual([`n1 ${bare}`, `n1 ${bare}/a`, `n2 ${bare}/日本`]);
    await nodes.removeSubscription('n1', bare);
    expect(await of()).toEqual([`n1 ${bare}/a`, `n2 ${bare}/日本`]);
    await nodes.remove('n1');
    expect(await of()).toEqual([`n2 ${bare}/日本`]);
    expect(jids(await nodes.subscriptionsOfNode('n2'))).toEqual([`${bare}x`, `${bare}/日本`].sort());
  });

  test('subscriptions of a bare JID are counted', async () => {
    const { nodes } = given();
    for (const name of ['counted-1', 'counted-2']) await nodes.create(node(name));
    const count = () => nodes.countSubscriptionsOf('counter@capulet.lit');
    expect(await count()).toBe(0);
    for (const jid of [
      'counter@capulet.lit',
      'counter@capulet.lit/a',
      'counter@capulet.lit.example',
      'counter@capulet.li',
    ])
      for (const name of ['counted-1', 'counted-2']) await nodes.addSubscription(subscription(name, jid));
    await nodes.addSubscription(subscription('counted-1', 'counter@capulet.lit'));
    expect(await count()).toBe(4);
    await nodes.removeSubscription('counted-1', 'counter@capulet.lit/a');
    expect(await count()).toBe(3);
    for (const name of ['counted-1', 'counted-2']) await nodes.remove(name);
  });

  test('subscriptions made before a node was deleted do not come back with its name', async () => {
    const { nodes } = given();
    await nodes.create(node('reborn'));
    const many = Array.from({ length: 600 }, (_, n) => subscription('reborn', `s${n}@x/r`));
    await Promise.all([...many, subscription('reborn', 'keeper@x')].map((record) => nodes.addSubscription(record)));
    expect(await nodes.subscriptionsOfNode('reborn')).toHaveLength(601);
    const [removed, created, added] = await Promise.all([
      nodes.remove('reborn'),
      nodes.create(node('reborn')),
      nodes.addSubscription(subscription('reborn', 's7@x/r', { subid: 'new' })),
    ]);
    expect([removed, created, added?.subid]).toEqual([true, true, 'new']);
    expect(await nodes.subscriptionsOfNode('reborn')).toMatchObject([{ jid: 's7@x/r', subid: 'new' }]);
    expect(await nodes.subscriptionsOf('s7@x')).toMatchObject([{ subid: 'new' }]);
    expect(await nodes.subscriptionsOf('s8@x')).toEqual([]);
    expect(await nodes.subscriptionsOf('keeper@x')).toEqual([]);
  });

  test('long addresses are told apart', async () => {
    const { nodes } = given();
    await nodes.create(node('long'));
    const local = 'l'.repeat(1023);
    const domain = 'd'.repeat(1023);
    const bare = `${local}@${domain}`;
    const full = [`${bare}/${'r'.repeat(1022)}1`, `${bare}/${'r'.repeat(1022)}2`, bare];
    for (const jid of full) {
      const record = subscription('long', jid, { subid: jid });
      expect(await nodes.addSubscription(record)).toEqual(record);
    }
    for (const jid of full) expect((await nodes.subscription('long', jid))!.subid).toBe(jid);
    expect(jids(await nodes.subscriptionsOf(bare))).toEqual([...full].sort());
    expect(await nodes.subscriptionsOf(`${local}@${domain.slice(1)}e`)).toEqual([]);
  });
}
