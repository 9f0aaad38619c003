import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, type RootDatabase, open } from 'lmdb';
import { StoreError, type SubscriptionRecord } from '../store.js';
import { storeError } from './errors.js';
import { FILE, checkFile } from './file.js';
import { NAMES } from './keys.js';
import type { StoredAccount, StoredNode } from './records.js';

/** Layout of the tables below; a store of another format is refused. */
const FORMAT = 1;

export interface EnvironmentOptions {
  /** A folder; made when missing. */
  path: string;
  /** Address space to begin with, in bytes. The map grows by itself when it is used up. */
  mapSizeBytes?: number;
  readOnly?: boolean;
}

/** Address space costs nothing; growing it takes a new mapping while the old one stays. */
const MAP_BYTES = 16 * 2 ** 30;
const MAX_TABLES = 16;
/** Processes and threads that read at once. */
const MAX_READERS = 512;

const BYTES = { keyEncoding: 'binary', encoding: 'binary' } as const;
const OBJECTS = { keyEncoding: 'binary', encoding: 'msgpack' } as const;

export type Bytes<K extends Buffer | string = Buffer> = Database<Buffer, K>;
export type Objects<T, K extends Buffer | string = Buffer> = Database<T, K>;

/** lmdb's declarations leave `keyEncoder` out. */
const BY_NAME = { keyEncoder: NAMES } as object;

function openTables(root: RootDatabase) {
  const bytes = (name: string): Bytes => root.openDB(name, BYTES);
  const objects = <T>(name: string): Objects<T> => root.openDB(name, OBJECTS);
  const named = <T>(name: string): Objects<T, string> => root.openDB(name, { ...BY_NAME, encoding: 'msgpack' });
  return {
    /** `format`, and `incarnation`: the last one that was given out. */
    meta: objects<number>('meta'),
    /** Name → account. */
    accounts: named<StoredAccount>('accounts'),
    /** Name → node. */
    nodes: named<StoredNode>('nodes'),
    /** Creator, incarnation of the node → nothing. */
    creators: bytes('creators'),
    /** Bare JID, incarnation of the node → affiliation and name of the node. */
    affiliations: bytes('affiliations'),
    /** Incarnation of the node, JID → subscription. */
    subscriptions: objects<SubscriptionRecord>('subscriptions'),
    /** Bare JID, key in `subscriptions` → nothing. */
    subscribers: bytes('subscribers'),
    /** Name of the node → head of its items (head.ts). */
    heads: root.openDB('heads', { ...BY_NAME, encoding: 'binary', useVersions: true }) as Bytes<string>,
    /** Incarnation of the items, sequence number → item (item.ts). */
    items: bytes('items'),
    /** Incarnation of the items, id → sequence number; only of nodes with many items. */
    ids: bytes('ids'),
    /** Kind, incarnation → what is gone already but still has to be wiped (garbage.ts). */
    garbage: bytes('garbage'),
  };
}

export type Tables = ReturnType<typeof openTables>;

/** One LMDB environment, opened by any number of processes at once. */
export class Environment {
  private constructor(
    readonly root: RootDatabase,
    readonly tables: Tables,
    readonly readOnly: boolean,
  ) {}

  /** @throws StoreError when the folder holds no store that can be used. */
  static open(options: EnvironmentOptions): Environment {
    const { path, readOnly = false } = options;
    if (readOnly && !existsSync(join(path, FILE))) throw new StoreError('unavailable', `There is no store in ${path}.`);
    let root: RootDatabase | undefined;
    try {
      checkFile(join(path, FILE));
      if (!readOnly) mkdirSync(path, { recursive: true, mode: 0o700 });
      root = open(path, {
        noSubdir: false,
        maxDbs: MAX_TABLES,
        maxReaders: MAX_READERS,
        mapSize: options.mapSizeBytes ?? MAP_BYTES,
        // The writer says what belongs together; lmdb's own way leaves a promise behind whose rejection nobody can handle.
        eventTurnBatching: false,
        readOnly,
      });
      const environment = new Environment(root, openTables(root), readOnly);
      environment.checkFormat(path);
      return environment;
    } catch (error) {
      void root?.close();
      throw opening(error, path);
    }
  }

  private checkFormat(path: string): void {
    const { meta } = this.tables;
    const key = Buffer.from('format');
    let format = meta.get(key);
    if (format === undefined && !this.readOnly) format = this.root.transactionSync(() => claimFormat(meta, key));
    if (format !== FORMAT)
      throw new StoreError(
        'unavailable',
        `The store in ${path} has format ${format}, and this version of Thrum reads format ${FORMAT} only: ` +
          'use the version that wrote it, or another folder.',
      );
  }

  /** Lets the next read see all that was committed by any process. */
  fresh(): void {
    this.root.resetReadTxn();
  }

  /** Another incarnation; inside a write transaction. */
  incarnation(): number {
    const { meta } = this.tables;
    const key = Buffer.from('incarnation');
    const next = (meta.get(key) ?? 0) + 1;
    void meta.put(key, next);
    return next;
  }

  /** Entries of a table; constant time. */
  count(table: { getStats(): object }): number {
    return (table.getStats() as { entryCount: number }).entryCount;
  }

  /** Resolves when every commit so far is on disk. */
  sync(): Promise<void> {
    // `sync` is not in lmdb's declarations.
    const root = this.root as unknown as { sync(done: (error?: Error) => void): void };
    return new Promise((resolve, reject) => root.sync((error) => (error ? reject(storeError(error)) : resolve())));
  }
}

function claimFormat(meta: Objects<number>, key: Buffer): number {
  const format = meta.get(key);
  if (format !== undefined) return format;
  void meta.put(key, FORMAT);
  return FORMAT;
}

function opening(error: unknown, path: string): StoreError {
  const { reason, message } = storeError(error);
  if (error instanceof StoreError && reason !== 'corrupt') return error;
  const what =
    reason === 'corrupt'
      ? `The store in ${path} is damaged or is no Thrum store (${message}): restore a backup, or move the folder away.`
      : `The store in ${path} cannot be opened: ${message}.`;
  return new StoreError(reason, what, { cause: error });
}
