import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorOf, type RawClient } from '../support/client.js';
import { redisInstalled, RedisServer } from '../support/redis.js';
import { startServer, type ServerOptions, type TestServer } from '../support/server.js';

let redis: RedisServer;
let a: TestServer;
let b: TestServer;

function host(name: string, options: ServerOptions = {}): Promise<TestServer> {
  const set = {
    store: 'redis',
    'redis.url': redis.url,
    'redis.patience_seconds': 20,
    'cluster.host': name,
    'cluster.lease_seconds': 3,
    ...options.set,
  };
  return startServer({ ...options, set });
}

const prepare = async (set: Record<string, unknown> = {}, workers = 1): Promise<void> => {
  redis = await RedisServer.start();
  [a, b] = await Promise.all([host('a', { set, workers }), host('b', { set, workers })]);
};
const finish = async (): Promise<void> => {
  await Promise.all([a?.stop(), b?.stop()]);
  await redis?.stop();
};

const text = (id: string, to: string, more = ''): string =>
  `<message to='${to}' id='${id}' type='chat' ${more}><body>${id}</body></message>`;

/** Ids of the next messages with a body that come to the client. */
async function bodies(client: RawClient, count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) ids.push((await client.message()).get('body').text());
  return ids;
}

describe.skipIf(!redisInstalled)('sessions at two hosts', () => {
  beforeAll(() => prepare());
  afterAll(finish);

  test('get messages by their full JID and by the account, by priority', async () => {
    await a.addUsers('juliet', 'romeo');
    const romeo = await a.client('romeo');
    const home = await a.client('juliet', { resource: 'home' });
    const away = await b.client('juliet', { resource: 'away' });
    await home.sendPresence('<priority>1</priority>');
    await away.sendPresence('<priority>5</priority>');
    romeo.send(text('1', away.jid));
    romeo.send(text('2', 'juliet@localhost'));
    romeo.send(text('3', home.jid));
    expect(await bodies(away, 2)).toEqual(['1', '2']);
    expect(await bodies(home, 1)).toEqual(['3']);
    await home.sendPresence('<priority>7</priority>');
    romeo.send(text('4', 'juliet@localhost'));
    expect(await bodies(home, 1)).toEqual(['4']);
    await away.sendPresence('<priority>7</priority>');
    romeo.send(text('5', 'juliet@localhost'));
    expect([await bodies(home, 1), await bodies(away, 1)]).toEqual([['5'], ['5']]);
    romeo.send("<message to='juliet@localhost' type='headline' id='6'><body>6</body></message>");
    expect([await bodies(home, 1), await bodies(away, 1)]).toEqual([['6'], ['6']]);
    await Promise.all([away.close(), home.close()]);
    romeo.send(text('7', away.jid));
    await romeo.expect({ id: '7', type: 'error' });
    await romeo.close();
  });

  test('see the presence of the account’s other resources come, change and go', async () => {
    await a.addUsers('nurse');
    const first = await a.client('nurse', { resource: 'first' });
    await first.sendPresence('<status>here</status>');
    const second = await b.client('nurse', { resource: 'second', available: true });
    await first.expect({ name: 'presence', from: second.jid });
    const shown = await second.expect({ name: 'presence', from: first.jid });
    expect(shown.get('status').text()).toBe('here');
    await second.sendPresence('<show>away</show>');
    expect((await first.expect({ name: 'presence', from: second.jid })).get('show').text()).toBe('away');
    second.cut();
    await first.expect({ name: 'presence', type: 'unavailable', from: second.jid });
    await first.close();
  });

  test('ask and answer each other, where presence was shown', async () => {
    const asker = await a.client('asker');
    const answerer = await b.client('answerer');
    const query = `<iq to='${answerer.jid}' id='q' type='get'><query xmlns='jabber:iq:version'/></iq>`;
    asker.send(query);
    expect(errorOf(await asker.expect({ id: 'q', type: 'error' })).condition).toBe('service-unavailable');
    answerer.send(`<presence to='${asker.jid}'/>`);
    await asker.expect({ name: 'presence', from: answerer.jid });
    asker.send(query);
    await answerer.expect({ id: 'q', type: 'get', from: asker.jid });
    answerer.send(`<iq to='${asker.jid}' id='q' type='result'/>`);
    await asker.expect({ id: 'q', type: 'result', from: answerer.jid });
    await Promise.all([asker.close(), answerer.close()]);
  });

  test('are reached by the account as soon as they have seen their own presence', async () => {
    await a.addUsers('device');
    const peer = await a.client('peer');
    for (let round = 0; round < 40; round++) {
      const device = await b.client('device', { resource: `r${round % 3}`, available: true });
      peer.send(text(`${round}`, 'device@localhost'));
      expect(await bodies(device, 1)).toEqual([`${round}`]);
      await device.close();
    }
    await peer.expectNothing();
    await peer.close();
  });

  test('a resource that is taken at the other host goes to the later one', async () => {
    await a.addUsers('double');
    const peer = await a.client('peer');
    for (let round = 0; round < 10; round++) {
      const [from, to] = round % 2 === 0 ? [a, b] : [b, a];
      const older = await from.client('double', { resource: 'r' });
      const newer = await to.client('double', { resource: 'r' });
      peer.send(text(`${round}`, 'double@localhost/r'));
      expect(await bodies(newer, 1)).toEqual([`${round}`]);
      await older.expectStreamError('conflict');
      await newer.close();
    }
    await peer.expectNothing();
    await peer.close();
  });

  test('a resource that is taken at both at once goes to exactly one', async () => {
    await a.addUsers('race');
    const peer = await a.client('peer');
    for (let round = 0; round < 10; round++) {
      const rivals = await Promise.all(
        [a, b].map(async (server) => {
          const client = await server.client('race', { resource: `own${server === a ? 1 : 2}` });
          await client.close();
          return server;
        }),
      );
      const clients = await Promise.allSettled(rivals.map((server) => server.client('race', { resource: 'r' })));
      const bound = clients.flatMap((settled) => (settled.status === 'fulfilled' ? [settled.value] : []));
      peer.send(text(`${round}`, 'race@localhost/r'));
      const got = await Promise.race(
        bound.map((client) =>
          client.message({ body: String(round) }).then(
            () => client,
            () => new Promise<never>(() => {}),
          ),
        ),
      );
      for (const client of bound) if (client !== got) await client.closed;
      await got.close();
    }
    await peer.expectNothing();
    await peer.close();
  });

  test('end when their account is removed at the other host', async () => {
    await a.addUsers('gone');
    const clients = await Promise.all([a, b, b].map((server, i) => server.client('gone', { resource: `${i}` })));
    const ends = clients.map((client) => client.expectStreamError('not-authorized'));
    await a.control('user.remove', { user: 'gone' });
    expect(await Promise.all(ends)).toHaveLength(3);
  });

  test('get what one sender sends in its order, though each recipient has to be looked up', async () => {
    const users = Array.from({ length: 20 }, (_, i) => `reader${i}`);
    await a.addUsers(...users);
    const readers = await Promise.all(
      users.map((user, i) => (i % 2 === 0 ? b : a).client(user, { resource: 'r', available: true })),
    );
    const sender = await a.client('sender');
    const burst: string[] = [];
    for (let i = 0; i < 1000; i++) {
      const user = users[i % users.length]!;
      burst.push(text(`${i}`, i % 3 === 0 ? `${user}@localhost/r` : `${user}@localhost`));
    }
    sender.send(burst.join(''));
    for (const [n, reader] of readers.entries()) {
      expect(await bodies(reader, 50)).toEqual(Array.from({ length: 50 }, (_, i) => `${n + i * users.length}`));
    }
    await sender.expectNothing();
    await Promise.all([sender, ...readers].map((client) => client.close()));
  });

  test('a host that is killed takes its sessions with it, and leaves nothing', async () => {
    await a.addUsers('mortal');
    const peer = await a.client('peer');
    const c = await host('c');
    const mortals = await Promise.all(
      ['1', '2', '3'].map((resource) => c.client('mortal', { resource, available: true })),
    );
    peer.send(text('before', 'mortal@localhost/2'));
    expect(await bodies(mortals[1]!, 1)).toEqual(['before']);
    c.expectEnd();
    await c.kill();
    // Until its lease has ended nobody knows: what is sent to it is lost with it.
    for (let attempt = 0; ; attempt++) {
      peer.send(text(`after${attempt}`, 'mortal@localhost/2'));
      const answer = peer.expect({ id: `after${attempt}`, type: 'error' }, 1000);
      if ((await answer.catch(() => undefined)) !== undefined) break;
      expect(attempt).toBeLessThan(30);
    }
    await expect
      .poll(async () => (await redis.keys()).filter((key) => /:(sessions|held):/.test(key) && /mortal/.test(key)), {
        timeout: 30_000,
      })
      .toEqual([]);
    const again = await b.client('mortal', { resource: '2', available: true });
    peer.unread.length = 0;
    peer.send(text('again', 'mortal@localhost/2'));
    expect(await bodies(again, 1)).toEqual(['again']);
    await Promise.all([peer.close(), again.close()]);
    await c.removeFolder();
  });
});

describe.skipIf(!redisInstalled)('where resources are not taken from others', () => {
  beforeAll(() => prepare({ resource_conflict: 'refuse' }));
  afterAll(finish);

  test('the first at any host has it until it leaves', async () => {
    await a.addUsers('first');
    const holder = await a.client('first', { resource: 'r', available: true });
    const peer = await b.client('peer');
    await expect(b.client('first', { resource: 'r' })).rejects.toThrow('conflict');
    peer.send(text('1', 'first@localhost/r'));
    expect(await bodies(holder, 1)).toEqual(['1']);
    await holder.close();
    await expect
      .poll(() =>
        b.client('first', { resource: 'r' }).then(
          () => 'bound',
          () => 'refused',
        ),
      )
      .toBe('bound');
    await peer.close();
  });
});
