import { describe, expect, it } from 'vitest';
import { readForm } from '../../src/xml/dataform.js';
import { StanzaError } from '../../src/stream/stanza-error.js';
import type { Element } from '../../src/xml/element.js';
import { memoryStore } from './support/store.js';
import { NS, World, form, itemIds, parseXml } from './support/world.js';

const EVENT = `${NS}#event`;
const values = (parent: Element): Record<string, string[]> =>
  Object.fromEntries(readForm(parent.child('x', 'jabber:x:data')!)!.values);
const list = (inner = '', node?: string): string =>
  `<query xmlns='http://jabber.org/protocol/disco#items'${node === undefined ? '' : ` node='${node}'`}>${inner}</query>`;

describe('creating a node', () => {
  it('makes up the name of an instant node (§8.1.1)', async () => {
    const owner = await new World().login('owner@localhost/r');
    const names = [await owner.set('<create/>'), await owner.set(`<create node=''/>`)].map((answer) =>
      answer!.child('create')!.attr('node')!,
    );
    expect(names[0]).not.toBe(names[1]);
    for (const name of names) await owner.publish(name, '1');
  });

  it('takes the configuration in the same request, and ignores options that it does not know (§8.1.3, XEP-0004 §3.2)', async () => {
    const owner = await new World().login('owner@localhost/r');
    // The example of §8.1.3, with an access model and limits of ours.
    await owner.create('princely_musings', {
      title: 'Princely Musings (Atom)',
      deliver_notifications: '1',
      deliver_payloads: 'true',
      persist_items: '1',
      max_items: 'max',
      item_expire: '604800',
      access_model: 'open',
      publish_model: 'publishers',
      purge_offline: '0',
      send_last_published_item: 'never',
      presence_based_delivery: 'false',
      notification_type: 'headline',
      notify_config: '0',
      max_payload_size: '1028',
      type: 'urn:example:e2ee:bundle',
      body_xslt: 'http://jabxslt.jabberstudio.org/atom_body.xslt',
    });
    const answer = await owner.own('get', `<configure node='princely_musings'/>`);
    const configure = answer!.child('configure')!;
    expect(configure.attr('node')).toBe('princely_musings');
    expect(configure.child('x', 'jabber:x:data')!.attr('type')).toBe('form');
    expect(values(configure)).toMatchObject({
      'pubsub#title': ['Princely Musings (Atom)'],
      'pubsub#max_items': ['max'],
      'pubsub#item_expire': ['604800'],
      'pubsub#max_payload_size': ['1028'],
      'pubsub#deliver_payloads': ['1'],
      'pubsub#notify_delete': ['1'],
    });
    expect(values(configure)).not.toHaveProperty('pubsub#body_xslt');
  });

  it('is done by publishing to a node that is not there, with the options as configuration (§7.1.4, §7.1.5)', async () => {
    const owner = await new World().login('owner@localhost/r');
    const publish = (id: string, options: Record<string, string>): Promise<unknown> =>
      owner.set(
        `<publish node='n'><item id='${id}'><v xmlns='urn:x'/></item></publish>` +
          `<publish-options>${form('publish-options', options)}</publish-options>`,
      );
    await publish('1', { access_model: 'whitelist', max_items: '3' });
    const configure = (await owner.own('get', `<configure node='n'/>`))!.child('configure')!;
    expect(values(configure)).toMatchObject({ 'pubsub#access_model': ['whitelist'], 'pubsub#max_items': ['3'] });
    await publish('2', { access_model: 'whitelist', persist_items: 'true' });
    const items = (await owner.get(`<items node='n'/>`))!.child('items')!.elements('item');
    expect(items.map((item) => item.attr('id'))).toEqual(['1', '2']);
  });
});

describe('a publish that is refused', () => {
  it.each([
    ['has no item', ''],
    ['has no payload', '<item/>'],
    ['has an empty item id', `<item id=''><v xmlns='urn:x'/></item>`],
    ['is too big', `<item><v xmlns='urn:x'>${'x'.repeat(70_000)}</v></item>`],
  ])('since it %s leaves no node behind (§7.1.4)', async (_why, item) => {
    const owner = await new World().login('owner@localhost/r');
    const refused = await owner.iq('set', `<pubsub xmlns='${NS}'><publish node='n'>${item}</publish></pubsub>`);
    expect(refused).toBeInstanceOf(StanzaError);
    expect((await owner.ok('get', list()))!.elements('item')).toEqual([]);
  });
});

describe('configuring a node', () => {
  it('shows the defaults of the service (§8.3)', async () => {
    const owner = await new World().login('owner@localhost/r');
    const answer = await owner.own('get', '<default/>');
    expect(values(answer!.child('default')!)).toMatchObject({
      'pubsub#access_model': ['open'],
      'pubsub#send_last_published_item': ['on_sub_and_presence'],
      'pubsub#max_payload_size': ['65536'],
    });
  });

  it('changes what was submitted, keeps the rest, and leaves all when cancelled (§8.2.4)', async () => {
    const owner = await new World().login('owner@localhost/r');
    await owner.create('n', { title: 'one', max_items: '5' });
    const show = async (): Promise<Record<string, string[]>> =>
      values((await owner.own('get', `<configure node='n'/>`))!.child('configure')!);
    await owner.own('set', `<configure node='n'>${form('node_config', { title: 'two' })}</configure>`);
    expect(await show()).toMatchObject({ 'pubsub#title': ['two'], 'pubsub#max_items': ['5'] });
    await owner.own('set', `<configure node='n'><x xmlns='jabber:x:data' type='cancel'/></configure>`);
    expect(await show()).toMatchObject({ 'pubsub#title': ['two'], 'pubsub#max_items': ['5'] });
    await owner.own('set', `<configure node='n'>${form('node_config', { title: [], max_items: '' })}</configure>`);
    expect(await show()).toMatchObject({ 'pubsub#title': [], 'pubsub#max_items': ['10'] });
  });

  it('tells subscribers the new configuration, with the form only where payloads are delivered (§8.2.5.3)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('n', { title: 'old', send_last_published_item: 'never' });
    await reader.subscribe('n');
    const set = (config: Record<string, string>): Promise<unknown> =>
      owner.own('set', `<configure node='n'>${form('node_config', config)}</configure>`);
    await set({ title: 'silent' });
    expect(reader.take()).toEqual([]);
    await set({ title: 'new', notify_config: '1' });
    let configuration = (await reader.next()).child('event', EVENT)!.child('configuration')!;
    expect(configuration.attr('node')).toBe('n');
    expect(values(configuration)).toMatchObject({ 'pubsub#title': ['new'], 'pubsub#notify_config': ['1'] });
    await set({ deliver_payloads: '0' });
    configuration = (await reader.next()).child('event', EVENT)!.child('configuration')!;
    expect(configuration.children).toEqual([]);
  });

  it('drops items for which there is no room any more', async () => {
    const owner = await new World().login('owner@localhost/r');
    await owner.create('n');
    for (const id of ['1', '2', '3', '4']) await owner.publish('n', id);
    const ids = async (): Promise<(string | undefined)[]> =>
      (await owner.get(`<items node='n'/>`))!
        .child('items')!
        .elements('item')
        .map((item) => item.attr('id'));
    await owner.own('set', `<configure node='n'>${form('node_config', { max_items: '2' })}</configure>`);
    expect(await ids()).toEqual(['3', '4']);
    for (const persist of ['0', '1']) {
      await owner.own('set', `<configure node='n'>${form('node_config', { persist_items: persist })}</configure>`);
    }
    expect(await ids()).toEqual([]);
  });

  it('dismisses subscribers whom a new access model shuts out, and admits those who wait no more (§14.3)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    const model = (access_model: string): Promise<unknown> =>
      owner.own('set', `<configure node='n'>${form('node_config', { access_model })}</configure>`);
    await owner.create('n', { access_model: 'authorize' });
    await reader.subscribe('n');
    await model('open');
    const admitted = (await reader.next()).child('event', EVENT)!.child('subscription')!;
    expect(admitted.attrs).toMatchObject({ node: 'n', jid: 'reader@localhost', subscription: 'subscribed' });
    await owner.publish('n', '1');
    expect(itemIds(await reader.next())).toEqual(['1']);
    await model('whitelist');
    const dismissed = (await reader.next()).child('event', EVENT)!.child('subscription')!;
    expect(dismissed.attr('subscription')).toBe('none');
    await owner.publish('n', '2');
    expect(reader.take()).toEqual([]);
  });
});

describe('deleting a node', () => {
  it('tells subscribers, pending ones too, where to go instead (§8.4)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    const waiting = await world.login('waiting@localhost/r');
    await owner.create('n', { access_model: 'authorize' });
    await owner.own(
      'set',
      `<affiliations node='n'><affiliation jid='reader@localhost' affiliation='member'/></affiliations>`,
    );
    await reader.subscribe('n');
    await waiting.subscribe('n');
    reader.take();
    await owner.own('set', `<delete node='n'><redirect uri='xmpp:h@localhost?;node=&apos;b'/></delete>`);
    for (const client of [reader, waiting]) {
      const gone = (await client.next()).child('event', EVENT)!.child('delete')!;
      expect(gone.attr('node')).toBe('n');
      expect(gone.child('redirect')!.attr('uri')).toBe(`xmpp:h@localhost?;node='b`);
    }
    // A new node of that name starts without them.
    await owner.create('n');
    await owner.publish('n', '1');
    expect([...reader.take(), ...waiting.take()]).toEqual([]);
    expect((await owner.get(`<items node='n'/>`))!.child('items')!.elements('item')).toHaveLength(1);
  });

  it('is silent where the node says so', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('n', { notify_delete: '0' });
    await reader.subscribe('n');
    await owner.own('set', `<delete node='n'/>`);
    expect(reader.take()).toEqual([]);
    expect(await world.workers[0]!.pubsub.removeNode('n')).toBe(false);
  });
});

describe('deleting items', () => {
  it('notifies as the request or else the node says (§7.2.2.1), and purges with one notification (§8.5.2)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('n', { send_last_published_item: 'never' });
    for (const id of ['1', '2', '3', '4', '5']) await owner.publish('n', id);
    await reader.subscribe('n');
    await owner.set(`<retract node='n' notify='0'><item id='1'/></retract>`);
    expect(reader.take()).toEqual([]);
    await owner.set(`<retract node='n'><item id='2'/><item id='3'/></retract>`);
    const items = (await reader.next()).child('event', EVENT)!.child('items')!;
    expect(items.elements('retract').map((item) => item.attr('id'))).toEqual(['2', '3']);
    await owner.own('set', `<configure node='n'>${form('node_config', { notify_retract: '0' })}</configure>`);
    await owner.set(`<retract node='n' notify='true'><item id='4'/></retract>`);
    expect((await reader.next()).child('event', EVENT)!.child('items')!.child('retract')!.attr('id')).toBe('4');
    await owner.own('set', `<purge node='n'/>`);
    expect(reader.take()).toEqual([]);
    await owner.own('set', `<configure node='n'>${form('node_config', { notify_retract: '1' })}</configure>`);
    await owner.own('set', `<purge node='n'/>`);
    expect((await reader.next()).child('event', EVENT)!.child('purge')!.attr('node')).toBe('n');
    expect((await owner.get(`<items node='n'/>`))!.child('items')!.children).toEqual([]);
  });

  it('lets publishers delete what they published themselves', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const writer = await world.login('writer@localhost/r');
    await owner.create('n');
    await owner.own(
      'set',
      `<affiliations node='n'><affiliation jid='writer@localhost' affiliation='publish-only'/></affiliations>`,
    );
    await writer.publish('n', 'mine');
    await writer.set(`<retract node='n'><item id='mine'/></retract>`);
    await writer.publish('n', 'other');
    await owner.set(`<retract node='n'><item id='other'/></retract>`);
  });
});

describe('a transient node without payloads (§4.3)', () => {
  it('only says that something happened', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('elsinore/doorbell', { persist_items: '0', deliver_payloads: '0' });
    await reader.subscribe('elsinore/doorbell');
    const answer = await owner.set(`<publish node='elsinore/doorbell'/>`);
    expect(answer!.child('publish')!.children).toEqual([]);
    const items = (await reader.next()).child('event', EVENT)!.child('items')!;
    expect(items.attr('node')).toBe('elsinore/doorbell');
    expect(items.children).toEqual([]);
  });
});

describe('service discovery', () => {
  const info = (node?: string): string =>
    `<query xmlns='http://jabber.org/protocol/disco#info'${node === undefined ? '' : ` node='${node}'`}/>`;

  it('shows the service and its features (§5.1)', async () => {
    const client = await new World().login('owner@localhost/r');
    const query = (await client.ok('get', info()))!;
    expect(query.child('identity')!.attrs).toMatchObject({ category: 'pubsub', type: 'service' });
    const features = query.elements('feature').map((feature) => feature.attr('var'));
    expect(features).toContain('http://jabber.org/protocol/pubsub#publish');
    expect(features).toContain('http://jabber.org/protocol/disco#info');
    expect(new Set(features).size).toBe(features.length);
  });

  it('shows a node with its metadata (§5.4)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('n', { title: 'A title', contact: ['bard@localhost'], type: 'urn:x' });
    await reader.subscribe('n');
    const query = (await reader.ok('get', info('n')))!;
    expect(query.attr('node')).toBe('n');
    expect(query.child('identity')!.attrs).toMatchObject({ category: 'pubsub', type: 'leaf' });
    expect(values(query)).toMatchObject({
      'pubsub#title': ['A title'],
      'pubsub#type': ['urn:x'],
      'pubsub#contact': ['bard@localhost'],
      'pubsub#creator': ['owner@localhost'],
      'pubsub#owner': ['owner@localhost'],
      'pubsub#num_subscribers': ['1'],
      'pubsub#creation_date': [expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)],
    });
    expect(readForm(query.child('x', 'jabber:x:data')!)!.formType).toBe(`${NS}#meta-data`);
  });

  it('shows who may publish unless they are very many', async () => {
    const owner = await new World().login('owner@localhost/r');
    await owner.create('n');
    const publishers = (from: number, to: number): string =>
      Array.from(
        { length: to - from },
        (_, i) => `<affiliation jid='p${from + i}@localhost' affiliation='publisher'/>`,
      ).join('');
    const shown = async () => values((await owner.ok('get', info('n')))!)['pubsub#publisher']?.length;
    await owner.own('set', `<affiliations node='n'>${publishers(0, 100)}</affiliations>`);
    expect(await shown()).toBe(100);
    await owner.own('set', `<affiliations node='n'>${publishers(100, 101)}</affiliations>`);
    expect(await shown()).toBeUndefined();
  });

  it('counts the subscribers of a node without reading them, and not those who wait for approval', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('open', {});
    await owner.create('asks', { access_model: 'authorize' });
    for (const node of ['open', 'asks']) await reader.subscribe(node);
    const shown = async (node: string) => values((await reader.ok('get', info(node)))!)['pubsub#num_subscribers'];
    expect(await shown('asks')).toEqual(['0']);
    world.store.nodes.subscriptionsOfNode = () => Promise.reject(new Error('they may be a million'));
    expect(await shown('open')).toEqual(['1']);
  });

  it('lists nodes and items, page by page (§5.2, §5.5)', async () => {
    const owner = await new World().login('owner@localhost/r');
    for (const node of ['a', 'b', 'c']) await owner.create(node, { title: node.toUpperCase() });
    const all = (await owner.ok('get', list()))!.elements('item');
    expect(all.map((item) => [item.attr('node'), item.attr('name'), item.attr('jid')])).toEqual(
      ['a', 'b', 'c'].map((node) => [node, node.toUpperCase(), 'pubsub.localhost']),
    );
    const page = (await owner.ok(
      'get',
      list(`<set xmlns='http://jabber.org/protocol/rsm'><max>1</max><after>a</after></set>`),
    ))!;
    expect(page.elements('item').map((item) => item.attr('node'))).toEqual(['b']);
    const set = page.child('set', 'http://jabber.org/protocol/rsm')!;
    expect([set.child('first')!.text(), set.child('last')!.text(), set.child('count')!.text()]).toEqual([
      'b',
      'b',
      '3',
    ]);
    await owner.publish('a', '1');
    await owner.publish('a', '2');
    const items = (await owner.ok('get', list('', 'a')))!.elements('item');
    expect(items.map(({ attrs }) => ({ ...attrs }))).toEqual([
      { jid: 'pubsub.localhost', name: '1' },
      { jid: 'pubsub.localhost', name: '2' },
    ]);
  });
});

describe('a list of nodes', () => {
  it('leaves nothing in memory', async () => {
    const store = memoryStore();
    const owner = await new World({ store }).login('owner@localhost/r');
    for (let i = 0; i < 20; i++) await owner.create(`n${i}`, { title: 'A title' });
    const world = new World({ store });
    const reader = await world.login('reader@localhost/r');
    const listed = (await reader.ok('get', list()))!.elements('item');
    expect([listed.length, listed[0]!.attr('name')]).toEqual([20, 'A title']);
    expect(world.workers[0]!.pubsub['engine'].nodes.size).toBe(0);
  });

  it('is never longer than a stanza may be, and goes on where it was cut (XEP-0059 §2.1)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const names = Array.from({ length: 50 }, (_, i) => `n${String(i).padStart(2, '0')}`);
    for (const name of names) await owner.create(name, { title: '&apos;'.repeat(4096) });
    const seen: string[] = [];
    let after = '';
    while (seen.length < names.length) {
      const answer = (await owner.ok('get', list(after)))!;
      expect(answer.toString().length).toBeLessThan(300_000);
      const page = answer.elements('item').map((item) => item.attr('node')!);
      expect(page).not.toEqual([]);
      seen.push(...page);
      expect(answer.child('set', 'http://jabber.org/protocol/rsm')!.child('last')!.text()).toBe(page.at(-1));
      after = `<set xmlns='http://jabber.org/protocol/rsm'><after>${page.at(-1)}</after></set>`;
    }
    expect(seen).toEqual(names);
  });
});

describe('messages to the service that are nothing to it', () => {
  it('come back with an error, unless they are errors themselves', async () => {
    const world = new World();
    const client = await world.login('owner@localhost/r');
    client.message('<body>hello</body>', `id='m1'`);
    client.message('<body>hello</body>', `id='m2' type='error'`);
    await world.quiet();
    const stanzas = client.take();
    expect(stanzas.map((stanza) => [stanza.attr('type'), stanza.attr('id')])).toEqual([['error', 'm1']]);
    expect(parseXml(stanzas[0]!.serialize()).child('error')!.attr('type')).toBe('cancel');
  });
});
