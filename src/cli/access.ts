import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import type { Config } from '../config/config.js';
import { paths } from '../config/paths.js';
import { RedisRefused } from '../redis/redis.js';
import { type Store, StoreError } from '../store/store.js';
import { operations, type Operations } from './admin.js';
import { controlRequest } from './control.js';
import { CliError } from './failure.js';
import { livingHosts } from './roster.js';

type Name = keyof Operations;
type Args<N extends Name> = Parameters<Operations[N]>[0];
type Result<N extends Name> = Awaited<ReturnType<Operations[N]>>;

/** Calls an administrative operation, wherever it is done. */
export type Administration = <N extends Name>(name: N, args: Args<N>) => Promise<Result<N>>;

/**
 * Lets `work` administer the broker of this configuration: through its control socket when it runs, else on its store.
 * @param create makes an empty store where there is none
 */
export async function administer<T>(
  config: Config,
  work: (call: Administration) => Promise<T>,
  options: { create?: boolean } = {},
): Promise<T> {
  const running = await controlRequest(config.data_dir, 'status', {});
  if (running) return work((name, args) => remote(config.data_dir, name, args));
  try {
    return await offline(config, work, options.create ?? false);
  } catch (error) {
    // Their messages are sentences for whoever runs the command.
    if (error instanceof StoreError || error instanceof RedisRefused) throw new CliError(error.message);
    throw error;
  }
}

async function remote<N extends Name>(dataDir: string, name: N, args: Args<N>): Promise<Result<N>> {
  const answer = await controlRequest(dataDir, name, args);
  if (!answer) throw new CliError('the broker stopped in the meantime', 'try again');
  if ('error' in answer) throw new CliError(answer.error);
  return answer.result as Result<N>;
}

async function offline<T>(config: Config, work: (call: Administration) => Promise<T>, create: boolean): Promise<T> {
  if (config.store === 'memory')
    throw new CliError('the memory store lives only in a running broker', 'start one with this configuration first');
  const { store, hosts, close } =
    config.store === 'redis' ? await inRedis(config, create) : await inFolder(config, create);
  const { Accounts } = await import('../stream/sasl/accounts.js');
  const { forgetAccount } = await import('../pubsub/forgetting.js');
  const { ProofCache } = await import('../stream/sasl/proofs.js');
  try {
    const proofs = new ProofCache({ key: randomBytes(32), capacity: 0 });
    const accounts = new Accounts(store.accounts, { iterations: config.sasl.iterations, proofs });
    accounts.leaving = (user) => forgetAccount(store, `${user}@${config.domain}`);
    const table = operations({ store, accounts });
    return await work(async (name, args) => {
      if (hosts.length > 0 && HEARD.has(name))
        throw new CliError(
          `brokers that must hear of it run on this Redis: ${hosts.join(', ')}`,
          'run this command on one of these hosts, with the configuration of its broker',
        );
      return (table[name] as unknown as (args: unknown) => Promise<never>)(args);
    });
  } finally {
    await close();
  }
}

/** What ends sessions, or tells subscribers: a broker that runs must do it. */
const HEARD: ReadonlySet<Name> = new Set(['user.passwd', 'user.remove', 'node.remove']);

/** A store without a broker in this data_dir. */
interface Opened {
  store: Store;
  /** Where brokers run on it all the same. */
  hosts: readonly string[];
  close(): Promise<void>;
}

async function inFolder(config: Config, create: boolean): Promise<Opened> {
  const path = paths(config.data_dir).store;
  if (!create && !existsSync(path))
    throw new CliError(
      `there is no store in ${config.data_dir}`,
      'start the broker once, or name its folder with --set data_dir=…',
    );
  mkdirSync(config.data_dir, { recursive: true, mode: 0o700 });
  const { openStore } = await import('../store/open.js');
  const store = await openStore({ kind: config.store, path, durability: 'flush' });
  return { store, hosts: [], close: () => store.close() };
}

async function inRedis(config: Config, create: boolean): Promise<Opened> {
  const { openRedis } = await import('../redis/open.js');
  const { claimKeyspace, keyspaceKey } = await import('../redis/keyspace.js');
  const { openStore } = await import('../store/open.js');
  const redis = await openRedis(config.redis);
  try {
    if (!create && Number(await redis.call('EXISTS', [keyspaceKey(redis)])) === 0)
      throw new CliError(
        `there is nothing of a broker under "${redis.prefix}:" in this Redis`,
        'start the broker once, or correct redis.url, redis.nodes or redis.prefix',
      );
    await claimKeyspace(redis, { name: config.cluster.name, domain: config.domain });
    const hosts = await livingHosts(redis);
    const store = await openStore({ kind: 'redis', path: '', redis, durability: config.durability });
    const close = async () => {
      await store.close();
      await redis.close();
    };
    return { store, hosts, close };
  } catch (error) {
    await redis.close();
    throw error;
  }
}

/** How many entries a list is fetched in at a time: a page must fit one line of the control socket well. */
const PAGE = 500;

/** All entries of a paged list, in order. */
export async function* everything<T>(
  page: (after: string | undefined, limit: number) => Promise<T[]>,
  key: (entry: T) => string,
): AsyncGenerator<T> {
  let after: string | undefined;
  for (;;) {
    const entries = await page(after, PAGE);
    yield* entries;
    if (entries.length < PAGE) return;
    after = key(entries.at(-1)!);
  }
}
