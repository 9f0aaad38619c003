import { expect, test } from 'vitest';
import type { Given } from './conformance.js';
import { ids, item, node } from './records.js';

/** Everything but NUL may stand in a name. */
export const ODD_NAMES = [
  '',
  ' ',
  '/',
  'a/b/c',
  'urn:xmpp:microblog:0',
  'naïve — 日本語 😀',
  '\u0001\u001f',
  'ÿ'.repeat(511),
  'x'.repeat(1023),
  'x'.repeat(1799),
  'x'.repeat(1800),
  'x'.repeat(1801),
  `${'x'.repeat(3000)}1`,
  `${'x'.repeat(3000)}2`,
  '__proto__',
  'constructor',
];

export function nodesConform(given: Given): void {
  test('a node is read back as it was created', async () => {
    const { nodes } = given();
    const record = node('whole', {
      version: 3,
      affiliations: { 'romeo@montague.lit': 'owner', 'a@b': 'outcast', 'c@d': 'publish-only', 'e@f': 'member' },
    });
    expect(await nodes.get('whole')).toBeUndefined();
    expect(await nodes.create(record)).toBe(true);
    expect(await nodes.get('whole')).toEqual(record);
  });

  test('what a caller does to a record afterwards does not reach the store', async () => {
    const { nodes } = given();
    const record = node('copied');
    await nodes.create(record);
    record.config['title'] = 'changed';
    const got = await nodes.get('copied');
    got!.affiliations['x@y'] = 'owner';
    expect(await nodes.get('copied')).toEqual(node('copied'));
  });

  test('a node is not created twice, also when many ask at once', async () => {
    const { nodes } = given();
    const creators = ['a@x', 'b@x', 'c@x'];
    const answers = await Promise.all(creators.map((creator) => nodes.create(node('once', { creator }))));
    expect(answers.filter(Boolean)).toHaveLength(1);
    const winner = creators[answers.indexOf(true)] as string;
    expect((await nodes.get('once'))!.creator).toBe(winner);
    for (const creator of creators) expect(await nodes.countByCreator(creator)).toBe(creator === winner ? 1 : 0);
  });

  test('names may hold anything, and none is taken for another', async () => {
    const { nodes, items } = given();
    for (const name of ODD_NAMES) expect(await nodes.create(node(name, { creator: 'odd@x' }))).toBe(true);
    for (const [index, name] of ODD_NAMES.entries()) await items.publish(name, item(`i${index}`), 5);
    for (const [index, name] of ODD_NAMES.entries()) {
      expect((await nodes.get(name))!.name).toBe(name);
      expect(ids(await items.latest(name, 5))).toEqual([`i${index}`]);
    }
    const affiliated = await nodes.affiliationsOf('odd@x');
    expect(affiliated.map((entry) => entry.node).sort()).toEqual([...ODD_NAMES].sort());
    expect(await nodes.countByCreator('odd@x')).toBe(ODD_NAMES.length);
    for (const name of ODD_NAMES) expect(await nodes.remove(name)).toBe(true);
    expect(await nodes.countByCreator('odd@x')).toBe(0);
  });

  test('an update changes the node and counts its version', async () => {
    const { nodes } = given();
    await nodes.create(node('updated'));
    const updated = await nodes.update('updated', (record) => ({
      ...record,
      version: 99,
      name: 'another',
      config: { ...record.config, title: 'Humidity' },
    }));
    expect(updated).toMatchObject({ name: 'updated', version: 1, config: { title: 'Humidity', max_items: '10' } });
    expect(await nodes.get('updated')).toEqual(updated);
    expect(await nodes.get('another')).toBeUndefined();
  });

  test('an update that returns nothing leaves the node alone; there is none of a missing node', async () => {
    const { nodes } = given();
    await nodes.create(node('left'));
    expect(await nodes.update('left', () => undefined)).toEqual(node('left'));
    expect(await nodes.get('left')).toEqual(node('left'));
    let called = false;
    expect(await nodes.update('no such node', () => void (called = true) as undefined)).toBeUndefined();
    expect(called).toBe(false);
  });

  test('an update that throws rejects alone and changes nothing', async () => {
    const { nodes } = given();
    await nodes.create(node('thrown'));
    const failing = nodes.update('thrown', () => {
      throw new RangeError('no');
    });
    const other = nodes.update('thrown', (record) => ({ ...record, config: { title: 'kept' } }));
    await expect(failing).rejects.toThrow(RangeError);
    expect((await other)!.version).toBe(1);
    expect((await nodes.get('thrown'))!.config).toEqual({ title: 'kept' });
  });

  test('no update is lost among many at once', async () => {
    const { nodes } = given();
    await nodes.create(node('counted', { config: { n: '0' } }));
    const add = () =>
      nodes.update('counted', (record) => ({ ...record, config: { n: String(Number(record.config['n']) + 1) } }));
    await Promise.all(Array.from({ length: 50 }, add));
    expect(await nodes.get('counted')).toMatchObject({ version: 50, config: { n: '50' } });
  });

  test('affiliations of a bare JID follow every change', async () => {
    const { nodes } = given();
    const bare = 'benvolio@montague.lit';
    await nodes.create(node('aff1', { affiliations: { [bare]: 'member', 'x@y': 'owner' } }));
    await nodes.create(node('aff2', { affiliations: { [bare]: 'outcast', [`${bare}x`]: 'owner' } }));
    await nodes.create(node('aff3'));
    const sorted = async () => (await nodes.affiliationsOf(bare)).sort((a, b) => (a.node < b.node ? -1 : 1));
    expect(await sorted()).toEqual([
      { node: 'aff1', affiliation: 'member' },
      { node: 'aff2', affiliation: 'outcast' },
    ]);
    await nodes.update('aff1', (record) => ({ ...record, affiliations: { [bare]: 'publisher' } }));
    await nodes.update('aff2', (record) => ({ ...record, affiliations: { [bare]: 'none' } }));
    await nodes.update('aff3', (record) => ({ ...record, affiliations: { [bare]: 'owner' } }));
    expect(await sorted()).toEqual([
      { node: 'aff1', affiliation: 'publisher' },
      { node: 'aff3', affiliation: 'owner' },
    ]);
    expect((await nodes.get('aff2'))!.affiliations).toEqual({});
    await nodes.remove('aff3');
    expect(await sorted()).toEqual([{ node: 'aff1', affiliation: 'publisher' }]);
    expect(await nodes.affiliationsOf('x@y')).toEqual([]);
  });

  test('nodes are counted by their creator, exactly', async () => {
    const { nodes } = given();
    const creator = `${'c'.repeat(1000)}@${'d'.repeat(1000)}`;
    await Promise.all([1, 2, 3].map((n) => nodes.create(node(`by${n}`, { creator }))));
    await Promise.all([nodes.remove('by1'), nodes.remove('by1'), nodes.create(node('by4', { creator }))]);
    expect(await nodes.countByCreator(creator)).toBe(3);
    expect(await nodes.countByCreator(creator.slice(0, -1))).toBe(0);
  });

  test('nodes are listed in the order of their bytes and counted', async () => {
    const { nodes } = given();
    const names = ['list/b', 'list/a', 'list/', 'list', 'list/ü', 'list/\u{10000}', 'list/\uffee', 'list/ab'];
    const before = await nodes.count();
    for (const name of names) await nodes.create(node(name));
    expect(await nodes.count()).toBe(before + names.length);
    const listed: string[] = [];
    for (let page = await nodes.list('lis', 3); page.length > 0;) {
      listed.push(...page);
      page = await nodes.list(page.at(-1), 3);
    }
    expect(listed.filter((name) => name.startsWith('list'))).toEqual([
      'list',
      'list/',
      'list/a',
      'list/ab',
      'list/b',
      'list/ü',
      'list/\uffee',
      'list/\u{10000}',
    ]);
    expect(await nodes.list('lis', 0)).toEqual([]);
  });

  test('a node made again under the name of a removed one has nothing of it', async () => {
    const { nodes, items } = given();
    for (let round = 1; round <= 3; round++) {
      expect(await nodes.create(node('again', { created: round }))).toBe(true);
      expect(await items.latest('again', 10)).toEqual([]);
      expect(await nodes.subscriptionsOfNode('again')).toEqual([]);
      expect(await items.publish('again', item(`only ${round}`), 10)).toBe(true);
      await nodes.addSubscription({
        node: 'again',
        jid: `r${round}@x`,
        bare: `r${round}@x`,
        subid: '',
        state: 'pending',
        created: 1,
      });
      expect(ids(await items.latest('again', 10))).toEqual([`only ${round}`]);
      expect(await items.get('again', ['only 1', 'only 2', 'only 3'])).toHaveLength(1);
      expect(await nodes.remove('again')).toBe(true);
      expect(await nodes.subscriptionsOf(`r${round}@x`)).toEqual([]);
    }
    expect(await nodes.remove('again')).toBe(false);
  });

  test('removal, creation and publishes at once keep the order of the calls', async () => {
    const { nodes, items } = given();
    await nodes.create(node('ordered'));
    const answers = await Promise.all([
      items.publish('ordered', item('old'), 10),
      nodes.remove('ordered'),
      items.publish('ordered', item('lost'), 10),
      nodes.create(node('ordered')),
      items.publish('ordered', item('new'), 10),
      items.latest('ordered', 10),
    ]);
    expect(answers.slice(0, 5)).toEqual([true, true, false, true, true]);
    expect(ids(await items.latest('ordered', 10))).toEqual(['new']);
  });
}
