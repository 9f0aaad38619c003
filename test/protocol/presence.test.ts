import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errorOf, RawClient } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { apart } from './support/workers.js';

let server: TestServer;
/** Available all the time, at home. */
let romeo: RawClient;
const opened: RawClient[] = [];

beforeAll(async () => {
  server = await startServer();
  await server.addUsers('juliet');
  romeo = await server.client('romeo', { resource: 'home', available: true });
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((client) => client.close()));
  await romeo.ping();
  romeo.unread.length = 0;
});
afterAll(() => server.stop());

async function juliet(resource: string): Promise<RawClient> {
  const client = await RawClient.login(server, { user: 'juliet', resource });
  opened.push(client);
  return client;
}
const presence = (from: RawClient, more: object = {}) => ({ name: 'presence', from: from.jid, ...more });

describe('presence without an address (RFC 6121 §4.2, §4.4, §4.5)', () => {
  it('is shown to oneself as it was sent (§4.2.2)', async () => {
    const balcony = await juliet('balcony');
    balcony.send(`<presence id='p'><show>dnd</show><status>Wooing</status><priority>3</priority></presence>`);
    const echo = await balcony.expect('presence');
    expect(echo.attrs).toEqual({ id: 'p', from: balcony.jid, to: 'juliet@localhost' });
    expect(echo.names()).toEqual(['show', 'status', 'priority']);
  });

  it('brings the account’s other resources together, in both directions', async () => {
    const balcony = await juliet('balcony');
    await balcony.sendPresence('<status>first</status>');
    const chamber = await juliet('chamber');
    chamber.send('<presence><status>second</status></presence>');
    expect((await chamber.expect(presence(balcony))).get('status').text()).toBe('first');
    expect((await balcony.expect(presence(chamber))).get('status').text()).toBe('second');
    await chamber.close();
    await balcony.expect(presence(chamber, { type: 'unavailable' }));
  });

  it('shows a later resource the latest presence, and not that of who became unavailable', async () => {
    const balcony = await juliet('balcony');
    const garden = await juliet('garden');
    await garden.sendPresence();
    garden.send(`<presence type='unavailable'/>`);
    await garden.ping();
    await balcony.sendPresence('<show>away</show>');
    await balcony.sendPresence('<show>chat</show>');
    const chamber = await juliet('chamber');
    await chamber.sendPresence();
    expect((await chamber.expect(presence(balcony))).get('show').text()).toBe('chat');
    await chamber.expect(presence(chamber));
    await chamber.expectNothing('presence');
  });

  it('changes the priority each time it is sent', async () => {
    const balcony = await juliet('balcony');
    const chamber = await juliet('chamber');
    await balcony.sendPresence('<priority>1</priority>');
    await chamber.sendPresence('<priority>2</priority>');
    romeo.send(`<message id='1' to='juliet@localhost'/>`);
    await chamber.message({ id: '1' });
    await chamber.sendPresence();
    romeo.send(`<message id='2' to='juliet@localhost'/>`);
    await balcony.message({ id: '2' });
    await chamber.expectNothing('message');
  });

  it.each([
    ['no number', 'high'],
    ['nothing', ''],
  ])('counts a priority that is %s as zero', async (_, priority) => {
    const balcony = await juliet('balcony');
    await balcony.sendPresence(`<priority>${priority}</priority>`);
    romeo.send(`<message id='z' to='juliet@localhost'/>`);
    await balcony.message({ id: 'z' });
  });

  it('unavailable ends delivery to the bare address, not to the full one', async () => {
    const balcony = await juliet('balcony');
    await balcony.sendPresence();
    balcony.send(`<presence type='unavailable'><status>Gone</status></presence>`);
    await balcony.ping();
    expect((await balcony.expect({ name: 'presence', type: 'unavailable' })).get('status').text()).toBe('Gone');
    romeo.send(`<message id='u1' to='juliet@localhost'/><message id='u2' to='${balcony.jid}'/>`);
    expect(errorOf(await romeo.message({ id: 'u1' })).condition).toBe('service-unavailable');
    await balcony.message({ id: 'u2' });
  });

  it('is nobody else’s business', async () => {
    const balcony = await juliet('balcony');
    await balcony.sendPresence();
    balcony.send(`<presence type='unavailable'/>`);
    await balcony.ping();
    await romeo.expectNothing(presence(balcony));
  });

  it.each(['subscribe', 'subscribed', 'unsubscribe', 'unsubscribed', 'probe', 'sunny'])(
    'of type %s makes no sense',
    async (type) => {
      const balcony = await juliet('balcony');
      balcony.send(`<presence id='x' type='${type}'/>`);
      expect(errorOf(await balcony.expect({ name: 'presence', id: 'x' })).condition).toBe('bad-request');
    },
  );
});

describe('directed presence (RFC 6121 §4.6)', () => {
  it.each([
    ['full', 'romeo@localhost/home'],
    ['bare', 'romeo@localhost'],
  ])('arrives at a %s address as it was sent', async (_, to) => {
    const balcony = await juliet('balcony');
    balcony.send(`<presence to='${to}' id='d'><show>xa</show></presence>`);
    const got = await romeo.expect(presence(balcony));
    expect(got.attrs).toEqual({ id: 'd', from: balcony.jid, to });
    expect(got.get('show').text()).toBe('xa');
    balcony.send(`<presence to='${to}' type='unavailable'/>`);
    await romeo.expect(presence(balcony, { type: 'unavailable' }));
  });

  it('for an account is for its available resources alone', async () => {
    const silent = await RawClient.login(server, { user: 'romeo', resource: 'silent' });
    const balcony = await juliet('balcony');
    balcony.send(`<presence to='romeo@localhost'/>`);
    await romeo.expect(presence(balcony));
    await silent.expectNothing(presence(balcony));
    await silent.close();
  });

  it('leaves the sender as available for others as it was', async () => {
    const balcony = await juliet('balcony');
    balcony.send(`<presence to='${romeo.jid}'/>`);
    await romeo.expect(presence(balcony));
    romeo.send(`<message id='b' to='juliet@localhost'/>`);
    expect(errorOf(await romeo.message({ id: 'b' })).condition).toBe('service-unavailable');
  });

  it.each<[string, (client: RawClient) => unknown]>([
    ['sends unavailable presence', (client) => client.send(`<presence type='unavailable'/>`)],
    ['closes its stream', (client) => client.close()],
    ['closes its connection', (client) => client.socket.end()],
    ['is cut', (client) => client.cut()],
    ['breaks its stream', (client) => client.write('<a></b>')],
    ['loses its resource', () => juliet('balcony')],
  ])('ends when the sender %s (§4.6.3)', async (_, leave) => {
    for (const initial of [true, false]) {
      const balcony = await RawClient.login(server, { user: 'juliet', resource: 'balcony' });
      if (initial) await balcony.sendPresence();
      balcony.send(`<presence to='${romeo.jid}'/>`);
      await romeo.expect(presence(balcony));
      await leave(balcony);
      const end = await romeo.expect(presence(balcony, { type: 'unavailable' }));
      expect(end.attr('to')).toBe(romeo.jid);
      balcony.cut();
    }
  });

  it('ends once: not again for whom it was withdrawn from', async () => {
    const balcony = await juliet('balcony');
    balcony.send(`<presence to='${romeo.jid}'/><presence to='${romeo.jid}' type='unavailable'/>`);
    await romeo.expect(presence(balcony, { type: 'unavailable' }));
    romeo.unread.length = 0;
    balcony.send(`<presence type='unavailable'/>`);
    await balcony.close();
    await romeo.expectNothing(presence(balcony));
  });

  it('is for nobody where nobody is: no answer, no error (§8.5.1, §8.5.2.2.2, §8.5.3.2.2)', async () => {
    const balcony = await juliet('balcony');
    for (const to of [
      'nobody@localhost',
      'nobody@localhost/x',
      'romeo@localhost/gone',
      'localhost',
      'pubsub.localhost',
    ])
      balcony.send(`<presence to='${to}'/><presence to='${to}' type='unavailable'/>`);
    await balcony.expectNothing();
  });

  it.each(['subscribe', 'subscribed', 'unsubscribe', 'unsubscribed', 'probe'])(
    'of type %s is ignored in silence, whether the account exists or not (§8.5.1)',
    async (type) => {
      const balcony = await juliet('balcony');
      for (const to of ['nobody@localhost', 'romeo@localhost', romeo.jid, 'romeo@localhost/gone'])
        balcony.send(`<presence id='s' type='${type}' to='${to}'/>`);
      await balcony.expectNothing();
      await romeo.expectNothing(presence(balcony));
    },
  );

  it('is kept with so many, who hear of changes still; further ones are refused', async () => {
    const balcony = await juliet('balcony');
    balcony.send(`<presence to='${romeo.jid}'/>`);
    for (let i = 1; i < 1000; i++) balcony.send(`<presence to='nobody${i}@localhost/x'/>`);
    balcony.send(`<presence to='${romeo.jid}' id='change'><show>away</show></presence>`);
    balcony.send(`<presence to='nobody@localhost/x' id='more'/>`);
    expect(errorOf(await balcony.expect({ name: 'presence', type: 'error' })).condition).toBe('policy-violation');
    await romeo.expect(presence(balcony, { id: 'change' }));
    await balcony.expectNothing({ name: 'presence', type: 'error' });
  });

  it('of a type that does not exist comes back', async () => {
    const balcony = await juliet('balcony');
    balcony.send(`<presence id='n' type='sunny' to='${romeo.jid}'/>`);
    expect(errorOf(await balcony.expect({ name: 'presence', id: 'n' })).condition).toBe('bad-request');
  });

  it('errors about presence are passed on', async () => {
    const balcony = await juliet('balcony');
    balcony.send(`<presence id='e' type='error' to='${romeo.jid}'/>`);
    await romeo.expect(presence(balcony, { type: 'error' }));
  });
});

describe('two workers', () => {
  let pool: TestServer;
  beforeAll(async () => {
    pool = await startServer({ workers: 2 });
  });
  afterAll(() => pool.stop());

  it('bring an account’s resources together', async () => {
    const [one, two] = (await apart(pool, 'juliet', 'juliet')) as [RawClient, RawClient];
    one.send('<presence><status>one</status></presence>');
    await one.expect(presence(one));
    two.send('<presence><status>two</status></presence>');
    expect((await one.expect(presence(two))).get('status').text()).toBe('two');
    expect((await two.expect(presence(one))).get('status').text()).toBe('one');
    await two.close();
    await one.expect(presence(two, { type: 'unavailable' }));
    await one.close();
  });

  it('pass directed presence on, and its end', async () => {
    const [one, two] = (await apart(pool, 'juliet', 'romeo')) as [RawClient, RawClient];
    one.send(`<presence to='${two.jid}'/>`);
    await two.expect(presence(one));
    await one.close();
    await two.expect(presence(one, { type: 'unavailable' }));
    await two.close();
  });
});
