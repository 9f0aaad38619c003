import type { DropReason } from './drops.js';

/**
 * The numbers that the hot path keeps: plain fields, incremented without a call. `src/metrics/registry.ts` shows them to
 * Prometheus when it is scraped. One set per worker.
 */
export const counters = {
  /** Connections accepted since the start, and open now, by transport. */
  accepted: { tcp: 0, tls: 0, websocket: 0 },
  open: { tcp: 0, tls: 0, websocket: 0 },
  /** Connections that were let in, and those that wait for it. */
  admitted: 0,
  admissionWaiting: 0,
  bytesIn: 0,
  bytesOut: 0,
  writes: 0,
  /** Stanzas received from clients. */
  stanzasIn: { iq: 0, message: 0, presence: 0, other: 0 },
  /** Stanzas queued to clients. */
  stanzasOut: 0,
  publishes: 0,
  publishErrors: 0,
  /** Notifications queued to local sessions. */
  deliveries: 0,
  /** Deliveries of items that had been missed. */
  caughtUp: 0,
  sessions: 0,
  /** Sessions waiting to be resumed (XEP-0198 §5). */
  detached: 0,
  resumed: 0,
  /** Sessions that went to another worker, came from one, or could not go. */
  moves: { out: 0, in: 0, failed: 0 },
  resumeFailed: 0,
  logins: 0,
  /** Failed authentications by SASL condition. */
  loginFailures: {} as Record<string, number>,
  /** Stream errors sent, by condition (RFC 6120 §4.9.3). */
  streamErrors: {} as Record<string, number>,
  /** Stanza errors sent, by condition (RFC 6120 §8.3.3). */
  stanzaErrors: {} as Record<string, number>,
  /** What was dropped instead of delivered or accepted, by reason. */
  drops: {} as Partial<Record<DropReason, number>>,
  /** iq requests answered by a feature, by route. */
  routes: {} as Record<string, number>,
  /** Bytes queued in all outboxes of this worker. */
  outboxBytes: 0,
  /** Entries of the session directory that were not as this worker had left them, and were put right. */
  reconciliations: 0,
  busFramesOut: 0,
  busFramesIn: 0,
  busBytesOut: 0,
  busBytesIn: 0,
};

/** Adds to a labelled counter. */
export function count<Label extends string>(
  table: Partial<Record<Label, number>>,
  label: NoInfer<Label>,
  by = 1,
): void {
  table[label] = (table[label] ?? 0) + by;
}
