import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ClusterReading } from '../../src/cli/cluster-reading.js';
import { thrum } from '../cli/spawn.js';
import { metric } from '../protocol/support/metrics.js';
import { create, publish, pubsub, SERVICE, storedItems, subscribe } from '../protocol/support/pubsub.js';
import { NS, RawClient } from '../support/client.js';
import { Network, namespacesAllowed, unsent } from '../support/netns.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';
import type { TestServer } from '../support/server.js';
import { nextItem, numbers, ready, startHost, untilHeard } from './hosts.js';
import { Load } from './load.js';

const NAMES = ['north', 'south', 'west'] as const;
const [NORTH, SOUTH, WEST] = [0, 1, 2];
/** Some times what a host needs to notice that it is cut off (two seconds). */
const LEASE_SECONDS = 12;
const ITEMS = 100;

/**
 * Hosts on machines of their own. What a cable that is pulled takes with it is lost silently, as in the world, and what the kernel keeps comes
 * late.
 */
describe.skipIf(!redisInstalled || !namespacesAllowed)('hosts whose cables are pulled', () => {
  let network: Network;
  let redis: RedisServer;
  const hosts: TestServer[] = [];
  const clients: RawClient[] = [];

  beforeAll(async () => {
    network = Network.of(
      ['redis', ...NAMES],
      NAMES.map((name) => ['redis', name]),
    );
    redis = await RedisServer.start({ on: network.on('redis') });
    const starts = NAMES.map((name) =>
      startHost(redis, {
        workers: name === 'north' ? 2 : 1,
        on: network.on(name),
        set: {
          'cluster.host': name,
          'cluster.lease_seconds': LEASE_SECONDS,
          // More than the short cuts take, less than a client of these tests waits for an answer.
          'redis.patience_seconds': 8,
        },
      }),
    );
    for (const start of await Promise.allSettled(starts)) if (start.status === 'fulfilled') hosts.push(start.value);
    await Promise.all(starts);
    await hosts[NORTH]!.addUsers('near', 'far', 'twice', 'other');
  });
  afterEach(() => {
    for (const name of NAMES) network?.mend('redis', name);
    for (const client of clients.splice(0)) client.cut();
  });
  afterAll(async () => {
    try {
      const ends = await Promise.allSettled(hosts.map((host) => host.stop()));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    } finally {
      await redis?.stop();
      network?.close();
    }
  });

  async function sessions(): Promise<boolean> {
    return (await redis.keys()).some((key) => /^thrum:(sessions|held):/.test(key));
  }
  async function login(host: number, user: string, resource: string): Promise<RawClient> {
    const client = await RawClient.login(hosts[host]!, { user, resource, available: true });
    clients.push(client);
    return client;
  }
  async function away(host: number): Promise<void> {
    let said = '';
    await until(`${NAMES[host]} without Redis`, async () => {
      const answer = await hosts[host]!.fetch('/readyz');
      said = await answer.text();
      return answer.status === 503;
    });
    expect(said).toMatch(/redis is away/);
  }
  const whole = () => until('hosts that are ready', async () => (await Promise.all(hosts.map(ready))).every(Boolean));
  async function workersOf(host: number) {
    const at = ['--set', 'store=redis', '--set', `redis.url=${redis.url}`];
    const { out } = await thrum(hosts[NORTH]!.dataDir, ['cluster', 'status', '--json', ...at]);
    return (JSON.parse(out) as ClusterReading).workers!.filter((worker) => worker.host === NAMES[host]);
  }
  async function chat(from: RawClient, to: RawClient): Promise<void> {
    for (const body of numbers(20)) {
      from.send(`<message to='${to.jid}' type='chat'><body>${body}</body></message>`);
      expect((await to.message({ from: from.jid, type: 'chat' })).get('body').text()).toBe(body);
    }
  }
  let asked = 0;
  /** Whether a message from `from` finds `to`. */
  async function finds(from: RawClient, to: string): Promise<boolean> {
    const id = `find${asked++}`;
    from.send(`<message to='${to}' type='normal' id='${id}'><body>${id}</body></message>`);
    await from.ping();
    return !from.unread.some((stanza) => stanza.name === 'message' && stanza.attr('id') === id);
  }
  /** Everything arrived everywhere, once and in order, and can be read. */
  async function balanced(load: Load): Promise<void> {
    expect(await load.end()).toEqual({ faults: [], lost: 0 });
    for (const [host, node] of load.nodes.entries()) {
      const reader = await RawClient.login(hosts[host]!, { user: load.publishers[host]!.user });
      expect(await storedItems(reader, node)).toEqual(numbers(ITEMS + 1).slice(1));
      await reader.close();
    }
  }

  test('one is cut off for less than its lease: nobody misses anything, and life within goes on', async () => {
    const [near, far] = [await login(SOUTH, 'near', 'r'), await login(SOUTH, 'far', 'r')];
    await chat(near, far);
    const before = await workersOf(SOUTH);
    const load = await Load.begin(hosts, ITEMS);
    await load.acknowledged(20, NORTH, SOUTH, WEST);
    network.cut('redis', 'south');
    await away(SOUTH);
    await Promise.all([chat(near, far), load.acknowledged(20, NORTH, WEST)]);
    expect([await ready(hosts[NORTH]!), await ready(hosts[WEST]!)]).toEqual([true, true]);
    network.mend('redis', 'south');
    await whole();
    await balanced(load);
    expect(await workersOf(SOUTH)).toMatchObject(before.map(({ number, epoch }) => ({ number, epoch })));
  });

  test('one hears nothing and one is cut off, both for less than a lease: nobody misses anything', async () => {
    const load = await Load.begin(hosts, ITEMS);
    await load.acknowledged(20, NORTH, SOUTH, WEST);
    // What north asks for is done, and it does not learn of it.
    network.mute('redis', 'north');
    network.cut('redis', 'west');
    await Promise.all([away(NORTH), away(WEST)]);
    await load.acknowledged(20, SOUTH);
    network.mend('redis', 'west');
    await until('west', () => ready(hosts[WEST]!));
    network.mend('redis', 'north');
    await whole();
    await balanced(load);
  });

  test('one is cut off for longer than its lease: it is taken for dead, keeps its clients, and comes back', async () => {
    const near = await login(NORTH, 'near', 'r');
    const far = await login(WEST, 'far', 'r');
    const neighbour = await login(WEST, 'other', 'r');
    const loser = await login(WEST, 'twice', 'r');
    await create(near, 'news', { persist_items: '1', max_items: '100', publish_model: 'open' });
    await subscribe(far, 'news');
    near.send(publish('news', 'before'));
    expect(await nextItem(far, 'news')).toBe('before');
    expect(await finds(near, far.jid)).toBe(true);
    await chat(neighbour, far);
    const [before] = await workersOf(WEST);

    network.cut('redis', 'west');
    await away(WEST);
    far.send(publish('news', 'unheard'));
    await until('a cluster without the host', async () => !(await finds(near, far.jid)));
    await until('no ghosts', async () => !(await redis.keys()).some((key) => /^thrum:sessions:.*far@/.test(key)));
    expect(await workersOf(WEST)).toEqual([]);
    const winner = await login(SOUTH, 'twice', 'r');
    near.send(publish('news', 'meanwhile'));
    expect((await near.expect({ name: 'iq', id: 'pmeanwhile' })).attr('type')).toBe('result');
    // The kept item had to wait, and could not be kept in time.
    const refused = await far.expect({ name: 'iq', id: 'punheard' }, 60_000);
    expect(refused.child('error')?.attr('type')).toBe('wait');
    await chat(neighbour, far);
    await loser.ping();

    network.mend('redis', 'west');
    await whole();
    const [after] = await workersOf(WEST);
    expect(after).toMatchObject({ number: before!.number, pid: before!.pid });
    expect(after!.epoch).toBeGreaterThan(before!.epoch);
    expect(await metric(hosts[WEST]!, 'thrum_cluster_leases_lost_total')).toBe(1);
    await until('its sessions', () => finds(near, far.jid));
    // One of the two that have the same address is told to go.
    await loser.expectStreamError('conflict');
    await winner.ping();
    await untilHeard(near, far, 'news', 'after');
    await chat(near, far);
    await chat(far, near);
    // What it missed has come before that.
    const heard: string[] = [];
    while (heard.at(-1) !== 'after') heard.push(await nextItem(far, 'news'));
    expect(heard.filter((id) => id !== 'unheard')).toEqual(['meanwhile', 'after']);
    const read = await storedItems(far, 'news');
    expect(read.filter((id) => id !== 'unheard')).toEqual(['before', 'meanwhile', 'after']);
    await far.request(
      'set',
      pubsub(`<publish node='news'><item id='own'><v xmlns='urn:x'/></item></publish>`),
      SERVICE,
    );
    for (const client of clients.splice(0)) client.cut();
    await until('no sessions', async () => !(await sessions()));
  });

  test('one is killed while it is cut off: what it had sent is not done when the cable is whole again', async () => {
    const far = await login(WEST, 'far', 'r');
    // A host that knows the password by now logs in without Redis; the bind has to wait.
    const late = await RawClient.connect(hosts[WEST]!);
    clients.push(late);
    await late.open();
    network.cut('redis', 'west');
    await late.authenticate('PLAIN', 'far');
    late.send(`<iq type='set' id='bind'><bind xmlns='${NS.bind}'/></iq>`);
    far.send(`<presence><show>away</show></presence>`);
    const [west] = hosts.splice(WEST, 1);
    await until('commands that wait in its buffers', () => unsent(network, 'west') > 0);
    await west!.kill();
    await west!.removeFolder();
    expect(await sessions()).toBe(true);
    await until('no ghosts', async () => !(await sessions()));
    await until('a cluster that is clean', async () => {
      return Number(await redis.command('ZCARD', 'thrum:cluster:departed:{cluster}')) === 0;
    });
    network.mend('redis', 'west');
    // The kernel goes on trying where the process has ended.
    await until('buffers that are empty', () => unsent(network, 'west') === 0);
    expect(await sessions()).toBe(false);
  });
});
