import { randomBytes } from 'node:crypto';
import type { Config } from '../config/config.js';
import { paths } from '../config/paths.js';
import { MigrationLock } from '../migration/lock.js';
import { claimKeyspace, keyspaceKey } from '../redis/keyspace.js';
import { openRedis } from '../redis/open.js';
import type { Redis } from '../redis/redis.js';
import { placeOf } from '../redis/settings.js';
import { type FillingMark, markInFolder, markInRedis } from '../store/filling.js';
import { openStore } from '../store/open.js';
import type { Store } from '../store/store.js';
import { serverSecret } from '../stream/sasl/secret.js';
import { CliError } from './failure.js';
import { livingHosts } from './roster.js';

/** A store of the configuration, opened by a command while no broker uses it. */
export interface Place {
  kind: 'lmdb' | 'redis';
  /** For sentences; names no secret. */
  name: string;
  store: Store;
  /** Keeps brokers away until it is filled. */
  mark: FillingMark;
  /** Fires when it may not be used any more; the reason is an error for people. */
  lost?: AbortSignal;
  close(): Promise<void>;
}

/**
 * Opens a store to read it, or to fill it.
 *
 * @throws CliError, MigrationRefused, RedisRefused or StoreError with a sentence
 */
export function openPlace(
  config: Config,
  kind: Place['kind'],
  use: 'read' | 'write',
  signal: AbortSignal,
): Promise<Place> {
  return kind === 'lmdb' ? openLmdb(config, use === 'read') : openInRedis(config, use === 'read', signal);
}

async function openLmdb(config: Config, readOnly: boolean): Promise<Place> {
  const path = paths(config.data_dir).store;
  const store = await openStore({ kind: 'lmdb', path, durability: 'commit', readOnly, migrating: true });
  const name = `the LMDB store in ${config.data_dir}`;
  return { kind: 'lmdb', name, store, mark: markInFolder(path), close: () => store.close() };
}

async function openInRedis(config: Config, readOnly: boolean, signal: AbortSignal): Promise<Place> {
  const redis = await openRedis(config.redis);
  const patience = { signal, tell: (what: string) => void process.stderr.write(`${what}\n`) };
  let lock: MigrationLock | undefined;
  const leave = async () => {
    await lock?.release();
    await redis.close();
  };
  try {
    lock = await (readOnly ? MigrationLock.takeToRead(redis, patience) : MigrationLock.take(redis, patience));
    await unused(redis);
    await share(config, redis, readOnly);
    const store = await openStore({ kind: 'redis', path: '', redis, durability: config.durability, migrating: true });
    const close = async () => {
      await store.close();
      await leave();
    };
    const lost = lock && { lost: lock.lost };
    return { kind: 'redis', name: placeOf(config.redis), store, mark: markInRedis(redis), ...lost, close };
  } catch (error) {
    await leave();
    throw error;
  }
}

async function unused(redis: Redis): Promise<void> {
  const hosts = await livingHosts(redis);
  if (hosts.length === 0) return;
  throw new CliError(
    `brokers run on this Redis: ${hosts.join(', ')}`,
    'stop them first: what they write meanwhile would be left behind, or mixed in',
  );
}

/** What hosts have in common beside their data goes along, so that clients and strangers notice nothing of the move. */
async function share(config: Config, redis: Redis, readOnly: boolean): Promise<void> {
  const cluster = { name: config.cluster.name, domain: config.domain };
  if (Number(await redis.call('EXISTS', [keyspaceKey(redis)])) === 1) {
    const { secret } = await claimKeyspace(redis, cluster);
    if (readOnly) await serverSecret(config.data_dir, secret);
    return;
  }
  if (readOnly)
    throw new CliError(
      `there is nothing of a broker under "${redis.prefix}:" in this Redis`,
      'correct redis.url, redis.nodes or redis.prefix',
    );
  const secret = await serverSecret(config.data_dir);
  await claimKeyspace(redis, cluster, { secret, proofKey: randomBytes(32), ticketKeys: randomBytes(48) });
}
