/**
 * The session directory: which worker holds which bound resource of an account. Sharded by bare JID.
 * A worker's entries vanish with the worker.
 */
export interface Directory {
  /** Makes the entry visible to every worker; the entry of the same full JID that it displaced, if any. A pool of one knows at once. */
  bind(entry: SessionEntry): Promise<SessionEntry | undefined> | SessionEntry | undefined;
  /**
   * The session of that `id`, which another worker holds or held, is at this worker from now on: visible to every worker as with
   * {@link bind}. False, and nothing done, when another session has the resource by now.
   */
  adopt(entry: SessionEntry): Promise<boolean>;
  /** Priority or availability changed. Ignored when `id` no longer holds the resource. */
  update(entry: SessionEntry): void;
  /** Ignored when `id` no longer holds the resource, or holds it at another worker. */
  unbind(entry: SessionEntry): void;
  /** Entries of a bare JID at *other* workers; synchronous, from a cache that the bus invalidates. */
  remote(bare: string): readonly SessionEntry[];
  /** Sessions in the whole pool. */
  count(): number;
  /** Resolves when no write is under way; those that come wait for {@link release}. For another process that opens the tables. */
  hold?(): Promise<void>;
  release?(): void;
  close(): Promise<void>;
}

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
