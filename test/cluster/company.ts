import type { RedisDirectoryOptions } from '../../src/cluster/redis-directory.js';
import { RedisDirectory } from '../../src/cluster/redis-directory.js';
import type { Redis } from '../../src/redis/redis.js';
import { openRedis } from '../../src/redis/open.js';
import { onTestFinished } from 'vitest';
import type { Config } from '../../src/config/config.js';
import { CHANNEL } from '../../src/cluster/bus.js';
import type { LocalBus } from '../../src/cluster/local-bus.js';
import { mesh } from './mesh.js';

/** A worker among others that a test lets live and die. */
export interface Worker {
  number: number;
  bus: LocalBus;
  redis: Redis;
  directory: RedisDirectory;
  /** Sessions that the directory said are lost, by id. */
  lost: string[];
  /** What it was told of, in order. */
  told: string[];
  /** It lost its lease: the others find it dead. */
  expire(): void;
  /** It is registered again. */
  renew(): Promise<void>;
  /** Does what is asked of it when another died. */
  sweep(worker: number, epoch: number): Promise<void>;
  /** The process is gone: nothing is written any more. */
  die(): Promise<void>;
}

/** Workers with real buses and real Redis, and with lives that the test decides on. */
export async function company(
  config: Config['redis'],
  size: number,
  options: Partial<RedisDirectoryOptions> = {},
): Promise<Worker[]> {
  const { buses } = await mesh(size);
  const epochs = new Map<number, number>();
  let last = 0;
  const workers: Worker[] = [];
  for (const bus of buses) {
    const redis = await openRedis(config);
    const renewed: (() => Promise<void>)[] = [];
    const departed: ((worker: number, epoch: number) => Promise<void>)[] = [];
    const number = bus.self;
    let epoch = ++last;
    epochs.set(number, epoch);
    const lost: string[] = [];
    const told: string[] = [];
    const listen = bus.listen.bind(bus);
    bus.listen = (channel, listener) =>
      listen(channel, (from, body) => {
        if (channel === CHANNEL.directory) told.push(String(body));
        return listener(from, body);
      });
    const directory = new RedisDirectory({
      redis,
      hosts: {
        bus,
        get epoch() {
          return epoch;
        },
        members: () => [...epochs.keys()].map((live) => ({ number: live })),
        lives: (worker, of) => epochs.get(worker) === of,
        onRenewed: (fn) => void renewed.push(fn),
        onDeparted: (fn) => void departed.push(fn),
        onLeave: () => undefined,
      },
      verifyMs: 3_600_000,
      onLost: ({ id }) => lost.push(id),
      ...options,
    });
    const worker: Worker = {
      number,
      bus,
      redis,
      directory,
      lost,
      told,
      expire: () => void epochs.delete(number),
      renew: async () => {
        epoch = ++last;
        epochs.set(number, epoch);
        for (const fn of renewed) await fn();
      },
      sweep: async (dead, of) => {
        for (const fn of departed) await fn(dead, of);
      },
      die: async () => {
        epochs.delete(number);
        await redis.close();
        await bus.close();
      },
    };
    workers.push(worker);
    onTestFinished(async () => {
      await directory.close();
      await redis.close();
    });
  }
  return workers;
}
