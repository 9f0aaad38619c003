import { afterAll, beforeAll, expect, it } from 'vitest';
import { NS } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { SERVICE, create, publish, pubsub, subscribe } from './support/pubsub.js';

let server: TestServer;

beforeAll(async () => {
  server = await startServer({ workers: 2 });
});
afterAll(() => server.stop());

it.each([
  ['user.remove', {}],
  ['user.passwd', { password: 'another' }],
])('%s ends the sessions of the account at every worker', async (operation, more) => {
  const user = operation.replace('.', '-');
  await server.addUsers(user);
  // Connections go to the workers in turns.
  const resources = ['1', '2', '3', '4'];
  const clients = await Promise.all(resources.map((resource) => server.client(user, { resource })));
  const ends = clients.map((client) => client.expectStreamError('not-authorized'));
  await server.control(operation, { user, ...more });
  expect(await Promise.all(ends)).toHaveLength(4);
});

it.each(['user remove', 'the account itself (XEP-0077 §3.2)'])(
  'whoever gets the name of an account that was removed by %s reads and owns nothing of it, and stays banned',
  async (by) => {
    const user = by.startsWith('user') ? 'former' : 'leaver';
    await server.addUsers(user, `${user}-other`);
    const other = await server.client(`${user}-other`, { available: true });
    const first = await server.client(user, { available: true });
    const [own, read, banned] = ['own', 'read', 'banned'].map((name) => `${name}-${user}`) as [string, string, string];
    await create(first, own);
    await create(other, read);
    await create(other, banned);
    await subscribe(first, read);
    const outcast = `<affiliations node='${banned}'><affiliation jid='${first.bareJid}' affiliation='outcast'/></affiliations>`;
    await other.request('set', pubsub(outcast, NS.pubsubOwner), SERVICE);
    const publisher = `<affiliations node='${read}'><affiliation jid='${first.bareJid}' affiliation='publisher'/></affiliations>`;
    await other.request('set', pubsub(publisher, NS.pubsubOwner), SERVICE);
    if (by.startsWith('user')) await server.control('user.remove', { user });
    else first.send(`<iq type='set' id='bye'><query xmlns='jabber:iq:register'><remove/></query></iq>`);
    await first.closed;

    await server.addUsers(user);
    const second = await server.client(user, { available: true });
    const held = await second.request('get', pubsub('<affiliations/>'), SERVICE);
    const affiliations = held.get('pubsub', 'affiliations').elements('affiliation');
    expect(affiliations.map((one) => [one.attr('node'), one.attr('affiliation')])).toEqual([[banned, 'outcast']]);
    const list = await second.request('get', pubsub('<subscriptions/>'), SERVICE);
    expect(list.get('pubsub', 'subscriptions').elements('subscription')).toEqual([]);
    other.send(publish(read, '1'));
    expect((await other.expect({ name: 'iq', id: 'p1' })).attr('type')).toBe('result');
    await second.expectNothing({ name: 'message' });
    for (const node of [own, read]) {
      second.send(publish(node, '2'));
      expect((await second.expect({ name: 'iq', id: 'p2' })).get('error', 'forbidden').name).toBe('forbidden');
    }
    // The node is there for administrators.
    expect(await server.control('node.show', { name: own })).toMatchObject({ affiliations: {} });
    await Promise.all([other.close(), second.close()]);
  },
);
