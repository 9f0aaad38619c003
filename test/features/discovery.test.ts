import { describe, expect, it } from 'vitest';
import { features } from '../../src/features/list.js';
import { el } from '../../src/xml/element.js';
import { answer, Client, household, query } from './harness.js';

const INFO = 'http://jabber.org/protocol/disco#info';
const ITEMS = 'http://jabber.org/protocol/disco#items';

describe('service discovery of the server', () => {
  it('names what it is and every feature that it answers', async () => {
    const { ask } = await household();
    expect(await ask('server', 'get', query(INFO))).toBe(
      `<query xmlns='${INFO}'><identity category='server' type='im' name='Thrum'/>` +
        [INFO, ITEMS, 'jabber:iq:last', 'jabber:iq:register', 'jabber:iq:version', 'urn:xmpp:ping', 'urn:xmpp:time']
          .map((feature) => `<feature var='${feature}'/>`)
          .join('') +
        '</query>',
    );
  });

  it('does not name a feature without a handler, nor answer one that it does not name', async () => {
    const { set } = await household();
    const named = set.disco('server');
    const routed = new Set(
      set.all.flatMap(({ routes }) =>
        Object.keys(routes?.server ?? {}).map((route) => /^iq:...:(.*):/.exec(route)![1]!),
      ),
    );
    routed.delete('urn:ietf:params:xml:ns:xmpp-session');
    expect([...routed].sort()).toEqual(named);
  });

  it('shows the contacts of the configuration', async () => {
    const { ask } = await household((config) => {
      config.contact.abuse = ['mailto:abuse@localhost', 'xmpp:abuse@localhost'];
      config.contact.security = ['mailto:security@localhost'];
    });
    expect(await ask('server', 'get', query(INFO))).toContain(
      "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field>" +
        "<field var='abuse-addresses' type='list-multi'><value>mailto:abuse@localhost</value><value>xmpp:abuse@localhost</value></field>" +
        "<field var='security-addresses' type='list-multi'><value>mailto:security@localhost</value></field></x>",
    );
  });

  it('lists the pub-sub service', async () => {
    const { ask } = await household((config) => {
      config.pubsub.host_prefix = 'topics';
    });
    expect(await ask('server', 'get', query(ITEMS))).toBe(
      `<query xmlns='${ITEMS}'><item jid='topics.localhost' name='Publish-Subscribe'/></query>`,
    );
  });

  it('has no nodes', async () => {
    const { ask } = await household();
    expect(await ask('server', 'get', query(INFO, { node: 'x' }))).toBe('item-not-found cancel');
    expect(await ask('server', 'get', query(ITEMS, { node: 'x' }))).toBe('item-not-found cancel');
    expect(await ask('account', 'get', query(ITEMS, { node: 'x' }))).toBe('item-not-found cancel');
  });
});

describe('service discovery of an account', () => {
  it('tells its owner what kind it is', async () => {
    const { ask } = await household();
    expect(await ask('account', 'get', query(INFO))).toBe(
      `<query xmlns='${INFO}'><identity category='account' type='registered'/><feature var='${INFO}'/>` +
        `<feature var='${ITEMS}'/><feature var='urn:xmpp:ping'/></query>`,
    );
    expect(await ask('account', 'get', query(INFO), new Client('a@localhost/b', true))).toContain("type='admin'");
  });

  it('lists the available resources of all workers to its owner', async () => {
    const { ask } = await household();
    expect(await ask('account', 'get', query(ITEMS))).toBe(
      `<query xmlns='${ITEMS}'><item jid='juliet@localhost/balcony'/><item jid='juliet@localhost/garden'/></query>`,
    );
  });

  it('tells others nothing, not even whether the account exists', async () => {
    const { ask } = await household();
    expect(await ask('contact', 'get', query(INFO))).toBe('service-unavailable cancel');
    expect(await ask('contact', 'get', query(INFO, { node: 'x' }))).toBe('service-unavailable cancel');
    expect(await ask('contact', 'get', query(ITEMS))).toBe(`<query xmlns='${ITEMS}'/>`);
    expect(await ask('contact', 'get', query(ITEMS, { node: 'x' }))).toBe(`<query xmlns='${ITEMS}' node='x'/>`);
  });
});

describe('service discovery of the pub-sub service', () => {
  it('is its own affair unless it is told what others answer for it', async () => {
    const { ask, config, accounts, client } = await household();
    expect(await ask('pubsub', 'get', query(INFO))).toBe('no handler');
    const set = features({
      config,
      accounts,
      version: '1',
      started: 0,
      pubsubInfo: (node, more) =>
        el('query', INFO, { node }, ...more.map((name) => el('feature', INFO, { var: name }))),
    });
    const told = await answer(set, 'pubsub', client.request('get', query(INFO, { node: 'n' })));
    expect(told).toContain(`<query xmlns='${INFO}' node='n'>`);
    expect(told).toContain("<feature var='http://jabber.org/protocol/pubsub#publish'/>");
    expect(told).toContain("<feature var='urn:xmpp:ping'/>");
  });
});
