import { Histogram, LATENCIES } from './histogram.js';

/** What the link to Redis keeps count of: plain fields, as in `counters.ts`. */
export const redisCounters = {
  /** 1 while commands get through, 0 while they do not; undefined where there is no Redis. */
  up: undefined as number | undefined,
  /** Commands and scripts answered, and the seconds they took, by name. */
  calls: {} as Record<string, number>,
  seconds: {} as Record<string, number>,
  /** The same by the address of the server. */
  serverCalls: {} as Record<string, number>,
  serverSeconds: {} as Record<string, number>,
  /** Commands tried again, by reason. */
  retries: {} as Record<string, number>,
  /** Commands given up, after the patience. */
  unavailable: 0,
  /** Connections that broke. */
  lost: 0,
};

/** Seconds from the call of a command to its answer, including all that it waited and was tried again. */
export const redisLatency = new Histogram(LATENCIES);
