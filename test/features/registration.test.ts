import { describe, expect, it } from 'vitest';
import { registration } from '../../src/features/register.js';
import { el, type Element } from '../../src/xml/element.js';
import { household, query, shown } from './harness.js';

const NS = 'jabber:iq:register';
const field = (name: string, text?: string) => el(name, NS, {}, text);
const wanted = (username?: string, password?: string) =>
  query(
    NS,
    {},
    ...(username === undefined ? [] : [field('username', username)]),
    ...(password === undefined ? [] : [field('password', password)]),
  );

async function open(change: Parameters<typeof household>[0] = () => {}) {
  const house = await household((config) => {
    config.registration = 'open';
    change(config);
  });
  const stranger = async (type: 'get' | 'set', payload: Element, address = '192.0.2.1') =>
    shown(await registration(house.config, house.accounts, type, payload, address));
  return { ...house, stranger };
}

describe('registration before authentication', () => {
  it('tells which fields are needed', async () => {
    const { stranger } = await open();
    expect(await stranger('get', query(NS))).toBe(
      `<query xmlns='${NS}'><instructions>Choose a username and password for use with this service.</instructions><username/><password/></query>`,
    );
  });

  it('makes an account that can log in', async () => {
    const { stranger, accounts } = await open();
    expect(await stranger('set', wanted('Bill', 'Calliope'))).toBe('empty result');
    expect(await accounts.verify('bill', 'Calliope')).toBe(true);
  });

  it('refuses a name that is taken, in any case', async () => {
    const { stranger, accounts } = await open();
    expect(await stranger('set', wanted('JULIET', 'other'))).toBe('conflict cancel');
    expect(await accounts.verify('juliet', 'r0m30')).toBe(true);
  });

  it.each([
    ['no username', wanted(undefined, 'p')],
    ['no password', wanted('bill')],
    ['an empty username', wanted('', 'p')],
    ['an empty password', wanted('bill', '')],
    ['an address for a username', wanted('bill@localhost', 'p')],
    ['a username with a space', wanted('b ill', 'p')],
    ['a password with a control', wanted('bill', 'a\u0009b')],
  ])('refuses %s as not acceptable', async (_, payload) => {
    const { stranger, accounts } = await open();
    expect(await stranger('set', payload)).toBe('not-acceptable modify');
    expect(await accounts.exists('bill')).toBe(false);
  });

  it('has nothing to remove yet', async () => {
    const { stranger } = await open();
    expect(await stranger('set', query(NS, {}, field('remove')))).toBe('unexpected-request wait');
  });

  it('is unavailable where registration is closed', async () => {
    const { config, accounts } = await household();
    for (const type of ['get', 'set'] as const) {
      expect(shown(await registration(config, accounts, type, wanted('bill', 'p'), '192.0.2.1'))).toBe(
        'service-unavailable cancel',
      );
    }
    expect(await accounts.exists('bill')).toBe(false);
  });

  it('is limited per address and hour, unless limits are lifted', async () => {
    const few = await open((config) => {
      config.limits.registrations_per_hour = 1;
    });
    expect(await few.stranger('set', wanted('a1', 'p'))).toBe('empty result');
    expect(await few.stranger('set', wanted('a2', 'p'))).toBe('not-acceptable wait');
    expect(await few.stranger('set', wanted('a2', 'p'), '192.0.2.2')).toBe('empty result');
    const free = await open((config) => {
      config.limits.registrations_per_hour = 1;
      config.limits.enabled = false;
    });
    expect(await free.stranger('set', wanted('a1', 'p'))).toBe('empty result');
    expect(await free.stranger('set', wanted('a2', 'p'))).toBe('empty result');
  });

  it('asks to try later while the store fails', async () => {
    const { stranger, store } = await open();
    store.failing = true;
    expect(await stranger('set', wanted('bill', 'p'))).toBe('resource-constraint wait');
  });
});

describe('registration of those who are logged in', () => {
  it('tells what is on file, but not the password', async () => {
    const { ask } = await household();
    expect(await ask('server', 'get', query(NS))).toBe(
      `<query xmlns='${NS}'><registered/><username>juliet</username><password/></query>`,
    );
  });

  it.each(['server', 'account'] as const)('changes the password, asked through the %s', async (target) => {
    const { ask, accounts } = await household();
    expect(await ask(target, 'set', wanted('Juliet', 'newpass'))).toBe('empty result');
    expect(await accounts.verify('juliet', 'newpass')).toBe(true);
    expect(await accounts.verify('juliet', 'r0m30')).toBe(false);
  });

  it.each([
    ['an empty password', wanted('juliet', ''), 'bad-request modify'],
    ['no username', wanted(undefined, 'p'), 'bad-request modify'],
    ['nothing', query(NS), 'bad-request modify'],
    ["another's name", wanted('romeo', 'p'), 'not-allowed cancel'],
    ['a password with a control', wanted('juliet', 'a\u0000b'), 'not-acceptable modify'],
  ])('does not change it to %s', async (_, payload, error) => {
    const { ask, accounts } = await household();
    expect(await ask('server', 'set', payload)).toBe(error);
    expect(await accounts.verify('juliet', 'r0m30')).toBe(true);
    expect(await accounts.exists('romeo')).toBe(false);
  });

  it('knows when the account is gone', async () => {
    const { ask, accounts } = await household();
    await accounts.remove('juliet');
    expect(await ask('server', 'set', wanted('juliet', 'p'))).toBe('registration-required auth');
    expect(await ask('server', 'set', query(NS, {}, field('remove')))).toBe('registration-required auth');
  });

  it('removes the account and ends its sessions everywhere, after the result', async () => {
    const { ask, accounts, client } = await household();
    expect(await ask('account', 'set', query(NS, {}, field('remove')))).toBe('empty result');
    expect(client.log).toEqual([]);
    await client.ended;
    expect(await accounts.exists('juliet')).toBe(false);
    expect(client.log).toEqual([
      'kick 2 {"full":"juliet@localhost/garden","id":"2.x","text":"the account was removed","condition":"not-authorized"}',
      'kick 2 {"full":"juliet@localhost/silent","id":"2.y","text":"the account was removed","condition":"not-authorized"}',
      'not-authorized: the account was removed',
    ]);
  });

  it('does not remove it when something else stands beside', async () => {
    const { ask, accounts } = await household();
    expect(await ask('server', 'set', query(NS, {}, field('remove'), field('username', 'juliet')))).toBe(
      'bad-request modify',
    );
    expect(await accounts.exists('juliet')).toBe(true);
  });

  it('asks to try later while the store fails', async () => {
    const { ask, store } = await household();
    store.failing = true;
    expect(await ask('server', 'set', wanted('juliet', 'p'))).toBe('resource-constraint wait');
    expect(await ask('server', 'set', query(NS, {}, field('remove')))).toBe('resource-constraint wait');
  });
});
