import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RawClient } from '../support/client.js';
import { Cuttable } from '../support/cuttable.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { SERVICE, create, publish, pubsub, storedItems, subscribe } from '../protocol/support/pubsub.js';
import { nextItem, ready, startHost, untilHeard } from './hosts.js';

/** One host is cut off from Redis, and so from the others, for longer than its lease; it does not know why. */
describe.skipIf(!redisInstalled)('a host that is cut off for longer than its lease', () => {
  let redis: RedisServer;
  let way: Cuttable;
  let a: TestServer;
  let b: TestServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
    way = await Cuttable.to(redis.port);
    a = await startHost(redis);
    b = await startHost(redis, { set: { 'redis.url': `redis://127.0.0.1:${way.port}` } });
    await a.addUsers('near', 'far', 'twice');
  });
  afterAll(async () => {
    way?.mend();
    await a?.stop();
    await b?.stop();
    await way?.close();
    await redis?.stop();
  });

  let asked = 0;
  /** Whether a message from `from` finds `to`. */
  async function finds(from: RawClient, to: string): Promise<boolean> {
    const id = `find${asked++}`;
    from.send(`<message to='${to}' type='chat' id='${id}'><body>${id}</body></message>`);
    await from.ping();
    const at = from.unread.findIndex((stanza) => stanza.name === 'message' && stanza.attr('id') === id);
    return at < 0;
  }

  test('is taken for dead by the others, keeps its clients, and is one of them again afterwards', async () => {
    const near = await RawClient.login(a, { user: 'near', available: true });
    const far = await RawClient.login(b, { user: 'far', resource: 'r', available: true });
    const loser = await RawClient.login(b, { user: 'twice', resource: 'r', available: true });
    await create(near, 'news', { persist_items: '1', max_items: '100' });
    await subscribe(far, 'news');
    near.send(publish('news', 'before'));
    expect(await nextItem(far, 'news')).toBe('before');
    expect(await finds(near, far.jid)).toBe(true);

    way.cut();
    await until('a cluster without the host', async () => !(await finds(near, far.jid)));
    // No ghost is left of it, and what it held is free.
    await until(
      'no rows of it',
      async () => !(await redis.keys()).some((key) => /^thrum:sessions:.*far@localhost/.test(key)),
    );
    const winner = await RawClient.login(a, { user: 'twice', resource: 'r', available: true });
    near.send(publish('news', 'meanwhile'));
    expect((await near.expect({ name: 'iq', id: 'pmeanwhile' })).attr('type')).toBe('result');
    // Its clients are with it still; it says to whoever asks that it is not whole.
    await until('a host that says so', async () => !(await ready(b)));
    await far.ping();

    way.mend();
    await until('a host that is whole', () => ready(b));
    await until('its sessions', () => finds(near, far.jid));
    await loser.expectStreamError('conflict');
    await winner.ping();
    // What it missed comes afterwards, and before what is published then.
    await untilHeard(near, far, 'news', 'after');
    expect(await nextItem(far, 'news')).toBe('meanwhile');
    expect(await nextItem(far, 'news')).toBe('after');
    expect(await storedItems(far, 'news')).toEqual(['before', 'meanwhile', 'after']);
    await far.request('set', pubsub(`<publish node='own'><item id='1'><v xmlns='urn:x'/></item></publish>`), SERVICE);
    for (const client of [near, far, winner]) await client.close();
  }, 90_000);
});
