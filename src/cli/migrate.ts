import { existsSync } from 'node:fs';
import type { Config } from '../config/config.js';
import { paths } from '../config/paths.js';
import { CheckpointFile } from '../migration/checkpoint.js';
import { NONE, type Counts } from '../migration/copy.js';
import { KINDS } from '../migration/digest.js';
import { MigrationRefused, transfer, verify, type Progress, type Verdict } from '../migration/migrate.js';
import { RedisRefused, RedisUnavailable } from '../redis/redis.js';
import { StoreError } from '../store/store.js';
import { BrokerRunning, ControlServer } from './control.js';
import { CliError, EXIT } from './failure.js';
import { openPlace, type Place } from './places.js';
import { grouped, ProgressBar } from './render/progress.js';
import { table } from './text.js';
import { untilStopped } from './until.js';

export interface MigrateOptions {
  from: Place['kind'];
  to: Place['kind'];
  /** Copies nothing. */
  verifyOnly?: boolean;
}

const AGAIN = 'run the same command again: it goes on from there';

/** Moves everything that lasts from one store to the other; resolves to what goes to stdout. */
export async function migrate(config: Config, { from, to, verifyOnly = false }: MigrateOptions): Promise<string> {
  if (from === to) throw new CliError('--from and --to are the same store', undefined, EXIT.usage);
  if (from === 'lmdb' && !existsSync(paths(config.data_dir).store))
    throw new CliError(`there is no store in ${config.data_dir}`, 'name its folder with --set data_dir=…');
  // Who holds the socket has data_dir: no broker runs on it, and none starts until we are done.
  const lock = new ControlServer(config.data_dir, { status: busy });
  await lock.listen().catch((error: unknown) => {
    if (!(error instanceof BrokerRunning)) throw error;
    throw new CliError(error.message, 'stop it first: what it writes meanwhile would be left behind');
  });
  try {
    return await untilStoppedWith((signal) => move(config, from, to, verifyOnly, signal));
  } catch (error) {
    throw told(error);
  } finally {
    await lock.close();
  }
}

function busy(): never {
  throw new Error('a migration is under way here: wait for its end');
}

async function untilStoppedWith<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  let result!: T;
  await untilStopped(async (signal) => void (result = await work(signal)));
  return result;
}

async function move(
  config: Config,
  from: Place['kind'],
  to: Place['kind'],
  verifyOnly: boolean,
  asked: AbortSignal,
): Promise<string> {
  const source = await openPlace(config, from, 'read', asked);
  const target = await openPlace(config, to, verifyOnly ? 'read' : 'write', asked).catch(async (error: unknown) => {
    await source.close();
    throw error;
  });
  const losses = [source.lost, target.lost].filter((lost) => lost !== undefined);
  const signal = AbortSignal.any([asked, ...losses]);
  const bar = new ProgressBar({ output: process.stderr });
  const migration = {
    source: source.store,
    target: target.store,
    mark: target.mark,
    names: { source: source.name, target: target.name },
    route: `from ${source.name} to ${target.name}`,
    file: new CheckpointFile(config.data_dir),
    signal,
    progress: shownOn(bar),
  };
  try {
    if (!verifyOnly && !(await transfer(migration))) throw new CliError('stopped before all was copied', AGAIN, 130);
    const verdict = await verify(migration);
    bar.end();
    if (verdict.difference !== undefined) {
      process.stdout.write(`${comparison(verdict, from, to)}\n`);
      throw new CliError(verdict.difference, 'the copy is not good: start anew into an empty store');
    }
    if (!verifyOnly) {
      await target.mark.remove();
      await migration.file.remove();
    }
    const next = verifyOnly ? '' : `\nset store: ${to} in the configuration, and start the broker`;
    return `${comparison(verdict, from, to)}\nboth sides hold the same${next}`;
  } catch (error) {
    throw losses.find(({ aborted }) => aborted)?.reason ?? error;
  } finally {
    bar.end();
    await Promise.all([source.close(), target.close()]);
  }
}

function shownOn(bar: ProgressBar): Progress {
  const sum = (counts: Counts) => counts.accounts + counts.nodes + counts.items;
  let total = NONE;
  return {
    begin(title, amount) {
      total = amount ?? NONE;
      bar.begin(title, amount && sum(amount));
    },
    at(counts) {
      const kinds = ['accounts', 'nodes', 'items'] as const;
      bar.at(
        sum(counts),
        kinds.map((what) => ({ what, done: counts[what], total: total[what] })),
      );
    },
  };
}

const SHOWN = 16;

function comparison({ source, target }: Verdict, from: string, to: string): string {
  const rows = KINDS.map((kind) => [
    kind,
    grouped(source[kind].count),
    grouped(target[kind].count),
    source[kind].sum.slice(0, SHOWN),
    target[kind].sum.slice(0, SHOWN),
    source[kind].count === target[kind].count && source[kind].sum === target[kind].sum ? 'same' : 'DIFFERENT',
  ]);
  return table(['', from, to, `SHA-256 ${from}`, `SHA-256 ${to}`, ''], rows, [from, to]);
}

/** The error as a sentence for people, with what to do. */
function told(error: unknown): unknown {
  if (error instanceof MigrationRefused) return new CliError(error.message, error.hint);
  if (error instanceof RedisRefused) return new CliError(error.message);
  if (error instanceof StoreError || error instanceof RedisUnavailable) return new CliError(error.message, AGAIN);
  // The checkpoint could not be read or written.
  if (error instanceof Error && 'syscall' in error) return new CliError(error.message, AGAIN);
  if ((error as Error).name === 'AbortError') return new CliError('stopped before all was verified', AGAIN, 130);
  return error;
}
