import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openRedis } from '../../src/redis/open.js';
import type { Redis } from '../../src/redis/redis.js';
import { openStore } from '../../src/store/open.js';
import type { Store } from '../../src/store/store.js';
import { RedisServer, redisInstalled } from '../support/redis.js';
import { losing } from './losing.js';
import { account, ids, item, node } from './records.js';

describe.skipIf(!redisInstalled)(
  'what is done again, since the answer of Redis was lost, and others changed meanwhile',
  () => {
    let server: RedisServer;
    let redis: Redis;
    /** Of another host. */
    let other: Store;
    const closing: (() => Promise<void>)[] = [];

    beforeEach(async () => {
      server = await RedisServer.start();
      closing.push(() => server.stop());
      redis = await openRedis(server.config());
      closing.push(() => redis.close());
      other = await store(redis);
      await other.nodes.create(node('n'));
    });
    afterEach(async () => {
      for (const close of closing.splice(0).reverse()) await close();
    });

    async function store(on: Redis): Promise<Store> {
      const opened = await openStore({ kind: 'redis', path: '', redis: on, durability: 'commit' });
      closing.push(() => opened.close());
      return opened;
    }

    /** A store that loses the answers of such scripts. */
    const losingStore = (script: string, meanwhile: () => Promise<unknown>) => store(losing(redis, script, meanwhile));
    const there = async () => ids((await other.items.page('n', { limit: 100 }))!.items);
    const publish = (to: Store, id: string, published: number) => to.items.publish('n', item(id, { published }), 100);

    test('a removal spares the account that was made in its place', async () => {
      await other.accounts.create('ann', account(1));
      const { accounts } = await losingStore('account-remove', () => other.accounts.create('ann', account(2)));
      expect(await accounts.remove('ann')).toBe(true);
      expect((await other.accounts.get('ann'))?.created).toBe(account(2).created);
      expect(await other.accounts.list(undefined, 10)).toEqual(['ann']);
      expect(await (await losingStore('account-remove', async () => undefined)).accounts.remove('eve')).toBe(false);
    });

    test('retracting spares the item that was published by the same id, and tells what it found', async () => {
      await publish(other, 'a', 1);
      await publish(other, 'b', 2);
      const { items } = await losingStore('retract', () => publish(other, 'a', 3));
      expect(await items.retract('n', ['a', 'none'])).toEqual(['a']);
      expect((await other.items.get('n', ['a'])).map(({ published }) => published)).toEqual([3]);
      expect(await there()).toEqual(['b', 'a']);
    });

    test('purging spares what was published since, and tells how much it found', async () => {
      for (const id of ['a', 'b', 'c']) await publish(other, id, 1);
      const { items } = await losingStore('purge', () => publish(other, 'd', 2));
      expect(await items.purge('n')).toBe(3);
      expect(await there()).toEqual(['d']);
    });

    test.each(['publish', 'item-add'])('%s does not bring back what was retracted', async (script) => {
      const { items } = await losingStore(script, () => other.items.retract('n', ['a']));
      const added = () => items.add('n', item('a', { published: 1 }), 100);
      const published = () => items.publish('n', item('a', { published: 1 }), 100);
      expect(await (script === 'publish' ? published() : added())).toBe(script === 'publish' ? true : 'kept');
      expect(await there()).toEqual([]);
      expect(await other.items.count('n')).toBe(0);
      // Another item of that id is another one.
      await publish(other, 'a', 2);
      expect(await there()).toEqual(['a']);
    });

    test.each(['publish', 'item-add'])('%s leaves the item where it was', async (script) => {
      const { items } = await losingStore(script, () => publish(other, 'b', 2));
      if (script === 'publish') await items.publish('n', item('a', { published: 1 }), 100);
      else await items.add('n', item('a', { published: 1 }), 100);
      expect(await there()).toEqual(['a', 'b']);
    });

    test('a publish that was not done before is done, of each item', async () => {
      await publish(other, 'a', 1);
      let lost = true;
      const run: Redis['run'] = (script, keys, args, options) => {
        const again = script.name === 'publish' && lost ? options?.onAgain?.() : undefined;
        if (!again) return redis.run(script, keys, args, options);
        lost = false;
        return redis.run(again.script, again.keys, again.args, options);
      };
      const never = new Proxy(redis, {
        get: (target, name) => {
          const value: unknown = name === 'run' ? run : Reflect.get(target, name);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        },
      });
      const { items } = await store(never);
      const all = ['a', 'b', 'c'].map((id, i) => items.publish('n', item(id, { published: 2 + i }), 2));
      expect(await Promise.all(all)).toEqual([true, true, true]);
      expect(lost).toBe(false);
      expect(await there()).toEqual(['b', 'c']);
    });

    test('what is remembered for that goes by itself', async () => {
      await publish(other, 'a', 1);
      await other.items.retract('n', ['a']);
      await other.items.purge('n');
      await other.accounts.remove('ann');
      await other.nodes.remove('n');
      await other.flush();
      const left = await server.keys();
      expect(left).toHaveLength(4);
      for (const key of left) expect(await server.command('PTTL', key)).toBeGreaterThan(0);
    });
  },
);
