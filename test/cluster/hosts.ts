import { onTestFinished } from 'vitest';
import { randomUUID } from 'node:crypto';
import type { Bus } from '../../src/cluster/bus.js';
import type { Hosts } from '../../src/cluster/hosts/hosts.js';
import { joinHosts } from '../../src/cluster/hosts/join.js';
import { LocalBus } from '../../src/cluster/local-bus.js';
import type { Membership } from '../../src/cluster/member.js';
import { type Config, defaults } from '../../src/config/config.js';
import { openRedis } from '../../src/redis/open.js';
import type { Redis } from '../../src/redis/redis.js';

export interface HostOptions {
  redis: Config['redis'];
  number: number;
  backlogBytes?: number;
  leaseSeconds?: number;
  inboxEntries?: number;
}

/** The only worker of a host, in this process. */
export interface Host {
  hosts: Hosts;
  bus: Bus;
  redis: Redis;
  /** What was logged. */
  lines: { level: string; text: string }[];
  /** Tells it, as the supervisor does, that a worker of its pool has died. */
  departed(worker: number): Promise<void>;
  /** What failed in a listener. */
  errors: unknown[];
}

/** A worker that is to be connected by `hosts.connect()`; leaves when the test ends. */
export async function host(options: HostOptions): Promise<Host> {
  const redis = await openRedis(options.redis);
  const lines: Host['lines'] = [];
  const errors: unknown[] = [];
  const note =
    (level: string) =>
    (details: { err?: unknown }, text: string): void => {
      lines.push({ level, text });
      if (details.err !== undefined) errors.push(details.err);
    };
  const log = { info: note('info'), warn: note('warn'), error: note('error') };
  const departures: ((worker: number) => Promise<void>)[] = [];
  const backlogBytes = options.backlogBytes ?? 1 << 30;
  const pool: Partial<Membership> = {
    id: randomUUID(),
    number: options.number,
    slot: 0,
    workers: 1,
    bus: new LocalBus({ self: options.number, backlogBytes, onError: (error) => errors.push(error) }),
    connect: () => Promise.resolve(),
    onDeparted: (fn) => void departures.push(fn),
  };
  const hosts = await joinHosts({
    pool: pool as Membership,
    redis,
    cluster: {
      ...defaults().cluster,
      lease_seconds: options.leaseSeconds ?? 10,
      inbox_entries: options.inboxEntries ?? 10_000,
    },
    host: `host-${options.number}`,
    info: { version: '1' },
    backlogBytes,
    patienceMs: options.redis.patience_seconds * 1000,
    log: log as never,
  });
  onTestFinished(async () => {
    await hosts.leave();
    await redis.close();
  });
  const departed = async (worker: number): Promise<void> => {
    for (const fn of departures) await fn(worker);
  };
  return { hosts, bus: hosts.bus, redis, lines, errors, departed };
}

/** So many connected hosts, numbered from 1. */
export async function connected(
  count: number,
  options: Omit<HostOptions, 'number'>,
  prepare: (host: Host) => void = () => undefined,
): Promise<Host[]> {
  const all = await Promise.all(Array.from({ length: count }, (_, i) => host({ ...options, number: i + 1 })));
  for (const one of all) {
    prepare(one);
    await one.hosts.connect();
  }
  return all;
}
