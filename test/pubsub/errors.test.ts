import { beforeAll, describe, expect, it } from 'vitest';
import { counters } from '../../src/metrics/counters.js';
import { MemoryStore } from '../../src/store/memory.js';
import { StoreError } from '../../src/store/store.js';
import { StanzaError } from '../../src/stream/stanza-error.js';
import { type Client, NS, World, form } from './support/world.js';

/**
 * Every error case of XEP-0060's sections in scope: who asks what, and the answer: error type, condition and the child in pubsub#errors
 * (with the feature, where that is told).
 */
type Who = 'owner' | 'other' | 'member' | 'outcast' | 'writer' | 'publisher' | 'admin';
type Case = [section: string, who: Who, request: string, error: string];

const set = (content: string): string => `set <pubsub xmlns='${NS}'>${content}</pubsub>`;
const get = (content: string): string => `get <pubsub xmlns='${NS}'>${content}</pubsub>`;
const ownerSet = (content: string): string => `set <pubsub xmlns='${NS}#owner'>${content}</pubsub>`;
const ownerGet = (content: string): string => `get <pubsub xmlns='${NS}#owner'>${content}</pubsub>`;
const item = (inner = `<v xmlns='urn:x'/>`, attrs = ''): string => `<item${attrs}>${inner}</item>`;
const publish = (node: string, content: string): string => set(`<publish node='${node}'>${content}</publish>`);
const options = (values: Record<string, string>): string =>
  `<publish-options>${form('publish-options', values)}</publish-options>`;

const CASES: Case[] = [
  ['5.6 of a node that is not there', 'owner', get(`<subscriptions node='none'/>`), 'cancel item-not-found'],
  ['5.7 of a node that is not there', 'owner', get(`<affiliations node='none'/>`), 'cancel item-not-found'],

  [
    '6.1.3.1 JIDs do not match',
    'other',
    set(`<subscribe node='open' jid='owner@localhost'/>`),
    'modify bad-request invalid-jid',
  ],
  [
    '6.1.3.1 malformed JID',
    'other',
    set(`<subscribe node='open' jid='@localhost'/>`),
    'modify bad-request invalid-jid',
  ],
  ['6.1.1 no JID', 'other', set(`<subscribe node='open'/>`), 'modify bad-request jid-required'],
  ['6.1.1 no node', 'other', set(`<subscribe jid='other@localhost'/>`), 'modify bad-request nodeid-required'],
  [
    '6.1.3.4 not on whitelist',
    'other',
    set(`<subscribe node='closed' jid='other@localhost'/>`),
    'cancel not-allowed closed-node',
  ],
  [
    '6.1.3.7 subscription pending',
    'other',
    set(`<subscribe node='asking' jid='other@localhost'/>`),
    'auth not-authorized pending-subscription',
  ],
  ['6.1.3.8 blocked', 'outcast', set(`<subscribe node='open' jid='outcast@localhost'/>`), 'auth forbidden'],
  ['6.1.3.8 publish-only', 'writer', set(`<subscribe node='open' jid='writer@localhost'/>`), 'auth forbidden'],
  [
    '6.1.3.10 not supported by the node',
    'other',
    set(`<subscribe node='deaf' jid='other@localhost'/>`),
    'cancel feature-not-implemented unsupported:subscribe',
  ],
  ['6.1.3.12 no such node', 'other', set(`<subscribe node='none' jid='other@localhost'/>`), 'cancel item-not-found'],
  [
    '6.3.7 options name a node',
    'other',
    set(`<subscribe node='open' jid='other@localhost'/><options node='open'/>`),
    'modify bad-request',
  ],
  [
    '6.3.6.2 subscribe with invalid options',
    'other',
    set(
      `<subscribe node='open' jid='other@localhost'/><options>${form('subscribe_options', { deliver: 'x' })}</options>`,
    ),
    'modify bad-request invalid-options',
  ],

  [
    '6.2.3.2 no such subscriber',
    'other',
    set(`<unsubscribe node='open' jid='other@localhost'/>`),
    'cancel unexpected-request not-subscribed',
  ],
  [
    '6.2.3.3 insufficient privileges',
    'other',
    set(`<unsubscribe node='open' jid='member@localhost'/>`),
    'auth forbidden',
  ],
  ['6.2.3.4 no such node', 'other', set(`<unsubscribe node='none' jid='other@localhost'/>`), 'cancel item-not-found'],
  [
    '6.2.3.5 bad subid',
    'member',
    set(`<unsubscribe node='open' jid='member@localhost' subid='x'/>`),
    'modify not-acceptable invalid-subid',
  ],
  ['6.2 no JID', 'member', set(`<unsubscribe node='open'/>`), 'modify bad-request jid-required'],

  ['6.3.4.1 insufficient privileges', 'other', get(`<options node='open' jid='member@localhost'/>`), 'auth forbidden'],
  [
    '6.3.4.2 no such subscriber',
    'other',
    get(`<options node='open' jid='other@localhost'/>`),
    'modify unexpected-request not-subscribed',
  ],
  ['6.3.4.3 subscriber JID required', 'other', get(`<options node='open'/>`), 'modify bad-request jid-required'],
  [
    '6.3.4.5 invalid subid',
    'member',
    get(`<options node='open' jid='member@localhost' subid='x'/>`),
    'modify not-acceptable invalid-subid',
  ],
  ['6.3.4.7 no such node', 'other', get(`<options node='none' jid='other@localhost'/>`), 'cancel item-not-found'],
  [
    '6.3.6.2 invalid options',
    'member',
    set(`<options node='open' jid='member@localhost'>${form('subscribe_options', { deliver: 'x' })}</options>`),
    'modify bad-request invalid-options',
  ],
  [
    '6.3.5 no form',
    'member',
    set(`<options node='open' jid='member@localhost'/>`),
    'modify bad-request invalid-options',
  ],
  ['6.4 default options of no such node', 'other', get(`<default node='none'/>`), 'cancel item-not-found'],

  ['6.5.9.2 invalid subid', 'member', get(`<items node='open' subid='x'/>`), 'modify not-acceptable invalid-subid'],
  ['6.5.9.3 not subscribed', 'publisher', get(`<items node='asking'/>`), 'auth not-authorized not-subscribed'],
  ['6.5.9.3 pending', 'other', get(`<items node='asking'/>`), 'auth not-authorized not-subscribed'],
  [
    '6.5.9.4 persistent items not supported',
    'other',
    get(`<items node='bell'/>`),
    'cancel feature-not-implemented unsupported:persistent-items',
  ],
  ['6.5.9.8 not on whitelist', 'other', get(`<items node='closed'/>`), 'cancel not-allowed closed-node'],
  ['6.5.9.10 blocked', 'outcast', get(`<items node='open'/>`), 'auth forbidden'],
  ['6.5.9.10 publish-only', 'writer', get(`<items node='open'/>`), 'auth forbidden'],
  ['6.5.9.11 no such node', 'other', get(`<items node='none'/>`), 'cancel item-not-found'],
  ['6.5 no node', 'other', get(`<items/>`), 'modify bad-request nodeid-required'],
  ['6.5.7 max_items is no positive number', 'other', get(`<items node='open' max_items='0'/>`), 'modify bad-request'],
  ['6.5.6 an item without id', 'other', get(`<items node='open'><item/></items>`), 'modify bad-request'],
  [
    'XEP-0059 2.4 no such page',
    'other',
    get(`<items node='open'/><set xmlns='http://jabber.org/protocol/rsm'><after>x</after></set>`),
    'cancel item-not-found',
  ],
  [
    'XEP-0059 2.6 by index',
    'other',
    get(`<items node='open'/><set xmlns='http://jabber.org/protocol/rsm'><index>1</index></set>`),
    'cancel feature-not-implemented',
  ],
  [
    'XEP-0059 malformed',
    'other',
    get(`<items node='open'/><set xmlns='http://jabber.org/protocol/rsm'><max>x</max></set>`),
    'modify bad-request',
  ],

  ['7.1.3.1 insufficient privileges', 'other', publish('open', item()), 'auth forbidden'],
  ['7.1.3.1 member', 'member', publish('open', item()), 'auth forbidden'],
  ['7.1.3.1 outcast where anyone may', 'outcast', publish('free', item()), 'auth forbidden'],
  ['7.1.3.1 not subscribed where subscribers may', 'other', publish('club', item()), 'auth forbidden'],
  ['7.1.3.4 node is full', 'owner', publish('full', item()), 'cancel conflict node-full'],
  [
    '7.1.3.5 payload too big',
    'owner',
    publish('small', item(`<v xmlns='urn:x'>${'x'.repeat(100)}</v>`)),
    'modify not-acceptable payload-too-big',
  ],
  [
    '7.1.3.6 two payloads',
    'owner',
    publish('open', item(`<v xmlns='urn:x'/><v xmlns='urn:x'/>`)),
    'modify bad-request invalid-payload',
  ],
  ['7.1.3.6 text for a payload', 'owner', publish('open', item(`21.5`)), 'modify bad-request invalid-payload'],
  ['7.1.3.6 another namespace', 'owner', publish('typed', item()), 'modify bad-request invalid-payload'],
  ['7.1.3.7 persistent, no item', 'owner', publish('open', ''), 'modify bad-request item-required'],
  ['7.1.3.7 payload node, no payload', 'owner', publish('open', item('')), 'modify bad-request payload-required'],
  ['7.1.3.7 transient payload node, no item', 'owner', publish('transient', ''), 'modify bad-request payload-required'],
  ['7.1.3.7 transient notification node, item', 'owner', publish('bell', item()), 'modify bad-request item-forbidden'],
  ['7.1.1 two items', 'owner', publish('open', item() + item()), 'modify bad-request'],
  ['7.1.1 no node', 'owner', set(`<publish>${item()}</publish>`), 'modify bad-request nodeid-required'],
  [
    '7.1.5 precondition not met',
    'owner',
    set(`<publish node='open'>${item()}</publish>${options({ access_model: 'whitelist' })}`),
    'cancel conflict precondition-not-met',
  ],
  [
    '7.1.5 unknown precondition',
    'owner',
    set(`<publish node='open'>${item()}</publish>${options({ sparkle: '1' })}`),
    'cancel conflict precondition-not-met',
  ],
  [
    '7.1.5 unknown precondition of no such node',
    'owner',
    set(`<publish node='none'>${item()}</publish>${options({ sparkle: '1' })}`),
    'cancel conflict precondition-not-met',
  ],
  ['7.1.5 no form', 'owner', set(`<publish node='open'>${item()}</publish><publish-options/>`), 'modify bad-request'],
  [
    '7.1.5 another form',
    'owner',
    set(`<publish node='open'>${item()}</publish><publish-options>${form('node_config', {})}</publish-options>`),
    'modify bad-request',
  ],
  [
    'an item id beyond bounds',
    'owner',
    publish('open', item(undefined, ` id='${'x'.repeat(1024)}'`)),
    'modify not-acceptable',
  ],
  ['an empty item id', 'owner', publish('open', item(undefined, ` id=''`)), 'modify not-acceptable'],

  ['7.2.3.1 insufficient privileges', 'other', set(`<retract node='open'><item id='1'/></retract>`), 'auth forbidden'],
  [
    "7.2.3.1 another publisher's item",
    'publisher',
    set(`<retract node='open'><item id='1'/></retract>`),
    'auth forbidden',
  ],
  [
    "7.2.3.1 another's item, publish-only",
    'writer',
    set(`<retract node='open'><item id='1'/></retract>`),
    'auth forbidden',
  ],
  ['7.2.3.2 no such node', 'owner', set(`<retract node='none'><item id='1'/></retract>`), 'cancel item-not-found'],
  ['7.2.3.2 no such item', 'owner', set(`<retract node='open'><item id='x'/></retract>`), 'cancel item-not-found'],
  [
    '12.11 one of several items is not there',
    'owner',
    set(`<retract node='open'><item id='1'/><item id='x'/></retract>`),
    'cancel item-not-found',
  ],
  ['7.2.3.3 no node', 'owner', set(`<retract><item id='1'/></retract>`), 'modify bad-request nodeid-required'],
  ['7.2.3.4 no item', 'owner', set(`<retract node='open'/>`), 'modify bad-request item-required'],
  ['7.2.3.4 no item id', 'owner', set(`<retract node='open'><item/></retract>`), 'modify bad-request item-required'],
  [
    '7.2.3.5 persistent items not supported',
    'owner',
    set(`<retract node='transient'><item id='1'/></retract>`),
    'cancel feature-not-implemented unsupported:persistent-items',
  ],

  ['8.1.1 NodeID exists', 'other', set(`<create node='open'/>`), 'cancel conflict'],
  [
    '8.1.2 unsupported access model',
    'owner',
    set(`<create node='new'/><configure>${form('node_config', { access_model: 'presence' })}</configure>`),
    'modify not-acceptable unsupported-access-model',
  ],
  [
    '8.1.2 unsupported access model',
    'owner',
    set(`<create node='new'/><configure>${form('node_config', { access_model: 'roster' })}</configure>`),
    'modify not-acceptable unsupported-access-model',
  ],
  [
    '8.1.3 configure names a node',
    'owner',
    set(`<create node='new'/><configure node='new'>${form('node_config', {})}</configure>`),
    'modify bad-request',
  ],
  [
    '8.1.3 configure without create',
    'owner',
    set(`<configure>${form('node_config', {})}</configure>`),
    'modify bad-request',
  ],
  ['8.1.3 configure before create', 'owner', set(`<configure/><create node='new'/>`), 'modify bad-request'],
  [
    '8.1.3 another form',
    'owner',
    set(`<create node='new'/><configure>${form('subscribe_options', {})}</configure>`),
    'modify bad-request',
  ],
  [
    'XEP-0248 collections',
    'owner',
    set(`<create node='new' type='collection'/>`),
    'cancel feature-not-implemented unsupported:collections',
  ],
  [
    'XEP-0248 collections',
    'owner',
    set(`<create node='new'/><configure>${form('node_config', { node_type: 'collection' })}</configure>`),
    'cancel feature-not-implemented unsupported:collections',
  ],
  ['4.6.2 a NodeID that is not prepared', 'owner', set(`<create node='e&#x301;'/>`), 'modify not-acceptable'],
  ['4.6.2 a NodeID beyond bounds', 'owner', set(`<create node='${'x'.repeat(1024)}'/>`), 'modify not-acceptable'],

  ...(['get', 'set'] as const).flatMap((type): Case[] => {
    const request = (attrs: string): string =>
      type === 'get'
        ? ownerGet(`<configure${attrs}/>`)
        : ownerSet(`<configure${attrs}>${form('node_config', { title: 'x' })}</configure>`);
    return [
      [`8.2.3.2 ${type} insufficient privileges`, 'publisher', request(` node='open'`), 'auth forbidden'],
      [`8.2.3.3 ${type} no node`, 'owner', request(''), 'modify bad-request nodeid-required'],
      [`8.2.3.5 ${type} no such node`, 'owner', request(` node='none'`), 'cancel item-not-found'],
    ];
  }),
  ['8.2.4 no form', 'owner', ownerSet(`<configure node='open'/>`), 'modify bad-request'],
  [
    '8.2.4 another form',
    'owner',
    ownerSet(`<configure node='open'>${form('publish-options', {})}</configure>`),
    'modify bad-request',
  ],
  ...(
    [
      ['max_items', '0'],
      ['max_items', '100001'],
      ['max_items', 'many'],
      ['item_expire', '-1'],
      ['persist_items', 'maybe'],
      ['publish_model', 'everybody'],
      ['max_payload_size', '65537'],
      ['send_last_published_item', 'always'],
      ['notification_type', 'chat'],
      ['contact', '@'],
    ] as const
  ).map(([name, value]): Case => {
    const request = ownerSet(`<configure node='open'>${form('node_config', { [name]: value })}</configure>`);
    return [`8.2.5.2 ${name}=${value}`, 'owner', request, 'modify not-acceptable'];
  }),
  [
    '8.2.5.2 unsupported access model',
    'owner',
    ownerSet(`<configure node='open'>${form('node_config', { access_model: 'roster' })}</configure>`),
    'modify not-acceptable unsupported-access-model',
  ],
  [
    '8.3.2 default of collections',
    'owner',
    ownerGet(`<default type='collection'/>`),
    'cancel feature-not-implemented unsupported:collections',
  ],

  ['8.4.3.1 insufficient privileges', 'publisher', ownerSet(`<delete node='open'/>`), 'auth forbidden'],
  ['8.4.3.2 no such node', 'owner', ownerSet(`<delete node='none'/>`), 'cancel item-not-found'],
  ['8.4 no node', 'owner', ownerSet(`<delete/>`), 'modify bad-request nodeid-required'],

  ['8.5.3.2 insufficient privileges', 'publisher', ownerSet(`<purge node='open'/>`), 'auth forbidden'],
  [
    '8.5.3.3 node does not persist items',
    'owner',
    ownerSet(`<purge node='transient'/>`),
    'cancel feature-not-implemented unsupported:persistent-items',
  ],
  ['8.5.3.4 no such node', 'owner', ownerSet(`<purge node='none'/>`), 'cancel item-not-found'],

  ...(['subscriptions', 'affiliations'] as const).flatMap((list): Case[] => [
    [`8.8, 8.9 get ${list}: not an owner`, 'member', ownerGet(`<${list} node='open'/>`), 'auth forbidden'],
    [`8.8, 8.9 set ${list}: not an owner`, 'member', ownerSet(`<${list} node='open'/>`), 'auth forbidden'],
    [`8.8, 8.9 get ${list}: no such node`, 'owner', ownerGet(`<${list} node='none'/>`), 'cancel item-not-found'],
    [`8.8, 8.9 set ${list}: no such node`, 'owner', ownerSet(`<${list} node='none'/>`), 'cancel item-not-found'],
    [`8.8, 8.9 get ${list}: no node`, 'owner', ownerGet(`<${list}/>`), 'modify bad-request nodeid-required'],
  ]),
  [
    '8.9.2.4 one entity twice',
    'owner',
    ownerSet(
      `<affiliations node='open'><affiliation jid='x@localhost/a' affiliation='member'/><affiliation jid='x@localhost' affiliation='owner'/></affiliations>`,
    ),
    'modify bad-request',
  ],

  [
    'a child that is not known',
    'owner',
    set(`<frobnicate node='open'/>`),
    'cancel feature-not-implemented unsupported:frobnicate',
  ],
  [
    'an owner child that is not known',
    'owner',
    ownerSet(`<associate node='open'/>`),
    'cancel feature-not-implemented unsupported:associate',
  ],
  ['a known child of the wrong type', 'owner', get(`<publish node='open'>${item()}</publish>`), 'modify bad-request'],
  [
    'a child of the other namespace',
    'owner',
    ownerSet(`<create node='new'/>`),
    'cancel feature-not-implemented unsupported:create',
  ],
  ['nothing at all', 'owner', set(''), 'modify bad-request'],
  ['another payload', 'owner', `get <query xmlns='jabber:iq:version'/>`, 'cancel service-unavailable'],
  [
    'disco#info of no such node',
    'owner',
    `get <query xmlns='http://jabber.org/protocol/disco#info' node='none'/>`,
    'cancel item-not-found',
  ],
  [
    'disco#items of no such node',
    'owner',
    `get <query xmlns='http://jabber.org/protocol/disco#items' node='none'/>`,
    'cancel item-not-found',
  ],
  [
    'disco#items of a closed node',
    'other',
    `get <query xmlns='http://jabber.org/protocol/disco#items' node='closed'/>`,
    'cancel not-allowed closed-node',
  ],
];

describe('each error case answers with the condition of the XEP', () => {
  const clients = {} as Record<Who, Client>;

  beforeAll(async () => {
    const world = new World();
    for (const who of ['owner', 'other', 'member', 'outcast', 'writer', 'publisher', 'admin'] as const) {
      clients[who] = await world.login(`${who}@localhost/r`);
    }
    const { owner } = clients;
    await owner.create('open');
    await owner.create('closed', { access_model: 'whitelist' });
    await owner.create('asking', { access_model: 'authorize' });
    await owner.create('free', { publish_model: 'open' });
    await owner.create('club', { publish_model: 'subscribers' });
    await owner.create('deaf', { subscribe: '0' });
    await owner.create('small', { max_payload_size: '64' });
    await owner.create('typed', { type: 'urn:y' });
    await owner.create('full', { publish_node_full: 'reject', max_items: '1' });
    await owner.create('transient', { persist_items: '0' });
    await owner.create('bell', { persist_items: '0', deliver_payloads: '0' });
    for (const node of ['open', 'free', 'closed']) {
      const entries = [
        ['outcast', 'outcast'],
        ['writer', 'publish-only'],
        ['publisher', 'publisher'],
        ['member', 'member'],
      ].map(([who, affiliation]) => `<affiliation jid='${who}@localhost' affiliation='${affiliation}'/>`);
      await owner.own('set', `<affiliations node='${node}'>${entries.join('')}</affiliations>`);
    }
    await clients.member.subscribe('open');
    await clients.other.subscribe('asking');
    await owner.publish('open', '1');
    await owner.publish('full', '1');
  });

  it.each(CASES)('%s (%s)', async (_section, who, request, expected) => {
    const [type, xml] = [request.slice(0, 3) as 'get' | 'set', request.slice(4)];
    const error = await clients[who].iq(type, xml);
    expect(error).toBeInstanceOf(StanzaError);
    const { type: kind, condition, application } = error as StanzaError;
    const feature = application?.attr('feature');
    const detail = application === undefined ? '' : ` ${application.name}${feature === undefined ? '' : `:${feature}`}`;
    expect(`${kind} ${condition}${detail}`).toBe(expected);
    expect(application?.ns ?? `${NS}#errors`).toBe(`${NS}#errors`);
  });
});

describe('service policy', () => {
  it('lets only administrators create nodes where it is so configured', async () => {
    const world = new World({ change: (config) => (config.pubsub.create = 'admins') });
    const user = await world.login('user@localhost/r');
    const admin = await world.login('admin@localhost/r');
    const refused = await user.iq('set', `<pubsub xmlns='${NS}'><create node='a'/></pubsub>`);
    expect(refused).toMatchObject({ condition: 'forbidden', type: 'auth' });
    const publishing = await user.iq('set', `<pubsub xmlns='${NS}'><publish node='a'>${item()}</publish></pubsub>`);
    expect(publishing).toMatchObject({ condition: 'item-not-found' });
    await admin.create('a');
  });

  it('limits how many nodes an account may create, unless limits are off', async () => {
    const world = new World({ change: (config) => (config.limits.nodes_per_owner = 2) });
    const user = await world.login('user@localhost/r');
    await user.create('a');
    await user.create('b');
    const refused = (await user.iq('set', `<pubsub xmlns='${NS}'><create node='c'/></pubsub>`)) as StanzaError;
    expect(refused.condition).toBe('not-allowed');
    expect(refused.application!.name).toBe('max-nodes-exceeded');
    const free = new World({
      change: (config) => {
        config.limits.enabled = false;
        config.limits.nodes_per_owner = 1;
        config.limits.items_per_node = 1;
      },
    });
    const other = await free.login('user@localhost/r');
    await other.create('a');
    await other.create('b', { max_items: '5' });
  });

  it('limits the subscriptions of an account, also those that owners make (§6.1.3.9), unless limits are off', async () => {
    for (const enabled of [true, false]) {
      const world = new World({
        change: ({ limits }) => {
          limits.enabled = enabled;
          limits.subscriptions_per_account = 2;
        },
      });
      const user = await world.login('user@localhost/r');
      for (const node of ['a', 'b', 'c']) await user.create(node);
      await user.subscribe('a');
      await user.subscribe('a', 'user@localhost/r');
      await user.subscribe('a');
      const subscribe = `<pubsub xmlns='${NS}'><subscribe node='c' jid='user@localhost'/></pubsub>`;
      const subscribed = `<subscription jid='user@localhost' subscription='subscribed'/>`;
      const answers = [
        await user.iq('set', subscribe),
        await user.iq(
          'set',
          `<pubsub xmlns='${NS}#owner'><subscriptions node='b'>${subscribed}</subscriptions></pubsub>`,
        ),
      ].map((answer) =>
        answer instanceof StanzaError ? [answer.type, answer.condition, answer.application?.name] : undefined,
      );
      const refused = [
        ['wait', 'policy-violation', 'too-many-subscriptions'],
        ['modify', 'not-acceptable', undefined],
      ];
      expect(answers).toEqual(enabled ? refused : [undefined, undefined]);
      await user.set(`<unsubscribe node='a' jid='user@localhost/r'/>`);
      await user.subscribe('c');
    }
  });

  it('limits how many are affiliated with a node', async () => {
    const world = new World({ change: ({ limits }) => (limits.affiliations_per_node = 2) });
    const owner = await world.login('owner@localhost/r');
    await owner.create('a');
    const change = (list: string): Promise<unknown> =>
      owner.iq('set', `<pubsub xmlns='${NS}#owner'><affiliations node='a'>${list}</affiliations></pubsub>`);
    const member = (user: string, affiliation = 'member'): string =>
      `<affiliation jid='${user}@localhost' affiliation='${affiliation}'/>`;
    const refused = (await change(member('one') + member('two'))) as StanzaError;
    expect([
      refused.condition,
      refused
        .payload!.child('affiliations')!
        .elements()
        .map((e) => e.attr('jid')),
    ]).toEqual(['not-acceptable', ['two@localhost']]);
    expect(await change(member('one', 'publisher'))).toBeUndefined();
    expect(await change(member('one', 'none'))).toBeUndefined();
    expect(await change(member('two'))).toBeUndefined();
  });

  it('lets administrators do what owners may', async () => {
    const world = new World();
    const owner = await world.login('owner@localhost/r');
    const admin = await world.login('admin@localhost/r');
    await owner.create('a', { access_model: 'whitelist' });
    await admin.own('set', `<configure node='a'>${form('node_config', { title: 'x' })}</configure>`);
    await admin.publish('a', '1');
    await admin.set(`<subscribe node='a' jid='owner@localhost'/>`);
    await admin.own('set', `<delete node='a'/>`);
  });
});

describe('a store that is away', () => {
  it('makes requests wait, each counted, and none of them fail for good', async () => {
    const store = new MemoryStore();
    const world = new World({ store });
    const owner = await world.login('owner@localhost/r');
    await owner.create('a');
    const away = () => Promise.reject(new StoreError('unavailable', 'Redis did not do it'));
    Object.assign(store.items, { publish: away, latest: away, page: away });
    Object.assign(store.nodes, { create: away, list: away });
    const before = counters.drops['store_unavailable'] ?? 0;
    const requests = [
      set(`<publish node='a'>${item()}</publish>`),
      set(`<create node='b'/>`),
      get(`<items node='a'/>`),
      `get <query xmlns='http://jabber.org/protocol/disco#items'/>`,
      `get <query xmlns='http://jabber.org/protocol/disco#items' node='a'/>`,
    ].map((request) => owner.iq(request.slice(0, 3) as 'get' | 'set', request.slice(4)));
    for (const answer of await Promise.all(requests))
      expect(answer).toMatchObject({ condition: 'internal-server-error', type: 'wait' });
    expect(counters.drops['store_unavailable']).toBe(before + 5);
  });
});
