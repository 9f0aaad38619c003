import type { Sink } from './outbox.js';

export type TransportKind = 'tcp' | 'tls' | 'websocket';

/** The byte carrier under one stream: TCP, TLS or WebSocket, or a relay to a socket that another worker holds. */
export interface Transport extends Sink {
  readonly kind: TransportKind;
  /** One stanza per message (RFC 7395 §3.3) instead of one endless document. */
  readonly framed: boolean;
  readonly secure: boolean;
  readonly remoteAddress: string;
  /** Its client can be sent to another host's port for TCP with STARTTLS. */
  readonly redirectable?: boolean;
  /** Stops and restarts reading. */
  pause(): void;
  resume(): void;
  /** Writes bytes ahead of everything queued that is not written yet. */
  writeNow(bytes: Buffer): void;
  /** Closes once all that was written has gone out; gives up after a while. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

/** What a transport tells the connection above it. */
export interface Receiver {
  /** Bytes have come; the view is valid during the call. `last` ends a WebSocket message. */
  receive(bytes: Uint8Array, last: boolean): void;
  /** The carrier can take more after it could not. */
  writable(): void;
  /** The carrier is gone. Called once. */
  closed(): void;
  /** The worker that has the carrier is closing: it should go soon. */
  dismissed(): void;
}

/** How long a peer may take to answer our close before the socket is destroyed, in milliseconds (RFC 6120 §4.4). */
export const CLOSE_PATIENCE = 3000;
