import type { RawClient } from '../support/client.js';
import { until, type RedisCluster, type RedisServer } from '../support/redis.js';
import { startServer, type Place, type TestServer } from '../support/server.js';
import { SERVICE, itemIds, pubsub } from '../protocol/support/pubsub.js';

export interface HostOptions {
  workers?: number;
  set?: Record<string, unknown>;
  on?: Place;
}

/** Settings of a host on that Redis. */
export function onRedis(redis: RedisServer | RedisCluster): Record<string, unknown> {
  return {
    store: 'redis',
    ...('nodes' in redis ? { 'redis.nodes': redis.nodes } : { 'redis.url': redis.url }),
    'redis.patience_seconds': 2,
    'cluster.lease_seconds': 3,
    'limits.enabled': false,
  };
}

/** A broker process on that Redis, with a folder and ports of its own. */
export function startHost(redis: RedisServer | RedisCluster, options: HostOptions = {}): Promise<TestServer> {
  const { workers = 1, set, on } = options;
  return startServer({ workers, set: { ...onRedis(redis), ...set }, ...(on && { on }) });
}

/** It takes clients, by its own word. */
export async function ready(host: TestServer): Promise<boolean> {
  return (await host.fetch('/readyz')).status === 200;
}

/** Publishes the item until the reader hears of it: hosts that took each other for dead have to meet before anybody does. */
export async function untilHeard(sensor: RawClient, reader: RawClient, node: string, item: string): Promise<void> {
  const reading = pubsub(`<publish node='${node}'><item id='${item}'><v xmlns='urn:x'/></item></publish>`);
  await until(`${item} at ${reader.jid}`, async () => {
    await sensor.request('set', reading, SERVICE);
    await reader.ping();
    return reader.unread.some((stanza) => new RegExp(`id=['"]${item}['"]`).test(stanza.toString()));
  });
}

/** The id of the item that the next notification of the node brings. */
export async function nextItem(client: RawClient, node: string): Promise<string> {
  return itemIds(await client.event(node))[0]!;
}

/** As many as are asked for, as they come. */
export async function nextItems(client: RawClient, node: string, count: number): Promise<string[]> {
  const got: string[] = [];
  while (got.length < count) got.push(await nextItem(client, node));
  return got;
}

/** '0', '1', … */
export function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, i) => String(i));
}
