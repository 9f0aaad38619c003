import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ended, start, thrum } from '../cli/spawn.js';
import { RawClient } from '../support/client.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { SERVICE, create, publish, pubsub, storedItems, subscribe } from '../protocol/support/pubsub.js';
import { metric } from '../protocol/support/metrics.js';
import { clientAt, liveWorkers } from '../protocol/support/places.js';
import { nextItem, numbers, ready, startHost, untilHeard } from './hosts.js';

const KEPT = ['--appendonly', 'yes'];

describe.skipIf(!redisInstalled)('a Redis that goes away', () => {
  let redis: RedisServer;
  let a: TestServer;
  let b: TestServer;
  let sensor: RawClient;
  let near: RawClient;
  let far: RawClient;
  beforeAll(async () => {
    redis = await RedisServer.start({ args: KEPT });
    a = await startHost(redis);
    b = await startHost(redis);
    await a.addUsers('sensor', 'near', 'far');
    sensor = await RawClient.login(a, { user: 'sensor' });
    near = await RawClient.login(a, { user: 'near', available: true });
    far = await RawClient.login(b, { user: 'far', available: true });
    await create(sensor, 'kept', { persist_items: '1', max_items: '1000' });
    await create(sensor, 'loose', { persist_items: '0' });
    for (const reader of [near, far]) for (const node of ['kept', 'loose']) await subscribe(reader, node);
  });
  afterAll(async () => {
    await a?.stop();
    await b?.stop();
    await redis?.stop();
  });

  /** Everything works again, for the same connections, without a restart of a broker. */
  async function whole(item: string): Promise<void> {
    await until('hosts that are ready', async () => (await ready(a)) && (await ready(b)));
    await untilHeard(sensor, far, 'loose', `before-${item}`);
    await sensor.request('set', pubsub(publishing('kept', item)), SERVICE);
    await sensor.request('set', pubsub(publishing('loose', item)), SERVICE);
    for (const reader of [near, far]) {
      while ((await nextItem(reader, 'kept')) !== item);
      while ((await nextItem(reader, 'loose')) !== item);
    }
    expect(await storedItems(far, 'kept')).toContain(item);
    far.send(`<message to='${near.jid}' type='chat'><body>${item}</body></message>`);
    await near.message({ from: far.jid });
  }

  test.each(['killed', 'paused'] as const)('is told to who wants to write, and to nobody else: %s', async (how) => {
    if (how === 'killed') await redis.kill();
    else redis.pause();
    // Kept items wait for the bound, and are refused for now.
    const answer = await sensor.iq('set', pubsub(publishing('kept', `lost-${how}`)), SERVICE);
    expect(answer.attr('type')).toBe('error');
    expect(answer.child('error')?.attr('type')).toBe('wait');
    expect(answer.child('error')?.elements()[0]?.name).toBe('internal-server-error');
    expect(await ready(a)).toBe(false);
    expect(await (await a.fetch('/readyz')).text()).toMatch(/redis/i);
    // What is not kept goes on inside the host.
    for (const item of numbers(20)) {
      sensor.send(publish('loose', `${how}-${item}`, `l${item}`));
      expect(await nextItem(near, 'loose')).toBe(`${how}-${item}`);
      expect((await sensor.expect({ name: 'iq', id: `l${item}` })).attr('type')).toBe('result');
    }
    if (how === 'killed') await redis.restart();
    else redis.resume();
    await whole(`after-${how}`);
  });

  test('is told to who administers, and does not end thrum sensor', async () => {
    const folder = ['--set', `data_dir=${a.dataDir}`];
    const child = start(a.dataDir, ['sensor', '--interval', '0.1', '--node', 'simulated', ...folder]);
    const over = ended(child);
    const said = { out: '' };
    child.stdout.on('data', (chunk) => (said.out += String(chunk)));
    await until('a reading', () => /kept after/.test(said.out));
    await redis.kill();
    const { code, err } = await thrum(a.dataDir, ['user', 'list', ...folder]);
    expect([code, err]).toEqual([1, expect.stringMatching(/^thrum: Redis did not do .* within /)]);
    await until('a refusal', () => /not kept, may do later: internal-server-error/.test(said.out));
    await redis.restart();
    await until('a reading after it', () => /may do later[^]*kept after/.test(said.out));
    child.kill('SIGTERM');
    expect((await over).code).toBe(0);
    await whole('after-sensor');
  });

  test('that comes back in time costs a publish nothing but time', async () => {
    await redis.kill();
    sensor.send(publish('kept', 'patient', 'patient'));
    sensor.send(publish('kept', 'patient2', 'patient2'));
    await redis.restart();
    for (const id of ['patient', 'patient2']) {
      expect((await sensor.expect({ name: 'iq', id })).attr('type')).toBe('result');
      expect(await nextItem(near, 'kept')).toBe(id);
    }
    const items = await storedItems(near, 'kept');
    expect(items.slice(-2)).toEqual(['patient', 'patient2']);
    await whole('after-patience');
  });

  test('that has lost its sessions and leases gets them again', async () => {
    const lost = (host: TestServer) => metric(host, 'thrum_cluster_leases_lost_total');
    const before = [await lost(a), await lost(b)];
    const meta = async (): Promise<string> => String(await redis.command('HGETALL', 'thrum:cluster:meta:{cluster}'));
    const common = await meta();
    const keys = (await redis.keys()).filter((key) => /^thrum:(cluster|sessions|held|watch|inbox)/.test(key));
    expect(keys.length).toBeGreaterThan(4);
    await redis.command('DEL', ...keys);
    await until('the leases and all sessions', async () => {
      const found = (await redis.keys()).filter((key) => /^thrum:(sessions|cluster:leases)/.test(key));
      return found.length >= 3 + 1;
    });
    await until('both hosts to have noticed', async () => (await lost(a)) > before[0]! && (await lost(b)) > before[1]!);
    await until('what the hosts have in common', async () => (await meta()) === common);
    await whole('after-loss');
  });

  test('that closes every connection is connected to again', async () => {
    await redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await whole('after-kill');
  });
});

describe.skipIf(!redisInstalled)('a Redis that goes away, and two workers of a host', () => {
  let redis: RedisServer;
  let host: TestServer;
  let other: TestServer;
  beforeAll(async () => {
    redis = await RedisServer.start({ args: KEPT });
    host = await startHost(redis, { workers: 2 });
    other = await startHost(redis);
  });
  afterAll(async () => {
    await host?.stop();
    await other?.stop();
    await redis?.stop();
  });

  const bodies = async (client: RawClient, count: number): Promise<(string | undefined)[]> => {
    const got = [];
    while (got.length < count) got.push((await client.message()).child('body')?.text());
    return got;
  };
  const chat = (to: string, body: string): string =>
    `<message to='${to}' type='chat' id='${body}'><body>${body}</body></message>`;

  test.each(['killed', 'paused'] as const)(
    'what is for sessions of the host gets there, though nobody had asked for them: %s',
    async (how) => {
      const nobody = `nobody-${how}@localhost`;
      const [here, there] = liveWorkers(host) as [number, number];
      const sender = await clientAt(host, here, { user: `sender-${how}`, available: true });
      const full = await clientAt(host, there, { user: `full-${how}`, available: true });
      const high = await clientAt(host, there, { user: `bare-${how}`, resource: 'high' });
      await high.sendPresence('<priority>5</priority>');
      const low = await clientAt(host, there, { user: `bare-${how}`, resource: 'low', available: true });
      await high.expect({ name: 'presence', from: low.jid });
      await other.addUsers(`far-${how}`, `nobody-${how}`);
      const far = await RawClient.login(other, { user: `far-${how}`, available: true });

      if (how === 'killed') await redis.kill();
      else redis.pause();
      await until('the host to know', async () => !(await ready(host)));
      sender.send(chat(full.jid, 'full'));
      expect(await bodies(full, 1)).toEqual(['full']);
      const many = numbers(50);
      sender.send(many.map((body) => chat(`bare-${how}@localhost`, body)).join(''));
      expect(await bodies(high, 50)).toEqual(many);
      await low.expectNothing({ name: 'message' });
      // One who shows presence to the sender is reached by its requests.
      full.send(`<presence to='${sender.jid}'/>`);
      await sender.expect({ name: 'presence', from: full.jid });
      sender.send(`<iq type='get' id='asked' to='${full.jid}'><query xmlns='urn:x'/></iq>`);
      await full.expect({ name: 'iq', id: 'asked', from: sender.jid });
      full.send(`<iq type='result' id='asked' to='${sender.jid}'/>`);
      await sender.expect({ name: 'iq', id: 'asked', type: 'result', from: full.jid });
      // Who is not at this host may be at another.
      for (const to of [far.jid, `far-${how}@localhost`, nobody]) {
        sender.send(chat(to, 'refused'));
        const answer = await sender.message({ type: 'error', id: 'refused', from: to });
        expect(answer.child('error')?.attr('type')).toBe('wait');
      }

      if (how === 'killed') await redis.restart();
      else redis.resume();
      await until('hosts that are ready', async () => (await ready(host)) && (await ready(other)));
      for (const client of [full, high, far]) {
        await until(`a message to ${client.jid}`, async () => {
          sender.send(chat(client.jid.split('/')[0]!, 'after'));
          await sender.ping();
          return client.unread.some((stanza) => stanza.name === 'message');
        });
      }
      sender.send(chat(nobody, 'none'));
      const none = await sender.message({ type: 'error', id: 'none' });
      expect(none.child('error')?.attr('type')).toBe('cancel');
    },
  );
});

test.skipIf(!redisInstalled)(
  'a worker whose number another has, since Redis lost all, makes place for one by another number',
  async () => {
    const redis = await RedisServer.start();
    const host = await startHost(redis);
    try {
      const workers = 'thrum:cluster:workers:{cluster}';
      const [number, json] = (await redis.command('HGETALL', workers)) as Buffer[];
      // As after a loss of all keys, when another host has begun to count anew.
      const other = { ...(JSON.parse(String(json)) as object), pool: 'other', pid: 1, epoch: 1000 };
      await redis.flushKeys();
      await redis.command('HSET', workers, String(number), JSON.stringify(other));
      await redis.command('ZADD', 'thrum:cluster:leases:{cluster}', Date.now() + 3_600_000, String(number));
      await until('another worker', async () => (await redis.command('HLEN', workers)) === 2);
      await until('an account', () =>
        host.addUsers('somebody').then(
          () => true,
          () => false,
        ),
      );
      expect(host.log.join()).toContain(`another worker has number ${String(number)}`);
    } finally {
      await host.stop();
      await redis.stop();
    }
  },
);

function publishing(node: string, item: string): string {
  return `<publish node='${node}'><item id='${item}'><v xmlns='urn:x'/></item></publish>`;
}
