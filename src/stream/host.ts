import type { Config } from '../config/config.js';
import type { Logger } from 'pino';
import type { Element } from '../xml/element.js';
import type { Scanner } from '../xml/scanner.js';
import type { TreeBuilder } from '../xml/tree.js';
import type { StanzaError } from './stanza-error.js';
import type { Connection } from './connection.js';
import type { StreamFailure } from './errors.js';
import type { Shared } from './outbox.js';
import type { Authenticator } from './sasl/authenticator.js';
import type { CertificateStore } from './tls/certificates.js';
import type { Gate } from './gate.js';

/** What a bound session tells and asks the connection below it. */
export interface Bound {
  /** The full JID. */
  readonly address: string;
  /** The identifier that resumes it, where it may be resumed (XEP-0198 §5). */
  readonly resumption: string | undefined;
  /**
   * One stanza or nonza lies in the scanner's envelope. A promise means that the next one has to wait;
   * a failure ends the stream.
   */
  handle(): Promise<StreamFailure | undefined> | StreamFailure | undefined;
  /** The connection ended; `graceful` when the client closed the stream (RFC 6120 §4.4), so nothing is to be resumed. */
  detached(graceful: boolean): void;
  /** The client was silent for too long: ask for a sign of life. */
  probe(): void;
}

/** Why a session cannot be resumed (XEP-0198 §5), or a stream that asks so has to end (§6). */
export type ResumeFailure = { condition: 'item-not-found'; h?: number } | { stream: StreamFailure };

/** What the floor above gives to every connection: the composition root fills it in. */
export interface StreamHost {
  readonly config: Config;
  readonly log: Logger;
  readonly scanner: Scanner;
  readonly tree: TreeBuilder;
  readonly gate: Gate;
  /** Every open connection of this worker. */
  readonly connections: Set<Connection>;
  readonly authenticator: Authenticator;
  readonly certificates: CertificateStore | undefined;
  /** More children of `<stream:features/>` before authentication, serialised. */
  readonly loginFeatures: string;
  /** Whole `<stream:features/>`, by the circumstances that they depend on. */
  readonly offers: Map<string, Shared>;
  /** Children of `<stream:features/>` after authentication, serialised. */
  readonly boundFeatures: string;
  /** No new sessions: the worker is closing. */
  readonly draining: boolean;
  bind(
    connection: Connection,
    user: string,
    resource: string | undefined,
  ): Promise<Bound | StanzaError> | Bound | StanzaError;
  /** On success the connection is taken over, by a session of this worker or as a relay to another's, and `<resumed/>` is on its way. */
  resume(connection: Connection, user: string, previd: string, h: number): Promise<ResumeFailure | undefined>;
  /** In-band registration before authentication (XEP-0077 §3.1). */
  register(type: 'get' | 'set', query: Element, address: string): Promise<Element | StanzaError | undefined>;
}
