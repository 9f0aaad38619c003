import { clusterCounters } from './cluster.js';
import { counters } from './counters.js';
import { counter, gauge, histogram, labelled, one, perMember, perWorker, worst, type Definition } from './define.js';
import { busySeconds, eventLoopLag, gcSeconds } from './event-loop.js';
import { admissionWait, publishToWrite, storeLatency } from './histogram.js';
import { redisCounters, redisLatency } from './redis.js';
import { maxFileDescriptors, STARTED } from './process.js';

/** Every metric of a worker. docs/operations.md shows this table. */
export const definitions: readonly Definition[] = [
  // Connections and sessions.
  labelled('gauge', 'thrum_connections', 'Open connections.', 'transport', () => counters.open),
  labelled(
    'counter',
    'thrum_connections_accepted_total',
    'Connections accepted; one that turns to TLS by STARTTLS counts for both tcp and tls.',
    'transport',
    () => counters.accepted,
  ),
  gauge('thrum_admission_waiting', 'Connections that wait to be let in.', () => counters.admissionWaiting),
  counter(
    'thrum_admission_admitted_total',
    'Connections that were let in, at once or after they had waited.',
    () => counters.admitted,
  ),
  histogram(
    'thrum_admission_wait_seconds',
    'How long those that had to wait did until they were let in.',
    admissionWait,
  ),
  gauge('thrum_sessions', 'Bound sessions, including those that wait to be resumed.', () => counters.sessions),
  gauge('thrum_sessions_detached', 'Sessions without a connection that wait to be resumed.', () => counters.detached),
  labelled(
    'counter',
    'thrum_sessions_moved_total',
    'Waiting sessions that went to another worker (out), came from one (in), or could not go (failed).',
    'outcome',
    () => counters.moves,
  ),
  counter('thrum_sessions_resumed_total', 'Sessions that were resumed.', () => counters.resumed),
  counter('thrum_sessions_resume_failed_total', 'Resumptions that were refused.', () => counters.resumeFailed),
  counter('thrum_logins_total', 'Successful authentications.', () => counters.logins),
  labelled(
    'counter',
    'thrum_login_failures_total',
    'Failed authentications, by SASL condition.',
    'condition',
    () => counters.loginFailures,
  ),

  // Traffic.
  counter('thrum_received_bytes_total', 'Bytes read from clients, after TLS.', () => counters.bytesIn),
  counter('thrum_sent_bytes_total', 'Bytes written to clients, before TLS.', () => counters.bytesOut),
  counter('thrum_writes_total', 'Writes to sockets; one carries all stanzas of a tick.', () => counters.writes),
  labelled(
    'counter',
    'thrum_stanzas_received_total',
    'Stanzas from clients; other counts stream management and negotiation.',
    'kind',
    () => counters.stanzasIn,
  ),
  counter('thrum_stanzas_sent_total', 'Stanzas queued to clients.', () => counters.stanzasOut),
  labelled(
    'counter',
    'thrum_iq_requests_total',
    'Requests answered by a feature, by route.',
    'route',
    () => counters.routes,
  ),

  // Publish-subscribe.
  counter('thrum_publishes_total', 'Items published.', () => counters.publishes),
  counter('thrum_publish_errors_total', 'Publishes that were refused.', () => counters.publishErrors),
  counter('thrum_deliveries_total', 'Notifications queued to sessions.', () => counters.deliveries),
  counter(
    'thrum_caught_up_total',
    'Notifications of kept items queued after this worker had been cut off from others.',
    () => counters.caughtUp,
  ),
  histogram(
    'thrum_publish_to_write_seconds',
    'From reading a publish to having written its notifications to the subscribers at the same worker.',
    publishToWrite,
  ),
  histogram('thrum_store_latency_seconds', 'From asking the store to keep something until it has.', storeLatency),

  // What went wrong.
  labelled(
    'counter',
    'thrum_drops_total',
    'What was not delivered or not accepted, by reason.',
    'reason',
    () => counters.drops,
  ),
  labelled(
    'counter',
    'thrum_stream_errors_total',
    'Stream errors sent, by condition (RFC 6120 §4.9.3).',
    'condition',
    () => counters.streamErrors,
  ),
  labelled(
    'counter',
    'thrum_stanza_errors_total',
    'Stanza errors sent, by condition (RFC 6120 §8.3.3).',
    'condition',
    () => counters.stanzaErrors,
  ),

  counter(
    'thrum_directory_reconciliations_total',
    'Entries of the session directory that were not as their worker had left them, and were put right.',
    () => counters.reconciliations,
  ),

  // Queues.
  gauge('thrum_outbox_bytes', 'Bytes that wait to be written to clients or acknowledged by them.', () => {
    return counters.outboxBytes;
  }),
  perWorker('gauge', 'thrum_bus_backlog_bytes', 'Bytes that wait for the slowest other worker.', (from) => {
    return from.bus?.backlog ?? 0;
  }),
  perWorker('gauge', 'thrum_bus_congested', '1 while publishers are paused because another worker lags.', (from) => {
    return from.bus?.congested ? 1 : 0;
  }),
  counter('thrum_bus_frames_sent_total', 'Frames sent to other workers.', () => counters.busFramesOut),
  counter('thrum_bus_frames_received_total', 'Frames from other workers.', () => counters.busFramesIn),
  counter('thrum_bus_sent_bytes_total', 'Bytes sent to other workers.', () => counters.busBytesOut),
  counter('thrum_bus_received_bytes_total', 'Bytes from other workers.', () => counters.busBytesIn),

  // Redis, with store: redis.
  {
    ...gauge('thrum_redis_up', '1 while Redis takes commands; the lowest of all workers.', () => 0),
    aggregator: 'min',
    read: () => (redisCounters.up === undefined ? [] : one(redisCounters.up)),
  },
  histogram(
    'thrum_redis_latency_seconds',
    'Time from calling Redis to its answer, with all that was waited and tried again.',
    redisLatency,
  ),
  labelled('counter', 'thrum_redis_calls_total', 'Commands and scripts that Redis answered.', 'call', () => {
    return redisCounters.calls;
  }),
  labelled('counter', 'thrum_redis_call_seconds_total', 'Seconds that they took.', 'call', () => redisCounters.seconds),
  labelled('counter', 'thrum_redis_server_calls_total', 'The same by server.', 'server', () => {
    return redisCounters.serverCalls;
  }),
  labelled('counter', 'thrum_redis_server_call_seconds_total', 'Seconds that they took, by server.', 'server', () => {
    return redisCounters.serverSeconds;
  }),
  labelled('counter', 'thrum_redis_retries_total', 'Commands that were tried again, by reason.', 'reason', () => {
    return redisCounters.retries;
  }),
  counter('thrum_redis_unavailable_total', 'Commands given up because Redis did not do them in time.', () => {
    return redisCounters.unavailable;
  }),
  counter('thrum_redis_connections_lost_total', 'Connections to Redis that broke.', () => redisCounters.lost),

  // Several hosts.
  {
    ...gauge('thrum_cluster_workers', 'Live workers of all hosts; as the worker sees it that sees fewest.', () => 0),
    aggregator: 'min',
    read: () => (clusterCounters.members === undefined ? [] : one(clusterCounters.members)),
  },
  perMember('thrum_cluster_lease_age_seconds', 'Since the lease was renewed.', ({ leaseAge }) => leaseAge / 1000),
  perMember('thrum_cluster_lease_seconds', 'How long a lease holds.', ({ leaseSeconds }) => leaseSeconds),
  perMember(
    'thrum_cluster_lag_batches',
    'Batches that the slowest worker of another host has yet to handle.',
    (state) => {
      return worst(state, 'batches');
    },
  ),
  perMember('thrum_cluster_lag_bytes', 'Bytes that the slowest worker of another host has yet to handle.', (state) => {
    return worst(state, 'bytes');
  }),
  perMember('thrum_cluster_lag_seconds', 'How long the oldest batch waits for a worker of another host.', (state) => {
    return worst(state, 'age') / 1000;
  }),
  counter('thrum_cluster_leases_lost_total', 'Leases that a worker lost, and took anew.', () => clusterCounters.lost),
  counter('thrum_cluster_cleanings_total', 'Dead workers, of any host, that this host cleaned up after.', () => {
    return clusterCounters.cleanings;
  }),
  counter('thrum_cluster_batches_sent_total', 'Batches put into inboxes of workers of other hosts.', () => {
    return clusterCounters.batchesOut;
  }),
  counter('thrum_cluster_batches_received_total', 'Batches read from inboxes.', () => clusterCounters.batchesIn),
  counter(
    'thrum_cluster_batches_resent_total',
    'Batches put into an inbox again, as the first try was in doubt.',
    () => {
      return clusterCounters.resent;
    },
  ),
  counter(
    'thrum_cluster_gaps_total',
    'Times that the way to a worker of another host began anew, with what was lost.',
    () => {
      return clusterCounters.gaps;
    },
  ),
  counter('thrum_cluster_frames_lost_total', 'Frames to workers of other hosts that were lost by it.', () => {
    return clusterCounters.framesLost;
  }),

  // The processes.
  histogram(
    'thrum_event_loop_lag_seconds',
    'How late timers came, of all workers; sampled ten times a second.',
    eventLoopLag,
  ),
  perWorker('counter', 'thrum_event_loop_busy_seconds_total', 'Seconds in which the event loop had work.', busySeconds),
  labelled('counter', 'thrum_gc_seconds_total', 'Seconds of garbage collection.', 'kind', () => gcSeconds),
  perWorker('counter', 'thrum_worker_cpu_seconds_total', 'Processor seconds, user and system, of all threads.', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  }),
  perWorker('gauge', 'thrum_worker_resident_bytes', 'Resident memory.', () => process.memoryUsage.rss()),
  perWorker('gauge', 'thrum_worker_heap_bytes', 'JavaScript heap in use.', () => process.memoryUsage().heapUsed),
  perWorker('gauge', 'thrum_worker_external_bytes', 'Buffers outside the JavaScript heap.', () => {
    return process.memoryUsage().external;
  }),
  perWorker('gauge', 'thrum_worker_max_file_descriptors', 'Open files, thus connections, that the system allows.', () =>
    maxFileDescriptors(),
  ),
  perWorker('gauge', 'thrum_worker_start_time_seconds', 'When the worker began, in seconds since the epoch.', () => {
    return STARTED;
  }),
  {
    name: 'thrum_certificate_expiry_timestamp_seconds',
    help: 'When the certificate in use expires, in seconds since the epoch; the earliest of all workers.',
    type: 'gauge',
    labels: [],
    aggregator: 'min',
    read: ({ certificates }) => (certificates === undefined ? [] : one(certificates.expires / 1000)),
  },
  {
    name: 'thrum_build_info',
    help: 'Always 1; the labels tell what runs.',
    type: 'gauge',
    labels: ['version', 'node'],
    aggregator: 'max',
    read: ({ version }) => [[{ version, node: process.versions.node }, 1]],
  },
];
