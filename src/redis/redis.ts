/**
 * Redis (or Valkey) as every room above sees it: single, behind Sentinels, or as a cluster, always the same calls. Replies are
 * as Redis gives them, strings as `Buffer`. What Redis cannot do at the moment (it restarts, fails over, moves a
 * slot, is full) is tried again until the caller's patience ends.
 */
export interface Redis {
  readonly kind: 'single' | 'sentinel' | 'cluster';
  /** First part of every key, without the colon. */
  readonly prefix: string;
  /** How long a command is tried by default. */
  readonly patienceMs: number;
  /** How many replicas must have what is to last. */
  readonly replicas: number;
  /** False from the moment that commands do not get through until one does again. */
  readonly up: boolean;
  /** Called when `up` changes. */
  onState(listener: (up: boolean) => void): void;
  /**
   * One command whose first argument after the name is its key. Commands of one tick leave together. One that may have been done though its reply
   * was lost is done again: callers see to it that this does no harm.
   *
   * @throws RedisUnavailable after `patienceMs`
   * @throws Error when Redis refuses the command for good
   */
  call(command: string, args: readonly RedisArgument[], options?: CallOptions): Promise<unknown>;
  /** A script, by its SHA, loaded where a server does not know it (yet, or any more). All keys lie in one slot. Else as {@link call}. */
  run(
    script: Script,
    keys: readonly (string | Buffer)[],
    args: readonly RedisArgument[],
    options?: CallOptions,
  ): Promise<unknown>;
  /** A connection of its own for commands that block; it connects again by itself, and its commands are never repeated. */
  blocking(key: string): BlockingRedis;
  /** Every master, to look at its keyspace or its INFO; the only one where there is no cluster. */
  masters(): Promise<RedisNode[]>;
  /** host:port of the master that serves the key, reachable or not; undefined while none is known to. */
  masterOf(key: string): string | undefined;
  /**
   * This process ends: from now on Redis may be away for so many milliseconds in all. Then it is forsaken as long as it is away: what waits for
   * it is given up, and so is what comes.
   */
  hasten(awayMs: number): void;
  readonly forsaken: boolean;
  onForsaken(listener: () => void): void;
  close(): Promise<void>;
}

export type RedisArgument = string | number | Buffer;

export interface CallOptions {
  /** How long to try, in milliseconds; by default `redis.patience_seconds`. 0 tries once, and only on a connection that stands. */
  patienceMs?: number;
  /** It counts as done only when `redis.replicas` replicas have it too (WAIT). */
  lasting?: boolean;
  /** Called when it is tried again although it may have been done: a lost answer. A script may be another one from then on. */
  onAgain?: () => Invocation | void;
  /** Written as soon as what runs now has returned, not at the tick's end: for who has gathered what comes in a tick already. */
  prompt?: boolean;
}

export interface BlockingRedis {
  /** Rejects when the connection breaks, or Redis refuses. */
  call(command: string, args: readonly RedisArgument[]): Promise<unknown>;
  close(): void;
}

export interface RedisNode {
  /** host:port */
  readonly address: string;
  /** There is a connection to it. */
  readonly reachable: boolean;
  call(command: string, args: readonly RedisArgument[]): Promise<unknown>;
}

/** What runs inside Redis, atomically. */
export interface Script {
  /** For metrics and errors. */
  readonly name: string;
  /** Lua; `KEYS` are all in one slot. */
  readonly source: string;
}

/** A script with what it is given. */
export interface Invocation {
  script: Script;
  keys: readonly (string | Buffer)[];
  args: readonly RedisArgument[];
}

/** Redis did not do it in time; it may do it later. */
export class RedisUnavailable extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RedisUnavailable';
  }
}

/** Redis, or its configuration, will not do; the message is a sentence that says what to change. */
export class RedisRefused extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RedisRefused';
  }
}
