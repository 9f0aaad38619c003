import { describe, expect, it } from 'vitest';
import { StanzaError } from '../../src/stream/stanza-error.js';
import { readForm } from '../../src/xml/dataform.js';
import type { Element } from '../../src/xml/element.js';
import { type Client, NS, World, form, itemIds } from './support/world.js';

const EVENT = `${NS}#event`;
const attrsOf = (elements: Element[]): Record<string, string>[] => elements.map(({ attrs }) => ({ ...attrs }));

describe('subscriptions', () => {
  it('are one for each JID: asking again shows the one that there is (§6.1.6)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    await owner.create('n');
    const first = (await owner.subscribe('n'))!.child('subscription')!.attrs;
    const second = (await owner.subscribe('n'))!.child('subscription')!.attrs;
    expect(second).toEqual(first);
    await owner.subscribe('n', 'owner@localhost/r');
    const list = (await owner.get('<subscriptions/>'))!.child('subscriptions')!.elements('subscription');
    expect(list.map((entry) => entry.attr('jid')).sort()).toEqual(['owner@localhost', 'owner@localhost/r']);
    await owner.create('m');
    const atM = (await owner.get(`<subscriptions node='m'/>`))!.child('subscriptions')!;
    expect([atM.attr('node'), atM.children]).toEqual(['m', []]);
  });

  it('end with their subid or without, and the subscriber is told (§6.2.2, §12.14)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    await owner.create('n');
    const { subid } = (await owner.subscribe('n'))!.child('subscription')!.attrs;
    const answer = await owner.set(`<unsubscribe node='n' jid='owner@localhost' subid='${subid}'/>`);
    expect(answer!.child('subscription')!.attrs).toMatchObject({ node: 'n', subscription: 'none', subid });
    expect((await owner.next()).child('event', EVENT)!.child('subscription')!.attr('subscription')).toBe('none');
    await owner.subscribe('n');
    await owner.set(`<unsubscribe node='n' jid='owner@localhost'/>`);
  });

  it('can be told to deliver nothing (§6.3)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('n', { send_last_published_item: 'never' });
    const answer = await reader.set(
      `<subscribe node='n' jid='reader@localhost'/><options>${form('subscribe_options', { deliver: '0', digest: '1' })}</options>`,
    );
    const shown = readForm(answer!.child('options')!.child('x', 'jabber:x:data')!)!;
    expect([shown.type, shown.formType, shown.values.get('pubsub#deliver')]).toEqual([
      'result',
      `${NS}#subscribe_options`,
      ['0'],
    ]);
    await owner.publish('n', '1');
    expect(reader.take()).toEqual([]);
    const options = (await reader.get(`<options node='n' jid='reader@localhost'/>`))!.child('options')!;
    expect(options.attrs).toMatchObject({ node: 'n', jid: 'reader@localhost' });
    expect(readForm(options.child('x', 'jabber:x:data')!)!.values.get('pubsub#deliver')).toEqual(['0']);
    await reader.set(
      `<options node='n' jid='reader@localhost'>${form('subscribe_options', { deliver: 'true' })}</options>`,
    );
    await owner.publish('n', '2');
    expect(reader.take().flatMap(itemIds)).toEqual(['2']);
    const defaults = (await reader.get('<default/>'))!.child('default')!;
    expect(readForm(defaults.child('x', 'jabber:x:data')!)!.values.get('pubsub#deliver')).toEqual(['1']);
  });

  it('that deliver nothing bring no last item either, with or without an approval (§6.3.7, §12.3)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    const options = `<options>${form('subscribe_options', { deliver: '0' })}</options>`;
    for (const access_model of ['open', 'authorize']) {
      await owner.create(access_model, { access_model });
      await owner.publish(access_model, '1');
      await reader.set(`<subscribe node='${access_model}' jid='reader@localhost'/>${options}`);
    }
    await owner.own(
      'set',
      `<subscriptions node='authorize'><subscription jid='reader@localhost' subscription='subscribed'/></subscriptions>`,
    );
    await world.quiet();
    expect(reader.take().flatMap(itemIds)).toEqual([]);
  });

  it('let subscribers publish where the publish model says so, on the hot path too, until they unsubscribe', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('n', { publish_model: 'subscribers', send_last_published_item: 'never' });
    await reader.subscribe('n');
    expect(reader.hot('n', '1')).toBe(false);
    await reader.publish('n', '2');
    expect(reader.hot('n', '3')).toBe(true);
    await reader.set(`<unsubscribe node='n' jid='reader@localhost'/>`);
    expect(reader.hot('n', '4')).toBe(false);
  });

  it('are told to the owners where the node says so (notify_sub)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('n', { notify_sub: '1' });
    await reader.subscribe('n');
    await reader.set(`<unsubscribe node='n' jid='reader@localhost'/>`);
    const states = owner.take().map((message) => message.child('event', EVENT)!.child('subscription')!.attrs);
    expect(states).toMatchObject([
      { node: 'n', jid: 'reader@localhost', subscription: 'subscribed' },
      { node: 'n', jid: 'reader@localhost', subscription: 'none' },
    ]);
  });
});

describe('subscriptions that owners have to approve (§8.6)', () => {
  const setUp = async (): Promise<{ world: World; owner: Client; reader: Client; request: Element }> => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('n', { access_model: 'authorize' });
    await owner.publish('n', '0');
    const answer = await reader.subscribe('n');
    expect(answer!.child('subscription')!.attr('subscription')).toBe('pending');
    const request = await owner.next();
    expect(request.attrs).toMatchObject({ from: 'pubsub.localhost', to: 'owner@localhost' });
    return { world, owner, reader, request };
  };
  const reply = (request: Element, allow: string): string => {
    const asked = readForm(request.child('x', 'jabber:x:data')!)!;
    expect(asked.formType).toBe(`${NS}#subscribe_authorization`);
    const field = (name: string): string => asked.values.get(`pubsub#${name}`)![0]!;
    return form('subscribe_authorization', {
      subid: field('subid'),
      node: field('node'),
      subscriber_jid: field('subscriber_jid'),
      allow,
    });
  };

  it('are asked for again with every further request, as no owner may have been there (§8.6, §6.1.3.7)', async () => {
    const { owner, reader, request } = await setUp();
    owner.close();
    const subscribe = `<pubsub xmlns='${NS}'><subscribe node='n' jid='reader@localhost'/></pubsub>`;
    const late = await owner.world.login('owner@localhost/late');
    expect(await reader.iq('set', subscribe)).toMatchObject({ condition: 'not-authorized' });
    const again = await late.next();
    expect(reply(again, 'true')).toBe(reply(request, 'true'));
    await late.message(reply(again, 'true'));
    expect((await reader.next()).child('event', EVENT)!.child('subscription')!.attr('subscription')).toBe('subscribed');
  });

  it('take effect with the approval, and bring the last item', async () => {
    const { world, owner, reader, request } = await setUp();
    await owner.publish('n', '1');
    expect(reader.take()).toEqual([]);
    owner.message(reply(request, 'true'), `id='${request.attr('id')}'`);
    expect((await reader.next()).child('event', EVENT)!.child('subscription')!.attr('subscription')).toBe('subscribed');
    expect(itemIds(await reader.next())).toEqual(['1']);
    await owner.publish('n', '2');
    expect(itemIds(await reader.next())).toEqual(['2']);
    await reader.get(`<items node='n'/>`);
    // A late second answer changes nothing.
    owner.message(reply(request, 'false'));
    await world.quiet();
    await owner.publish('n', '3');
    expect(itemIds(await reader.next())).toEqual(['3']);
  });

  it('end with the denial, and stay pending when the form is cancelled', async () => {
    const { world, owner, reader, request } = await setUp();
    owner.message(`<x xmlns='jabber:x:data' type='cancel'/>`);
    await world.quiet();
    const pending = (await reader.get('<subscriptions/>'))!.child('subscriptions')!.elements('subscription');
    expect(pending.map((entry) => entry.attr('subscription'))).toEqual(['pending']);
    owner.message(reply(request, '0'));
    expect((await reader.next()).child('event', EVENT)!.child('subscription')!.attr('subscription')).toBe('none');
    expect((await reader.get('<subscriptions/>'))!.child('subscriptions')!.children).toEqual([]);
  });

  it('are decided by owners alone', async () => {
    const { world, reader, request } = await setUp();
    reader.message(reply(request, 'true'), `id='x'`);
    const error = await reader.next();
    expect([error.attr('type'), error.attr('id')]).toEqual(['error', 'x']);
    await world.quiet();
    expect(reader.take()).toEqual([]);
  });

  it('need no approval with an affiliation, or end by one (§6.1.4, §8.7.4)', async () => {
    const { owner, reader } = await setUp();
    const affiliate = (affiliation: string): Promise<unknown> =>
      owner.own(
        'set',
        `<affiliations node='n'><affiliation jid='reader@localhost' affiliation='${affiliation}'/></affiliations>`,
      );
    await affiliate('publisher');
    expect((await reader.next()).child('event', EVENT)!.child('subscription')!.attr('subscription')).toBe('subscribed');
    await affiliate('outcast');
    const told = reader
      .take()
      .flatMap((message) => message.child('event', EVENT)?.child('subscription')?.attr('subscription') ?? []);
    expect(told).toEqual(['none']);
    expect(
      await owner.own('get', `<subscriptions node='n'/>`).then((list) => list!.child('subscriptions')!.children),
    ).toEqual([]);
  });
});

describe('owners manage subscriptions (§8.8)', () => {
  it('list who is subscribed, not who waits', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    await owner.create('n', { access_model: 'authorize' });
    await owner.subscribe('n');
    await reader.subscribe('n');
    const list = (await owner.own('get', `<subscriptions node='n'/>`))!.child('subscriptions')!;
    expect(list.elements('subscription').map((entry) => [entry.attr('jid'), entry.attr('subscription')])).toEqual([
      ['owner@localhost', 'subscribed'],
    ]);
  });

  it('change some, and get back what could not be changed as it was (§8.8.2.4)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const reader = await world.login('reader@localhost/r');
    const other = await world.login('other@localhost/r');
    await owner.create('n', { send_last_published_item: 'never' });
    await reader.subscribe('n');
    await owner.own(
      'set',
      `<affiliations node='n'><affiliation jid='bad@localhost' affiliation='outcast'/></affiliations>`,
    );
    const error = (await owner.iq(
      'set',
      `<pubsub xmlns='${NS}#owner'><subscriptions node='n'>
        <subscription jid='reader@localhost' subscription='none'/>
        <subscription jid='other@localhost' subscription='subscribed'/>
        <subscription jid='bad@localhost' subscription='subscribed'/>
        <subscription jid='owner@localhost' subscription='maybe'/>
        <subscription jid='owner@localhost'/>
      </subscriptions></pubsub>`,
    )) as StanzaError;
    expect([error.condition, error.type]).toEqual(['not-acceptable', 'modify']);
    const returned = error.payload!.child('subscriptions')!;
    expect(returned.attr('node')).toBe('n');
    expect(attrsOf(returned.elements('subscription'))).toEqual([
      { jid: 'bad@localhost', subscription: 'none' },
      { jid: 'owner@localhost', subscription: 'none' },
    ]);
    expect((await reader.next()).child('event', EVENT)!.child('subscription')!.attr('subscription')).toBe('none');
    expect((await other.next()).child('event', EVENT)!.child('subscription')!.attr('subscription')).toBe('subscribed');
    await owner.publish('n', '1');
    expect([reader.take().length, ...other.take().flatMap(itemIds)]).toEqual([0, '1']);
  });
});

describe('owners manage affiliations (§8.9)', () => {
  it('change some, tell those concerned, and get back what could not be changed (§8.9.2.4)', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const bard = await world.login('bard@localhost/r');
    await owner.create('n');
    const change = (entries: Record<string, string>): Promise<Element | StanzaError | undefined> =>
      owner.iq(
        'set',
        `<pubsub xmlns='${NS}#owner'><affiliations node='n'>${Object.entries(entries)
          .map(([jid, affiliation]) => `<affiliation jid='${jid}' affiliation='${affiliation}'/>`)
          .join('')}</affiliations></pubsub>`,
      );
    const error = (await change({
      'owner@localhost': 'none',
      'bard@localhost/r': 'publisher',
      'x@localhost': 'emperor',
    })) as StanzaError;
    expect([error.condition, error.type]).toEqual(['not-acceptable', 'modify']);
    expect(attrsOf(error.payload!.child('affiliations')!.elements('affiliation'))).toEqual([
      { jid: 'x@localhost', affiliation: 'none' },
      { jid: 'owner@localhost', affiliation: 'owner' },
    ]);
    const told = (await bard.next()).child('pubsub', NS)!.child('affiliations')!;
    expect([told.attr('node'), told.child('affiliation')!.attr('affiliation')]).toEqual(['n', 'publisher']);
    await bard.publish('n', '1');
    expect(attrsOf((await bard.get('<affiliations/>'))!.child('affiliations')!.elements('affiliation'))).toEqual([
      { node: 'n', affiliation: 'publisher' },
    ]);
    // With another owner in the same request the old one may resign.
    expect(await change({ 'owner@localhost': 'none', 'bard@localhost': 'owner' })).toBeUndefined();
    const list = (await bard.own('get', `<affiliations node='n'/>`))!.child('affiliations')!;
    expect(attrsOf(list.elements('affiliation'))).toEqual([{ jid: 'bard@localhost', affiliation: 'owner' }]);
    expect((await owner.get(`<affiliations node='n'/>`))!.child('affiliations')!.children).toEqual([]);
  });

  it('refuses a request that names somebody twice (§8.9.2.4)', async () => {
    const owner = await new World().login('owner@localhost/r');
    await owner.create('n');
    const twice = `<affiliation jid='a@localhost'/><affiliation jid='a@localhost/r' affiliation='member'/>`;
    const answer = await owner.iq(
      'set',
      `<pubsub xmlns='${NS}#owner'><affiliations node='n'>${twice}</affiliations></pubsub>`,
    );
    expect((answer as StanzaError).condition).toBe('bad-request');
  });

  it('takes the right to publish away at once, on the hot path too', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const bard = await world.login('bard@localhost/r');
    await owner.create('n');
    const affiliate = (affiliation: string): Promise<unknown> =>
      owner.own(
        'set',
        `<affiliations node='n'><affiliation jid='bard@localhost' affiliation='${affiliation}'/></affiliations>`,
      );
    await affiliate('publisher');
    await bard.publish('n', '1');
    expect(bard.hot('n', '2')).toBe(true);
    await affiliate('none');
    expect(bard.hot('n', '3')).toBe(false);
    expect(await bard.refused('n')).toBe('forbidden');
  });
});
