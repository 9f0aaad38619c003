import { hostname } from 'node:os';
import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import { claimKeyspace, type ClusterSecrets } from '../redis/keyspace.js';
import type { Redis } from '../redis/redis.js';
import { openRedis } from '../redis/open.js';

/** What the supervisor of a host in a cluster holds. */
export interface ClusterEntry {
  redis: Redis;
  secrets: ClusterSecrets;
}

/**
 * Enters the cluster: the host may use the Redis, its keyspace is this cluster's, and the secrets that all hosts have in common are
 * here. They are put back when Redis has lost them.
 *
 * @throws RedisRefused with a sentence that says what to change
 */
export async function enterCluster(config: Config, log: Logger): Promise<ClusterEntry> {
  const redis = await openRedis(config.redis, { log });
  try {
    const secrets = await claimKeyspace(redis, ownerOf(config));
    redis.onState((up) => up && void restoreSecrets(redis, config, secrets, log));
    return { redis, secrets };
  } catch (error) {
    await redis.close();
    throw error;
  }
}

function ownerOf({ cluster, domain }: Config): { name: string; domain: string } {
  return { name: cluster.name, domain };
}

/** Puts back what the hosts have in common, if Redis has lost it. */
export async function restoreSecrets(
  redis: Redis,
  config: Config,
  secrets: ClusterSecrets,
  log: Logger,
): Promise<void> {
  try {
    await claimKeyspace(redis, ownerOf(config), secrets);
  } catch (error) {
    log.error({ err: error }, 'what the hosts have in common could not be looked after in Redis');
  }
}

/** What a worker says of its host when it meets those of others. */
export function hostOptions(config: Config, version: string) {
  const { cluster, redis, limits } = config;
  return {
    cluster,
    host: cluster.host === '' ? hostname() : cluster.host,
    info: { version },
    backlogBytes: limits.bus_backlog_bytes,
    patienceMs: redis.patience_seconds * 1000,
  };
}
