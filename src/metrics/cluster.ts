/** What the rooms that many hosts have in common keep count of: plain fields, as in `counters.ts`. */
export const clusterCounters = {
  /** Live workers of all hosts as last read; undefined where there is no cluster. */
  members: undefined as number | undefined,
  /** `performance.now()` when this worker's lease was last renewed. */
  renewed: 0,
  /** Leases that this worker lost. */
  lost: 0,
  /** Workers that this one saw dead. */
  departures: 0,
  /** Dead workers whose traces this worker removed. */
  cleanings: 0,
  /** Batches put into inboxes, read from the own one, and put there again. */
  batchesOut: 0,
  batchesIn: 0,
  resent: 0,
  /** Times that the way to a worker had to begin anew, and the frames that were lost by it. */
  gaps: 0,
  framesLost: 0,
};
