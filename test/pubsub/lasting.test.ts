import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { World, form, itemIds } from './support/world.js';

describe('what lasts, on LMDB', () => {
  let path: string;
  const open = (): Promise<Store> => openStore({ kind: 'lmdb', path, durability: 'commit' });

  beforeAll(async () => {
    path = await mkdtemp(join(tmpdir(), 'thrum-pubsub-'));
  });
  afterAll(() => rm(path, { recursive: true }));

  it('nodes, affiliations, subscriptions and items are there after a restart', async () => {
    let store = await open();
    let world = new World({ store });
    let owner = await world.login('owner@localhost/r');
    let reader = await world.login('reader@localhost/r');
    const name = 'x'.repeat(1023);
    for (const node of ['n', name]) {
      await owner.create(node, { title: 'kept', max_items: '3', send_last_published_item: 'on_sub' });
      await owner.own(
        'set',
        `<affiliations node='${node}'><affiliation jid='p@localhost' affiliation='publisher'/></affiliations>`,
      );
      await reader.subscribe(node);
      await owner.publish(node, '0');
      for (const id of ['1', 'y'.repeat(1023), '3']) {
        expect(owner.hot(node, id)).toBe(id.length < 255);
        if (id.length >= 255) await owner.publish(node, id);
      }
      await world.quiet();
      expect(reader.take().flatMap(itemIds)).toHaveLength(4);
    }
    await world.workers[0]!.pubsub.stop();
    await store.close();

    store = await open();
    world = new World({ store });
    owner = await world.login('owner@localhost/r');
    reader = await world.login('reader@localhost/r');
    const publisher = await world.login('p@localhost/r');
    for (const node of ['n', name]) {
      const items = (await reader.get(`<items node='${node}'/>`))!.child('items')!.elements('item');
      expect(items.map((item) => item.attr('id'))).toEqual(['1', 'y'.repeat(1023), '3']);
      expect(items[2]!.child('v', 'urn:x')!.text()).toBe('3');
      reader.take();
      await publisher.publish(node, '4');
      expect(itemIds(await reader.next())).toEqual(['4']);
      await owner.own('set', `<configure node='${node}'>${form('node_config', { max_items: '1' })}</configure>`);
      expect((await reader.get(`<items node='${node}'/>`))!.child('items')!.elements('item')).toHaveLength(1);
      await owner.own('set', `<delete node='${node}'/>`);
    }
    await store.close();
  });
});
