import pino, { type DestinationStream, type Logger } from 'pino';
import { RedisUnavailable } from '../redis/redis.js';
import { StoreError } from '../store/store.js';

/** How often what fails for an outage is said, in milliseconds. */
const OUTAGE_MS = 60_000;

/** Structured log on stderr, one JSON object a line; stdout belongs to what `start --json` promises. */
export function createLogger(
  level: string,
  base: Record<string, unknown>,
  stream: DestinationStream = pino.destination({ dest: 2, sync: true }),
): Logger {
  const told = new Map<string, { at: number; since: number }>();
  return pino(
    {
      level,
      base: null,
      // Not as pino's own base: what the supervisor says of a worker would name `worker` twice, which some readers of logs refuse.
      mixin: () => ({ ...base }),
      hooks: {
        // What fails for an outage does so for all clients at once and for one reason: each kind is said once a minute, without a stack.
        logMethod(args, method) {
          const [details, text = ''] = args as unknown as [{ err?: unknown } | string, string?];
          if (typeof details !== 'object' || !isOutage(details.err)) return method.apply(this, args);
          const now = Date.now();
          const last = told.get(text);
          if (last !== undefined && now - last.at < OUTAGE_MS) return void last.since++;
          told.set(text, { at: now, since: 0 });
          const { err, ...rest } = details;
          const reason = err instanceof Error ? err.message : String(err);
          method.apply(this, [{ ...rest, reason, ...(last?.since && { unsaid: last.since }) }, text]);
        },
      },
    },
    stream,
  );
}

/** The store, or Redis, is away or full: the error tells nothing about us. */
function isOutage(error: unknown): boolean {
  return error instanceof RedisUnavailable || (error instanceof StoreError && error.reason !== 'corrupt');
}
