import { open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Counts } from './copy.js';
import type { Cursor } from './walk.js';

/** How far a migration has come; kept in data_dir until it has been verified. */
export interface Checkpoint {
  format: 1;
  /** From where to where, in words that name both places. */
  route: string;
  cursor: Cursor;
  counts: Counts;
  /** What there was to do when it began. */
  total: Counts;
  /** All is copied; what is left is to verify it. */
  copied: boolean;
}

/** A migration cannot begin; the message says why, the hint what to do. */
export class MigrationRefused extends Error {
  constructor(
    message: string,
    readonly hint: string,
  ) {
    super(message);
    this.name = 'MigrationRefused';
  }
}

export class CheckpointFile {
  readonly path: string;

  constructor(private readonly dataDir: string) {
    this.path = join(dataDir, 'migration.json');
  }

  /** Undefined when no migration is under way. */
  async read(): Promise<Checkpoint | undefined> {
    const text = await readFile(this.path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (text === undefined) return undefined;
    const checkpoint = parsed(text);
    if (checkpoint?.format === 1) return checkpoint;
    throw new MigrationRefused(
      `${this.path} is damaged, or was written by another version of Thrum`,
      'remove it, empty the target, and start anew',
    );
  }

  /** Resolves when it is on disk; a crash leaves the one before, or this one. */
  async write(checkpoint: Checkpoint): Promise<void> {
    const draft = `${this.path}.draft`;
    const file = await open(draft, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(checkpoint)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, this.path);
    const folder = await open(this.dataDir, 'r');
    await folder.sync().finally(() => folder.close());
  }

  remove(): Promise<void> {
    return rm(this.path, { force: true });
  }
}

function parsed(text: string): Checkpoint | undefined {
  try {
    return (JSON.parse(text) ?? undefined) as Checkpoint | undefined;
  } catch {
    return undefined;
  }
}
