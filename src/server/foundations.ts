import type { Logger } from 'pino';
import type { Bus } from '../cluster/bus.js';
import type { Directory } from '../cluster/directory.js';
import type { Hosts } from '../cluster/hosts/hosts.js';
import { joinHosts } from '../cluster/hosts/join.js';
import { connectionName } from '../cluster/hosts/keys.js';
import type { Membership } from '../cluster/member.js';
import { openDirectory } from '../cluster/session-table.js';
import { paths } from '../config/paths.js';
import { openRedis } from '../redis/open.js';
import type { Redis } from '../redis/redis.js';
import { displaced } from '../session/bind.js';
import { Registry } from '../session/registry.js';
import { openStore } from '../store/open.js';
import type { Store } from '../store/store.js';
import { hostOptions } from './cluster.js';
import type { WorkerSettings } from './worker-settings.js';

/** The other workers, and what lasts: all else stands on it. */
export interface Foundations {
  /** Where there are other hosts. */
  redis: Redis | undefined;
  hosts: Hosts | undefined;
  bus: Bus;
  store: Store;
  directory: Directory;
  /** The sessions of this worker, of which the directory may have to end some. */
  registry: Registry;
}

/** How long all who open the store before may take together, in milliseconds: workers that start with this one, a backup. */
const OPENING_MS = 600_000;

export async function layFoundations(pool: Membership, log: Logger): Promise<Foundations> {
  const { config, version } = pool.settings as WorkerSettings;
  const name = connectionName(config.redis, pool.number);
  const redis = config.store === 'redis' ? await openRedis(config.redis, { log, name }) : undefined;
  const hosts = redis && (await joinHosts({ pool, redis, ...hostOptions(config, version), log }));
  const bus = hosts?.bus ?? pool.bus;
  const registry = new Registry();
  await pool.ask('opening', undefined, OPENING_MS);
  const store = await openStore({
    kind: config.store,
    path: paths(config.data_dir).store,
    redis,
    durability: config.durability,
    // What it finds is the same for all workers.
    log: pool.slot === 0 ? log : undefined,
  });
  const directory = await openDirectory({
    pool,
    dataDir: config.data_dir,
    cluster: redis &&
      hosts && {
        redis,
        hosts,
        leaseSeconds: config.cluster.lease_seconds,
        onLost: (entry) => displaced(registry, entry),
        log,
      },
  });
  await pool.ask('opened');
  return { redis, hosts, bus, store, directory, registry };
}
