import pino, { type Logger } from 'pino';

/** Structured log on stderr, one JSON object a line; stdout belongs to what `start --json` promises. */
export function createLogger(level: string, base: Record<string, unknown>): Logger {
  return pino({ level, base }, pino.destination({ dest: 2, sync: true }));
}
