import {
  type Invocation,
  type Redis,
  type RedisArgument,
  RedisRefused,
  RedisUnavailable,
  type Script,
} from '../../redis/redis.js';
import { StoreError } from '../store.js';

/** So long after the patience is remembered what was done, in milliseconds: what was sent before may come late. */
const LATE_MS = 30_000;

/** Any error as the store's own. */
export function storeError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const { message } = error as Error;
  if (error instanceof RedisUnavailable) return new StoreError('unavailable', message, { cause: error });
  // A key that holds another kind of value was not written by this store.
  const reason = /WRONGTYPE/.test(message) ? 'corrupt' : 'unavailable';
  const text = error instanceof RedisRefused ? message : `Redis refused: ${message}`;
  return new StoreError(reason, text, { cause: error });
}

/** One request to the store: all that Redis is asked for it shares one patience. */
export class Request {
  private readonly until: number;

  constructor(
    private readonly redis: Redis,
    since = performance.now(),
  ) {
    this.until = since + redis.patienceMs;
  }

  /** What comes too late is tried once. */
  private get left(): number {
    return Math.max(0, this.until - performance.now());
  }

  read(command: string, ...args: RedisArgument[]): Promise<unknown> {
    return this.redis.call(command, args, { patienceMs: this.left }).catch(fail);
  }

  /** Names in a ZSET in the order of their bytes. */
  names(key: string, after: string | undefined, limit: number): Promise<Buffer[]> {
    const start = after === undefined ? '-' : `(${after}`;
    return this.read('ZRANGEBYLEX', key, start, '+', 'LIMIT', 0, limit) as Promise<Buffer[]>;
  }

  look(script: Script, keys: readonly string[], args: readonly RedisArgument[]): Promise<unknown> {
    return this.redis.run(script, keys, args, { patienceMs: this.left }).catch(fail);
  }

  write(command: string, ...args: RedisArgument[]): Promise<unknown> {
    return this.redis.call(command, args, { patienceMs: this.left, lasting: true }).catch(fail);
  }

  /** `onAgain` hears of it when it may have been done already and is done again, because an answer was lost; it may say what is done instead. */
  change(
    script: Script,
    keys: readonly string[],
    args: readonly RedisArgument[],
    onAgain?: () => Invocation | void,
  ): Promise<unknown> {
    const options = { patienceMs: this.left, lasting: true, ...(onAgain && { onAgain }) };
    return this.redis.run(script, keys, args, options).catch(fail);
  }

  /** For what Redis is to remember of its changes, in milliseconds. */
  get lasting(): number {
    return this.redis.patienceMs + LATE_MS;
  }

  /** A script that is done once, however often it is asked for, and remembers in `marker` what it came to. */
  once(script: Script, keys: readonly string[], args: readonly RedisArgument[], marker: string): Promise<unknown> {
    return this.change(script, [...keys, marker], [...args, this.lasting]);
  }

  /** The same for what removes: what an attempt without an answer removed is not found again. */
  async removal(
    script: Script,
    keys: readonly string[],
    args: readonly RedisArgument[],
  ): Promise<{ reply: unknown; again: boolean }> {
    let again = false;
    const reply = await this.change(script, keys, args, () => void (again = true));
    return { reply, again };
  }
}

function fail(error: unknown): never {
  throw storeError(error);
}
