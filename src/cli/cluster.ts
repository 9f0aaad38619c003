import type { Config } from '../config/config.js';
import { openRedis } from '../redis/open.js';
import { RedisRefused, RedisUnavailable } from '../redis/redis.js';
import type { Status } from './banner.js';
import { readCluster } from './cluster-reading.js';
import { controlRequest } from './control.js';
import { CliError } from './failure.js';
import { clusterTable } from './render/cluster-table.js';

/** Who is in the cluster and how it is; resolves to what goes to stdout. Reads Redis itself, so no broker has to run here. */
export async function clusterStatus(config: Config, options: { json?: boolean }): Promise<string> {
  if (config.store !== 'redis') return single(config, options);
  try {
    const redis = await openRedis(config.redis, { partial: true });
    const reading = await readCluster(redis).finally(() => redis.close());
    if (reading === undefined)
      throw new CliError(
        `there is no cluster under "${config.redis.prefix}:" in this Redis`,
        'start a host with this configuration, or correct redis.url, redis.nodes or redis.prefix',
      );
    const text = options.json ? JSON.stringify(reading, null, 2) : clusterTable(reading, process.stdout.columns);
    if (reading.missing.length === 0) return text;
    process.stdout.write(`${text}\n`);
    throw new CliError(
      `this is not all there is: ${reading.missing.join('. ')}`,
      'bring that master of Redis back, or a replica in its place',
    );
  } catch (error) {
    if (error instanceof RedisRefused || error instanceof RedisUnavailable) throw new CliError(error.message);
    throw error;
  }
}

/** A broker that is no part of a cluster. */
async function single(config: Config, options: { json?: boolean }): Promise<string> {
  const answer = await controlRequest(config.data_dir, 'status', {});
  if (answer === undefined || 'error' in answer)
    throw new CliError(
      `store: ${config.store} makes no cluster, and no broker runs on ${config.data_dir}`,
      'hosts make a cluster with store: redis',
    );
  const { pid, workers, domain } = answer.result as Status;
  if (options.json) return JSON.stringify({ cluster: null, domain, pid, workers }, null, 2);
  return `one host serves ${domain}: supervisor ${pid}, workers ${workers.join(', ')}\nhosts make a cluster with store: redis`;
}
