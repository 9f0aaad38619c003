import type { FillingMark } from '../store/filling.js';
import type { Store } from '../store/store.js';
import { MigrationRefused, type Checkpoint, type CheckpointFile } from './checkpoint.js';
import { added, copy, NONE, type Counts } from './copy.js';
import { digest, KINDS, type Digest } from './digest.js';
import { firstDifference, type Names } from './difference.js';
import { BEGINNING, type Batch } from './walk.js';

export { MigrationRefused } from './checkpoint.js';

/** How often it is written down how far it has come: what was done since is done again after a crash. */
const CHECKPOINT_MS = 250;

export interface Migration {
  source: Store;
  target: Store;
  /** Of the target; removed by whoever has verified it. */
  mark: FillingMark;
  names: Names;
  /** Names both places; a checkpoint is only gone on from on the same route. */
  route: string;
  file: CheckpointFile;
  signal: AbortSignal;
  progress: Progress;
}

/** What a person sees meanwhile. */
export interface Progress {
  /** Another step begins, of that much work. */
  begin(title: string, total: Counts | undefined): void;
  /** So much of it is done. */
  at(counts: Counts): void;
}

export interface Verdict {
  source: Digest;
  target: Digest;
  /** A sentence; undefined when both hold the same. */
  difference: string | undefined;
}

/** Copies, going on where an earlier attempt ended. False when the signal ended it before all was done. */
export async function transfer(migration: Migration): Promise<boolean> {
  const { source, target, mark, file, signal, progress, route } = migration;
  const found = await file.read();
  if (found !== undefined && found.route !== route) {
    throw new MigrationRefused(
      `another migration was not finished: ${found.route}`,
      `finish that one first, or remove ${file.path} and empty its target`,
    );
  }
  // Whoever emptied the target meanwhile wants it filled from the beginning.
  const goesOn = found !== undefined && !(await held(target)).nothing;
  const start = goesOn ? found : await begin(migration);
  if (start === undefined) return false;
  let checkpoint = start;
  if (checkpoint.copied) return true;
  await mark.set(route);
  progress.begin('copying', checkpoint.total);
  progress.at(checkpoint.counts);
  let written = -Infinity;
  const keep = async (more: Partial<Checkpoint> = {}) => {
    await target.flush();
    await file.write((checkpoint = { ...checkpoint, ...more }));
    written = performance.now();
  };
  const done = async (batch: Batch) => {
    checkpoint = { ...checkpoint, cursor: batch.cursor, counts: added(checkpoint.counts, batch) };
    progress.at(checkpoint.counts);
    if (performance.now() - written >= CHECKPOINT_MS) await keep();
  };
  try {
    await copy(source, target, checkpoint.cursor, done, signal);
  } catch (error) {
    // A target that cannot even keep what it has accepted is gone on with from where it was known to be.
    await keep().catch(() => undefined);
    throw error;
  }
  await keep({ copied: !signal.aborted });
  return !signal.aborted;
}

/** Undefined when the signal fires before all is counted. */
async function begin({
  source,
  target,
  names,
  route,
  file,
  progress,
  signal,
}: Migration): Promise<Checkpoint | undefined> {
  const { accounts, nodes, nothing } = await held(target);
  if (!nothing) {
    throw new MigrationRefused(
      `${names.target} is not empty: it has ${accounts} accounts and ${nodes} nodes`,
      'a migration only fills an empty store: choose another place, or empty this one first; ' +
        '--verify-only says whether it is the copy already',
    );
  }
  progress.begin('counting', undefined);
  const total = await amount(source, signal);
  if (signal.aborted) return undefined;
  const checkpoint: Checkpoint = {
    format: 1,
    route,
    cursor: BEGINNING,
    counts: NONE,
    total,
    copied: false,
  };
  // The target is ours from here on.
  await file.write(checkpoint);
  return checkpoint;
}

async function held({ accounts, nodes }: Store): Promise<{ accounts: number; nodes: number; nothing: boolean }> {
  const [users, names] = await Promise.all([accounts.count(), nodes.count()]);
  return { accounts: users, nodes: names, nothing: users + names === 0 };
}

const NAMES = 500;

/** What there is to copy; subscriptions are not counted, as that costs as much as reading them. */
async function amount({ accounts, nodes, items }: Store, signal: AbortSignal): Promise<Counts> {
  const total = { ...NONE, accounts: await accounts.count(), nodes: await nodes.count() };
  let after: string | undefined;
  do {
    const names = await nodes.list(after, NAMES);
    for (const count of await Promise.all(names.map((name) => items.count(name)))) total.items += count;
    after = names.at(-1);
  } while (after !== undefined && !signal.aborted);
  return total;
}

/** Reads both sides again and compares them. Rejects when the signal fires. */
export async function verify(migration: Omit<Migration, 'file' | 'mark' | 'route'>): Promise<Verdict> {
  const { source, target, names, progress, signal } = migration;
  const read = async (store: Store, side: string): Promise<Digest> => {
    progress.begin(`verifying ${side}`, await amount(store, signal));
    let counts = NONE;
    return digest(store, (batch) => progress.at((counts = added(counts, batch))), signal);
  };
  const verdict = { source: await read(source, 'the source'), target: await read(target, 'the target') };
  const same = KINDS.every(
    (kind) =>
      verdict.source[kind].count === verdict.target[kind].count &&
      verdict.source[kind].sum === verdict.target[kind].sum,
  );
  if (same) return { ...verdict, difference: undefined };
  progress.begin('looking for the difference', undefined);
  const difference = await firstDifference(source, target, names);
  return { ...verdict, difference: difference ?? 'the two sides changed while they were read' };
}
