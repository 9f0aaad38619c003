/**
 * Every reason by which `thrum_drops_total` counts what was not delivered or not accepted, and what it tells the operator: the table
 * of docs/operations.md is made of these.
 */
export const dropReasons = {
  // Slow readers.
  oldest: 'the oldest notifications for a slow reader (`slow_reader`)',
  superseded:
    'notifications for a slow reader that a newer one of the same node replaces, with `slow_reader: keep_latest`',
  outbox_full: "a notification for which a slow reader's full queue had no room left",
  outbox_overflow: 'a connection whose queue was full of what must not be dropped; it was ended and may resume',
  websocket_backpressure: 'a WebSocket that took no more; it was ended and may resume',

  // Stanzas without a recipient.
  undeliverable: 'an error or answer whose recipient is gone',
  session_ended: 'a stanza queued to a session that ended, of a kind that gets no error',
  undelivered: 'a stanza on its way to a worker that died, or could not be reached, of a kind that gets no error',
  ignored: 'stanzas that RFC 6121 wants ignored, such as presence to nobody',

  // Connections that were ended.
  websocket_violation: 'a WebSocket that broke RFC 6455 or RFC 7395, or sent a message over the limit',
  authentication_timeout: 'a connection that did not log in in time (`limits.authentication_seconds`)',
  idle_timeout: 'a connection that gave no sign of life (`keepalive`)',
  tls_handshake: 'a TLS handshake that failed',

  // Connections that were turned away.
  connections: 'a connection over `limits.connections`',
  connections_per_address: 'a connection over `limits.connections_per_address`',
  draining: 'a connection that came, or waited to be let in, while the worker was closing',
  admission_queue: 'a connection that found `admission.queue` others waiting',
  admission_left: 'nothing lost: a client that waited to be let in and left',
  proxy_untrusted: 'a connection from an address outside `proxy_protocol.trusted`',
  proxy_missing: 'a connection without a PROXY protocol header, or a WebSocket without `X-Forwarded-For`',
  proxy_version_1:
    'a connection with a header of version 1 of the PROXY protocol; let the load balancer send version 2',
  proxy_invalid: 'a PROXY protocol header that is wrong, or breaks off',

  // Requests that were refused.
  http_requests_per_minute: 'an HTTP request over `limits.http_requests_per_minute`, answered with 429',
  failed_authentications_per_minute: 'a login refused, since its address had failed too often',
  registrations_per_hour: 'an account refused, since its address had made too many',
  store_unavailable: 'a request to the pub-sub service that the store did not answer in time; it was told to wait',
  rate_slowed: 'nothing lost: a sender over `limits.bytes_per_second` was slowed down',

  // Between workers.
  bus_frame_too_large: 'a message between workers over the largest frame; a bug, report it',
  bus_without_listener: 'a message between workers that nobody handles; a bug, report it',
  bus_gap:
    'messages to a worker of another host that fell too far behind; it is [brought up to date anew](#a-host-lags)',
  bus_dead_sender: 'what a worker sent before it was counted as dead, and is of no use after that',
  catching_up:
    'kept items that subscribers were not sent after a worker had been cut off, since there were too many of one node, or more came than could wait',
  bus_unknown_sender: 'what one sent that is not in the cluster',
  bus_garbled: 'a message from another host that cannot be read; hosts of versions that do not go together, or a bug',
  directory_unknown:
    'sessions that could not be looked up: Redis was away, and no other worker of this host had any; senders got an error to try again later',
  directory_write_failed: 'a session that could not be shown to the other workers; look at the log and the disk',
  lookups_full: "a stanza of the server's own that would have waited behind 10,000 others for such look-ups",
} as const;

export type DropReason = keyof typeof dropReasons;
