import { afterAll, beforeAll, expect, test } from 'vitest';
import { NS, RawClient } from '../support/client.js';
import { RedisCluster, redisInstalled, until } from '../support/redis.js';
import { random } from '../protocol/support/device.js';
import { Fleet } from './fleet.js';
import { Publisher } from './publisher.js';
import { Subscriber } from './subscriber.js';

/**
 * Load for a bounded count while workers, hosts and Redis masters die, then the books are balanced. The seed decides what is hurt, and where;
 * what meets what is up to the machine, so a seed repeats the faults and not every interleaving.
 */
const SEED = Number(process.env.THRUM_CHAOS_SEED ?? Math.floor(Math.random() * 1e6));
const HOSTS = Number(process.env.THRUM_CHAOS_HOSTS ?? 3);
const ITEMS = Number(process.env.THRUM_CHAOS_ITEMS ?? 400);
const FAULTS = Number(process.env.THRUM_CHAOS_FAULTS ?? 6);
const PUBLISHERS = 4;
const SUBSCRIBERS = 6;

/** Nothing that the fleet goes through takes so long, in milliseconds: whoever still waits then waits in vain. */
const STUCK_MS = 60_000;

const BY = `repeat it with THRUM_CHAOS_SEED=${SEED}`;
/** What may be left in Redis when all hosts have gone: what lasts, and what counts. */
const LASTING = /^thrum:(accounts|users|node|nodes|items|order|subs|subsof|created|affs|cluster):/;

let redis: RedisCluster;
let fleet: Fleet;

beforeAll(async () => {
  if (!redisInstalled) return;
  redis = await RedisCluster.start({ masters: 3, replicas: 1, args: ['--appendonly', 'yes'] });
  fleet = await Fleet.start(redis, HOSTS, random(SEED));
}, 120_000);
afterAll(async () => {
  if (!redisInstalled) return;
  try {
    await fleet?.stop();
  } finally {
    await redis?.stop();
  }
}, 120_000);

test.skipIf(!redisInstalled)(
  `nothing acknowledged is lost, doubled or reordered while workers, hosts and masters die (seed ${SEED})`,
  async () => {
    console.log(`chaos: seed ${SEED}; ${BY}`);
    const nodes = Array.from({ length: PUBLISHERS }, (_, index) => `chaos${index}`);
    await fleet.first.addUsers('owner', ...nodes.map((node) => `pub-${node}`));
    const users = Array.from({ length: SUBSCRIBERS }, (_, index) => `sub${index}`);
    await fleet.first.addUsers(...users);
    const owner = await RawClient.login(fleet.first, { user: 'owner' });
    const service = `pubsub.${owner.address.domain}`;
    for (const node of nodes) {
      await owner.request('set', create(node, ITEMS), service);
      for (const user of users) await owner.request('set', subscriber(node, `${user}@localhost`), service);
    }
    await owner.close();

    let acknowledged = 0;
    let progressed = (): void => undefined;
    const dashboards = users.map((user) => new Subscriber(fleet, user, nodes, () => progressed()));
    const running = dashboards.map((dashboard) => dashboard.run());
    fleet.publishers.push(
      ...nodes.map((node) => new Publisher(fleet, `pub-${node}`, node, () => (acknowledged++, progressed()))),
    );
    const publishing = Promise.all(fleet.publishers.map((publisher) => publisher.run(ITEMS)));
    const failed = publishing.then(() => new Promise<never>(() => undefined));
    /** How far everybody is. */
    const state = (): string =>
      [
        ...fleet.publishers.map((one) => `${one.user}: ${one.acknowledged}`),
        ...dashboards.map((one) => `${one.user}: ${nodes.map((node) => one.reached(node)).join(' ')}`),
      ].join('; ');
    const reached = (test: () => boolean): Promise<void> =>
      Promise.race([
        failed,
        new Promise<void>((resolve, reject) => {
          const stuck = (): void => reject(new Error(`nothing has come for ${STUCK_MS / 1000} s: ${state()}; ${BY}`));
          let timer = setTimeout(stuck, STUCK_MS);
          const look = (): void => {
            clearTimeout(timer);
            if (test()) return resolve();
            timer = setTimeout(stuck, STUCK_MS);
          };
          progressed = look;
          look();
        }),
      ]);

    // Each fault comes after its share of the load, however fast that is.
    const total = ITEMS * PUBLISHERS;
    for (let fault = 1; fault <= FAULTS; fault++) {
      await reached(() => acknowledged >= (total * fault) / (FAULTS + 1));
      console.log(`chaos: ${acknowledged} of ${total} acknowledged; ${await fleet.hurt()}`);
    }
    await publishing;
    const complete = (): boolean => dashboards.every((one) => nodes.every((node) => one.reached(node) === ITEMS));
    await reached(complete);
    for (const dashboard of dashboards) expect(dashboard.faults, BY).toEqual([]);
    const sum = (read: (dashboard: Subscriber) => number): number =>
      dashboards.reduce((all, one) => all + read(one), 0);
    console.log(
      `chaos: ${sum((one) => one.resumed)} sessions resumed, ${sum((one) => one.lost)} lost and caught up, ` +
        `${fleet.publishers.reduce((all, one) => all + one.waits, 0)} publishes were told to wait`,
    );

    // Everything acknowledged can be read, at any host.
    const reader = await RawClient.login(fleet.anywhere(), { user: 'owner' });
    for (const node of nodes) {
      const items = await reader.request(
        'get',
        `<pubsub xmlns='${NS.pubsub}'><items node='${node}'/></pubsub>`,
        service,
      );
      const ids = items
        .get('pubsub', 'items')
        .elements('item')
        .map((item) => Number(item.attr('id')));
      const expected = Array.from({ length: ITEMS }, (_, index) => index + 1);
      expect(
        ids.sort((a, b) => a - b),
        `${node}; ${BY}`,
      ).toEqual(expected);
    }
    await reader.close();
    await Promise.all(dashboards.map((dashboard) => dashboard.stop()));
    await Promise.all(running);

    // No ghosts while the hosts live, and no leaks when they are gone.
    await until(
      'no ghost sessions',
      async () => !(await redis.keys()).some((key) => /^thrum:(sessions|held):/.test(key)),
    );
    // Who is cleaning up after a dead worker when the last host ends leaves that to the first that comes again.
    await until(
      'nobody dead that is not cleaned up after',
      async () => !(await redis.keys()).includes('thrum:cluster:departed:{cluster}'),
    );
    await fleet.stop();
    fleet = undefined as never;
    const left = await redis.keys();
    expect(
      left.filter((key) => !LASTING.test(key)),
      BY,
    ).toEqual([]);
  },
  300_000,
);

function create(node: string, items: number): string {
  const field = (name: string, value: string | number) => `<field var='pubsub#${name}'><value>${value}</value></field>`;
  return (
    `<pubsub xmlns='${NS.pubsub}'><create node='${node}'/><configure><x xmlns='jabber:x:data' type='submit'>` +
    `<field var='FORM_TYPE' type='hidden'><value>${NS.pubsub}#node_config</value></field>` +
    field('persist_items', 1) +
    field('max_items', items * 2) +
    field('publish_model', 'open') +
    field('send_last_published_item', 'never') +
    `</x></configure></pubsub>`
  );
}

function subscriber(node: string, jid: string): string {
  return (
    `<pubsub xmlns='${NS.pubsubOwner}'><subscriptions node='${node}'>` +
    `<subscription jid='${jid}' subscription='subscribed'/></subscriptions></pubsub>`
  );
}
