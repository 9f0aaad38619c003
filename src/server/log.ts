import pino, { type Logger } from 'pino';

/** Structured log on stderr, one JSON object a line; stdout belongs to what `start --json` promises. */
export function createLogger(level: string, base: Record<string, unknown>): Logger {
  // Not as pino's own base: what the supervisor says of a worker would name `worker` twice, which some readers of logs refuse.
  return pino({ level, base: null, mixin: () => ({ ...base }) }, pino.destination({ dest: 2, sync: true }));
}
