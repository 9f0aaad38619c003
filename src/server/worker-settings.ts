import type { Config } from '../config/config.js';

/** What the supervisor gives to every worker. */
export interface WorkerSettings {
  config: Config;
  version: string;
  /** Agreed before, since every worker listens on it itself. */
  httpPort: number | undefined;
  httpsPort: number | undefined;
  /** The server's lasting secret, the key of the pool's password proofs, and its TLS ticket keys: base64. */
  secret: string;
  proofKey: string;
  ticketKeys: string;
}

/** What a worker tells when it accepts connections. */
export interface WorkerReady {
  c2s: number | undefined;
  c2s_tls: number | undefined;
}
