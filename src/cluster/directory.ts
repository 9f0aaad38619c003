/**
 * The session directory: which worker holds which bound resource of an account. Sharded by bare JID.
 * A worker's entries vanish with the worker.
 */
export interface Directory {
  /**
   * Makes the entry visible to every worker; the entry of the same full JID that it displaced, if any, or why nothing was
   * done. A pool of one knows at once.
   */
  bind(entry: SessionEntry, rules?: BindRules): Promise<BindOutcome> | BindOutcome;
  /**
   * The session of that `id`, which another worker holds or held, is at this worker from now on: visible to every worker as with
   * {@link bind}. False, and nothing done, when another session has the resource by now.
   */
  adopt(entry: SessionEntry): Promise<boolean>;
  /**
   * Priority or availability changed. Ignored when `id` no longer holds the resource. Resolves when every worker can know;
   * undefined where there is nothing to wait for.
   */
  update(entry: SessionEntry): Promise<undefined> | undefined;
  /** Ignored when `id` no longer holds the resource, or holds it at another worker. */
  unbind(entry: SessionEntry): void;
  /**
   * Entries of a bare JID at *other* workers, from a cache that the bus invalidates: at once where they are known or lie in this
   * machine, else by a promise. It never rejects: what cannot be learnt in time is `partial`, or {@link UNKNOWN}.
   */
  remote(bare: string): Entries | Promise<Entries>;
  /** Hears of available sessions that died with their worker, as their entries are removed here: of all whose account has others. */
  onSwept?(listener: (entry: SessionEntry) => void): void;
  /** Sessions in the whole pool or cluster, as far as known at the moment. */
  count(): number;
  /** The same for each shard, freshly counted, where there is a cluster. */
  shards?(): Promise<{ shard: number; sessions: number }[]>;
  /** Resolves when no write is under way; those that come wait for {@link release}. For another process that opens the tables. */
  hold?(): Promise<void>;
  release?(): void;
  close(): Promise<void>;
}

/** `partial`: the directory could not be asked, and there may be others than these. */
export type Entries = readonly SessionEntry[] & { readonly partial?: true };

/** Those of them that are known although the directory could not be asked. */
export function partial(entries: SessionEntry[]): Entries {
  return Object.assign(entries, { partial: true as const });
}

/** None is known, which does not mean that there is none. */
export const UNKNOWN: Entries = Object.freeze(partial([]));

export interface BindRules {
  /** Another living session that has the resource loses it; otherwise the bind is refused as `taken`. */
  replace: boolean;
  /** How many more sessions the account may have than it has at this worker. Those at others take of it; `too-many` when none is left. */
  room: number;
}

/** The entry that was displaced, none, or why the entry was not bound. */
export type BindOutcome = SessionEntry | undefined | 'taken' | 'too-many';

export interface SessionEntry {
  bare: string;
  resource: string;
  /** Bus number of the worker that holds the session. */
  worker: number;
  /** Unique over all workers and incarnations. */
  id: string;
  available: boolean;
  /** -128 to 127 (RFC 6121 §4.7.2.3). */
  priority: number;
}
