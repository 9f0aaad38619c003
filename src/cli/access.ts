import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import type { Config } from '../config/config.js';
import { paths } from '../config/paths.js';
import { operations, type Operations } from './admin.js';
import { controlRequest } from './control.js';
import { CliError } from './failure.js';

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
  return offline(config, work, options.create ?? false);
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
  const path = paths(config.data_dir).store;
  if (!create && !existsSync(path))
    throw new CliError(
      `there is no store in ${config.data_dir}`,
      'start the broker once, or name its folder with --set data_dir=…',
    );
  mkdirSync(config.data_dir, { recursive: true, mode: 0o700 });
  const { openStore } = await import('../store/open.js');
  const { Accounts } = await import('../stream/sasl/accounts.js');
  const { ProofCache } = await import('../stream/sasl/proofs.js');
  const store = await openStore({ kind: config.store, path, durability: 'flush' });
  try {
    const proofs = new ProofCache({ key: randomBytes(32), capacity: 0 });
    const accounts = new Accounts(store.accounts, { iterations: config.sasl.iterations, proofs });
    const table = operations({ store, accounts });
    return await work((name, args) => (table[name] as unknown as (args: unknown) => Promise<never>)(args));
  } finally {
    await store.close();
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
