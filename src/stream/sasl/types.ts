/** The conditions of RFC 6120 §6.5. */
export type SaslCondition =
  | 'aborted'
  | 'account-disabled'
  | 'credentials-expired'
  | 'encryption-required'
  | 'incorrect-encoding'
  | 'invalid-authzid'
  | 'invalid-mechanism'
  | 'malformed-request'
  | 'mechanism-too-weak'
  | 'not-authorized'
  | 'temporary-auth-failure';

/** Channel binding types that may be offered, the strongest first (XEP-0440 §3 asks for tls-server-end-point). */
export const CHANNEL_BINDING_TYPES = ['tls-exporter', 'tls-server-end-point'] as const;
export type ChannelBindingType = (typeof CHANNEL_BINDING_TYPES)[number];

/** Channel binding data of this connection, by type; a type that is absent cannot be used here. */
export type ChannelBindings = { readonly [Type in ChannelBindingType]?: Buffer };

/** What a mechanism may know of the connection. */
export interface SaslContext {
  /** Our domain, prepared (RFC 7622 §3.2). */
  domain: string;
  /** The stream is protected by TLS. */
  secure: boolean;
  /** Passwords may be sent as they are: inside TLS, or where the configuration says so. */
  plainAllowed: boolean;
  bindings: ChannelBindings;
  /** DER of a client certificate that the TLS layer verified. */
  certificate?: Buffer;
}

export interface Challenge {
  kind: 'challenge';
  data: Buffer;
}
export interface Success {
  kind: 'success';
  /** The authorised account's prepared localpart. */
  user: string;
  /** Additional data with success (RFC 6120 §6.4.6). */
  data?: Buffer;
}
export interface Failure {
  kind: 'failure';
  condition: SaslCondition;
  text?: string;
}
export type SaslStep = Challenge | Success | Failure;

/** One authentication exchange. It is over when a step is not a challenge; what is sent to it then is malformed. */
export interface Exchange {
  readonly mechanism: string;
  /**
   * Takes the client's decoded message: the initial response, or the answer to a challenge. An empty buffer is a
   * message without data (`=` or no text). One call at a time. Never throws and never rejects when it
   * comes from {@link Authenticator}: a store or thread pool that fails is a temporary-auth-failure.
   */
  respond(data: Buffer): SaslStep | Promise<SaslStep>;
}

export function failure(condition: SaslCondition, text?: string): Failure {
  return text === undefined ? { kind: 'failure', condition } : { kind: 'failure', condition, text };
}
