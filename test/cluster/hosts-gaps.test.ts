import { describe, expect, onTestFinished, test } from 'vitest';
import { CHANNEL } from '../../src/cluster/bus.js';
import { inboxKey, keys } from '../../src/cluster/hosts/keys.js';
import { RedisServer, redisInstalled, until } from '../support/redis.js';
import { connected, type Host } from './hosts.js';

/** Two workers; what the second hears on two channels, on the first of which also the dead are heard. */
async function pair() {
  const server = await RedisServer.start();
  onTestFinished(() => server.stop());
  const heard: string[] = [];
  const all = await connected(2, { redis: server.config(), leaseSeconds: 3 }, ({ bus }) => {
    bus.listen(CHANNEL.notify, (from, body) => void (bus.self === 2 && heard.push(`${from} ${body}`)), true);
    bus.listen(CHANNEL.kick, (from, body) => void (bus.self === 2 && heard.push(`${from} kick ${body}`)));
    bus.listen(CHANNEL.resume, () => Buffer.from('here'));
  });
  const [a, b] = all as [Host, Host];
  const { leases, workers, state } = keys(a.redis);
  const { epoch } = a.hosts;
  /** Others take the first for dead; it does not know yet. */
  const buried = new Promise<void>((resolve) => b.bus.onPeerDown(() => resolve()));
  const declareDead = async (): Promise<void> => {
    await server.command('ZREM', leases, a.bus.self);
    await server.command('HDEL', workers, a.bus.self);
    await server.command('HINCRBY', state, 'version', 1);
    await buried;
  };
  const again = (): Promise<void> =>
    until('both meeting', () => a.hosts.epoch > epoch && a.bus.peers.size === 1 && b.bus.peers.size === 1);
  return { server, a, b, heard, epoch, declareDead, again };
}

/** Holds what a worker puts into an inbox; the function lets it go, or says that it came to nothing. */
function held({ redis }: Host, key: string): (go: boolean) => void {
  const call = redis.call.bind(redis);
  let release!: (go: boolean) => void;
  const released = new Promise<boolean>((resolve) => (release = resolve));
  redis.call = async (command, args, options) => {
    if (command === 'XADD' && args[0] === key && !(await released)) throw new Error('in doubt');
    return call(command, args, options);
  };
  return release;
}

describe.skipIf(!redisInstalled)('a worker that is taken for dead though it lives', () => {
  test('is heard to the last where that is wanted, and nowhere else', async () => {
    const { a, b, heard, epoch, declareDead, again } = await pair();
    a.bus.send(2, CHANNEL.notify, Buffer.from('first'));
    await until('the first', () => heard.length === 1);
    const release = held(a, inboxKey(b.redis, 2, b.hosts.epoch));
    // It does not find out before this is on its way.
    a.bus.send(2, CHANNEL.notify, Buffer.from('second'));
    a.bus.send(2, CHANNEL.kick, Buffer.from('third'));
    const sent = new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
    await sent;
    await declareDead();
    release(true);
    await again();
    expect(await b.bus.request(1, CHANNEL.resume, Buffer.from('?'))).toEqual(Buffer.from('here'));
    expect(heard).toEqual(['1 first', '1 second']);
    expect(a.hosts.epoch).toBeGreaterThan(epoch);
  });

  test('is told of the gap and when it is over, and gets what it could not send', async () => {
    const { a, b, heard, declareDead, again } = await pair();
    const events: string[] = [];
    const began = Date.now();
    a.bus.onGap((since, over) => {
      expect(since).toBeLessThanOrEqual(Date.now());
      expect(since).toBeGreaterThan(began - 10_000);
      events.push('gap');
      void over!.then(() => events.push(`over, with ${a.bus.peers.size} peer`));
    });
    a.bus.onPeerDown((peer) => events.push(`down ${peer}`));
    a.bus.onUnsent(CHANNEL.notify, (peer, body) => events.push(`unsent ${peer} ${body}`));
    a.bus.send(2, CHANNEL.notify, Buffer.from('one'));
    await until('the first', () => heard.length === 1);
    await a.bus.barrier();
    const release = held(a, inboxKey(b.redis, 2, b.hosts.epoch));
    a.bus.send(2, CHANNEL.notify, Buffer.from('two'));
    a.bus.send(2, CHANNEL.kick, Buffer.from('no matter'));
    await declareDead();
    await until('its finding out', () => events.includes('unsent 2 two'));
    release(false);
    await again();
    await until('the end of it', () => events.length === 4);
    expect(events).toEqual(['gap', 'down 2', 'unsent 2 two', 'over, with 1 peer']);
    expect(heard).toEqual(['1 one']);
  });
});
