import { describe, expect, it } from 'vitest';
import type { Element } from '../../src/xml/element.js';
import { type Client, NS, World, form, itemIds } from './support/world.js';

const RSM = 'http://jabber.org/protocol/rsm';
const DELAY = 'urn:xmpp:delay';

const ids = (answer: Element | undefined): string[] =>
  answer!
    .child('items')!
    .elements('item')
    .map((item) => item.attr('id')!);
const page = (answer: Element | undefined): Record<string, string | undefined> => {
  const set = answer!.child('set', RSM);
  return {
    first: set?.child('first')?.text(),
    index: set?.child('first')?.attr('index'),
    last: set?.child('last')?.text(),
    count: set?.child('count')?.text(),
  };
};

async function withItems(count: number, config: Record<string, string> = {}): Promise<{ world: World; owner: Client }> {
  const world = new World();
  const owner = await world.login('owner@localhost/r');
  await owner.create('n', { max_items: 'max', ...config });
  for (let i = 1; i <= count; i++) await owner.publish('n', String(i));
  return { world, owner };
}

describe('retrieving items', () => {
  it('gives all in the order of publishing, some by id, or the most recent (§6.5)', async () => {
    const { owner } = await withItems(4);
    await owner.publish('n', '2');
    expect(ids(await owner.get(`<items node='n'/>`))).toEqual(['1', '3', '4', '2']);
    expect(ids(await owner.get(`<items node='n' max_items='2'/>`))).toEqual(['4', '2']);
    expect(ids(await owner.get(`<items node='n' max_items='9'/>`))).toEqual(['1', '3', '4', '2']);
    expect(ids(await owner.get(`<items node='n'><item id='3'/><item id='x'/><item id='1'/></items>`)).sort()).toEqual([
      '1',
      '3',
    ]);
    expect(ids(await owner.get(`<items node='n'><item id='x'/></items>`))).toEqual([]);
    const [item] = (await owner.get(`<items node='n' max_items='1'/>`))!.child('items')!.elements('item');
    expect(item!.child('v', 'urn:x')!.text()).toBe('2');
    expect(item!.attr('publisher')).toBeUndefined();
  });

  it('pages through them both ways, and counts (XEP-0059)', async () => {
    const { owner } = await withItems(5);
    const get = (set: string): Promise<Element | undefined> =>
      owner.get(`<items node='n'/><set xmlns='${RSM}'>${set}</set>`);
    const first = await get('<max>2</max>');
    expect([ids(first), page(first)]).toEqual([['1', '2'], { first: '1', index: '0', last: '2', count: '5' }]);
    const next = await get('<max>2</max><after>2</after>');
    expect([ids(next), page(next)]).toEqual([['3', '4'], { first: '3', index: '2', last: '4', count: '5' }]);
    const last = await get('<max>2</max><before/>');
    expect([ids(last), page(last)]).toEqual([['4', '5'], { first: '4', index: '3', last: '5', count: '5' }]);
    const before = await get('<max>2</max><before>4</before>');
    expect(ids(before)).toEqual(['2', '3']);
    const counted = await get('<max>0</max>');
    expect([ids(counted), page(counted).count]).toEqual([[], '5']);
  });

  it('gives the most recent of them also where they are managed as a result set (§6.5.7)', async () => {
    const { owner } = await withItems(5);
    const get = (set: string): Promise<Element | undefined> =>
      owner.get(`<items node='n' max_items='3'/><set xmlns='${RSM}'>${set}</set>`);
    expect(ids(await get(''))).toEqual(['3', '4', '5']);
    expect(ids(await get('<max>10</max>'))).toEqual(['3', '4', '5']);
    expect(ids(await get('<max>2</max>'))).toEqual(['4', '5']);
    expect(ids(await get('<max>2</max><after>1</after>'))).toEqual(['2', '3']);
  });

  it('manages the last item of a node that does not persist as a result set of one (§6.5.5, XEP-0059)', async () => {
    const { owner } = await withItems(2, { persist_items: '0' });
    const get = (set: string): Promise<Element | undefined> =>
      owner.get(`<items node='n'/><set xmlns='${RSM}'>${set}</set>`);
    const first = await get('<max>5</max>');
    expect([ids(first), page(first)]).toEqual([['2'], { first: '2', index: '0', last: '2', count: '1' }]);
    expect(ids(await get('<max>5</max><before/>'))).toEqual(['2']);
    for (const nothing of ['<max>0</max>', '<max>5</max><after>2</after>', '<before>2</before>']) {
      const answer = await get(nothing);
      expect([ids(answer), page(answer).count]).toEqual([[], '1']);
    }
    await expect(get('<after>x</after>')).rejects.toThrow('item-not-found');
    await expect(get('<index>0</index>')).rejects.toThrow('feature-not-implemented');
  });

  it('never answers with more than a stanza may hold, and says what is left out (§6.5.4)', async () => {
    const { world, owner } = await withItems(0);
    const payload = `<v xmlns='urn:x'>${'x'.repeat(60_000)}</v>`;
    for (let i = 1; i <= 6; i++) await owner.publish('n', String(i), payload);
    const answer = await owner.get(`<items node='n'/>`);
    expect([ids(answer), page(answer).count]).toEqual([['1', '2', '3', '4'], '6']);
    const rest = await owner.get(`<items node='n'/><set xmlns='${RSM}'><after>4</after></set>`);
    expect(ids(rest)).toEqual(['5', '6']);
    const back = await owner.get(`<items node='n'/><set xmlns='${RSM}'><before/></set>`);
    expect([ids(back), page(back).index]).toEqual([['3', '4', '5', '6'], '2']);
    const newest = await owner.get(`<items node='n' max_items='6'/>`);
    expect(ids(newest)).toEqual(['3', '4', '5', '6']);
    expect(world.workers).toHaveLength(1);
  });

  it('reads no more of many large items than an answer may hold, whichever way they are asked for (§6.5.4)', async () => {
    const { world, owner } = await withItems(0);
    const payload = Buffer.from(`<v xmlns='urn:x'>${'x'.repeat(60_000)}</v>`);
    const all = Array.from({ length: 300 }, (_, i) => String(i));
    for (const id of all) {
      await world.store.items.publish('n', { id, publisher: 'x@localhost', published: Date.now(), payload }, 1000);
    }
    let read = 0;
    const { items } = world.store;
    for (const method of ['get', 'page', 'latest'] as const) {
      const original = items[method].bind(items) as (...args: unknown[]) => Promise<unknown>;
      (items as unknown as Record<string, unknown>)[method] = async (...args: unknown[]) => {
        const found = (await original(...args)) as { items: unknown[] } | unknown[] | undefined;
        read += Array.isArray(found) ? found.length : (found?.items.length ?? 0);
        return found;
      };
    }
    const wanted = all.map((id) => `<item id='${id}'/>`).join('');
    for (const [request, first] of [
      [`<items node='n'/>`, '0'],
      [`<items node='n' max_items='300'/>`, '296'],
      [`<items node='n'/><set xmlns='${RSM}'><before/></set>`, '296'],
      [`<items node='n'/><set xmlns='${RSM}'><after>9</after></set>`, '10'],
      [`<items node='n'>${wanted}</items>`, '0'],
    ] as const) {
      read = 0;
      const answer = await owner.get(request);
      expect([ids(answer).length, ids(answer)[0], page(answer).first]).toEqual([4, first, first]);
      expect(read).toBeLessThanOrEqual(64);
    }
  });

  it('gives many small items in one answer, in their order (§6.5.3)', async () => {
    const { owner } = await withItems(150);
    const all = Array.from({ length: 150 }, (_, i) => String(i + 1));
    expect(ids(await owner.get(`<items node='n'/>`))).toEqual(all);
    expect(page(await owner.get(`<items node='n'/>`)).count).toBeUndefined();
    expect(ids(await owner.get(`<items node='n' max_items='140'/>`))).toEqual(all.slice(10));
    const before = await owner.get(`<items node='n'/><set xmlns='${RSM}'><max>130</max><before>141</before></set>`);
    expect([ids(before), page(before).index]).toEqual([all.slice(10, 140), '10']);
    const wanted = [...all].reverse();
    const answer = await owner.get(`<items node='n'>${wanted.map((id) => `<item id='${id}'/>`).join('')}</items>`);
    expect(ids(answer)).toEqual(wanted);
  });

  it('shows the publisher where the node does (§7.1.2.3)', async () => {
    const { owner } = await withItems(1, { itemreply: 'publisher' });
    const [item] = (await owner.get(`<items node='n'/>`))!.child('items')!.elements('item');
    expect(item!.attr('publisher')).toBe('owner@localhost');
  });

  it('hides what has expired, and gives its room back when something is published', async () => {
    const { world, owner } = await withItems(0, { item_expire: '60' });
    const seconds = (ago: number): number => Date.now() - ago * 1000;
    for (const [id, ago] of [['old', 61] as const, ['new', 10] as const]) {
      const item = { id, publisher: 'x@localhost', published: seconds(ago), payload: Buffer.from('<v/>') };
      await world.store.items.publish('n', item, 100);
    }
    const stored = async (): Promise<string[]> =>
      (await world.store.items.get('n', ['old', 'new', 'newer'])).map(({ id }) => id);
    expect(ids(await owner.get(`<items node='n'/>`))).toEqual(['new']);
    expect(ids(await owner.get(`<items node='n'><item id='old'/></items>`))).toEqual([]);
    expect(ids(await owner.get(`<items node='n' max_items='5'/>`))).toEqual(['new']);
    expect(await stored()).toEqual(['old', 'new']);
    await owner.publish('n', 'newer');
    await world.quiet();
    expect(await stored()).toEqual(['new', 'newer']);
  });

  it('follows the access model (§6.5.1)', async () => {
    const { world, owner } = await withItems(1, { access_model: 'whitelist' });
    const member = await world.login('member@localhost/r');
    await owner.own(
      'set',
      `<affiliations node='n'><affiliation jid='member@localhost' affiliation='member'/></affiliations>`,
    );
    expect(ids(await member.get(`<items node='n'/>`))).toEqual(['1']);
    const { subid } = (await member.subscribe('n'))!.child('subscription')!.attrs;
    expect(ids(await member.get(`<items node='n' subid='${subid}'/>`))).toEqual(['1']);
    const { world: open } = await withItems(1);
    expect(ids(await (await open.login('any@localhost/r')).get(`<items node='n'/>`))).toEqual(['1']);
  });

  it('keeps max_items items, the oldest going first (§7.1.2.5)', async () => {
    const { owner } = await withItems(5, { max_items: '3' });
    expect(ids(await owner.get(`<items node='n'/>`))).toEqual(['3', '4', '5']);
    const { owner: strict } = await withItems(2, { max_items: '2', publish_node_full: 'reject' });
    await strict.publish('n', '1');
    expect(ids(await strict.get(`<items node='n'/>`))).toEqual(['2', '1']);
  });
});

describe('a node that rejects what it has no room for', () => {
  it('keeps all that it took, whoever publishes at the same time at whatever worker (§7.1.3.4)', async () => {
    const world = new World({ workers: 2 });
    const owner = await world.login('owner@localhost/r');
    await owner.create('n', { max_items: '5', publish_node_full: 'reject', publish_model: 'open' });
    const publishers = await Promise.all(Array.from({ length: 8 }, (_, i) => world.login(`p${i}@localhost/r`, i % 2)));
    const reader = await world.login('reader@localhost/r', 1);
    await reader.subscribe('n');
    const outcomes = await Promise.allSettled(publishers.map((client, i) => client.publish('n', String(i))));
    const taken = outcomes.flatMap(({ status }, i) => (status === 'fulfilled' ? [String(i)] : []));
    await world.quiet();
    expect(taken).toHaveLength(5);
    expect(ids(await owner.get(`<items node='n'/>`)).sort()).toEqual(taken);
    expect(reader.take().flatMap(itemIds).sort()).toEqual(taken);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(String(outcome.reason)).toContain('node-full');
    }
    // What is there may be published anew all the same.
    await owner.publish('n', taken[0]!);
    expect(ids(await owner.get(`<items node='n'/>`))).toHaveLength(5);
  });
});

describe('the last published item', () => {
  const delayed = (message: Element): string | undefined => message.child('delay', DELAY)?.attr('stamp');

  for (const persist_items of ['1', '0']) {
    describe(persist_items === '1' ? 'of a node that persists' : 'of a node that does not', () => {
      it('comes to a new subscriber, stamped with its time, behind the result (§6.1.7)', async () => {
        const { world, owner } = await withItems(0, { persist_items });
        const before = Date.now();
        await owner.publish('n', '1');
        await owner.publish('n', '2', `<v xmlns='urn:x'>longer than the one before, by far</v>`);
        await owner.publish('n', '3');
        const reader = await world.login('reader@localhost/r');
        await reader.subscribe('n');
        expect(reader.take()).toEqual([]);
        const message = await reader.next();
        expect(itemIds(message)).toEqual(['3']);
        expect(message.attr('to')).toBe('reader@localhost');
        expect(Date.parse(delayed(message)!)).toBeGreaterThanOrEqual(before);
        // XEP-0203 §2: who delayed it.
        expect(message.child('delay', DELAY)?.attr('from')).toBe('pubsub.localhost');
        const item = message.child('event', `${NS}#event`)!.child('items')!.child('item')!;
        expect(item.child('v', 'urn:x')!.text()).toBe('3');
        expect(ids(await reader.get(`<items node='n'/>`))).toEqual(persist_items === '1' ? ['1', '2', '3'] : ['3']);
      });

      it('comes when a subscriber comes online, unless the node says otherwise', async () => {
        const { world, owner } = await withItems(1, { persist_items });
        const first = await world.login('reader@localhost/1');
        await first.subscribe('n');
        await world.quiet();
        first.take();
        const second = await world.login('reader@localhost/2');
        expect(itemIds(await second.next())).toEqual(['1']);
        await second.come(1);
        await world.quiet();
        expect([...first.take(), ...second.take()]).toEqual([]);
        await owner.own(
          'set',
          `<configure node='n'>${form('node_config', { send_last_published_item: 'on_sub' })}</configure>`,
        );
        const third = await world.login('reader@localhost/3');
        const other = await world.login('other@localhost/3');
        await other.subscribe('n');
        await world.quiet();
        expect([third.take().length, other.take().flatMap(itemIds)]).toEqual([0, ['1']]);
      });

      it('does not come behind a newer one', async () => {
        const { world, owner } = await withItems(1, { persist_items });
        const reader = await world.login('reader@localhost/1');
        const subscribed = reader.subscribe('n');
        await subscribed;
        await owner.publish('n', '2');
        await world.quiet();
        const got = reader.take();
        expect(got.flatMap(itemIds).at(-1)).toBe('2');
        expect(got.flatMap(itemIds).filter((id) => id === '2')).toHaveLength(1);
      });
    });
  }

  it('of thousands of nodes are looked for a few at a time', async () => {
    const { world, owner } = await withItems(0);
    const reader = await world.login('reader@localhost/1');
    for (let i = 0; i < 200; i++) {
      await owner.create(`n${i}`);
      await owner.publish(`n${i}`, '1');
      await reader.subscribe(`n${i}`);
    }
    await world.quiet();
    const { items } = world.store;
    const latest = items.latest.bind(items);
    let most = 0;
    let reading = 0;
    items.latest = async (...args) => {
      most = Math.max(most, ++reading);
      await new Promise((resolve) => setImmediate(resolve));
      reading--;
      return latest(...args);
    };
    const late = await world.login('reader@localhost/2');
    await world.quiet();
    expect(late.take().flatMap(itemIds)).toHaveLength(200);
    expect(most).toBeLessThanOrEqual(64);
  });

  it('is not sent where the node says never, and forgotten with the node', async () => {
    const { world, owner } = await withItems(1, { persist_items: '0' });
    await owner.own('set', `<delete node='n'/>`);
    await owner.create('n', { persist_items: '0' });
    await owner.create('never', { send_last_published_item: 'never' });
    await owner.publish('never', '1');
    const reader = await world.login('reader@localhost/1');
    await reader.subscribe('n');
    await reader.subscribe('never');
    await world.quiet();
    expect(reader.take()).toEqual([]);
  });
});
