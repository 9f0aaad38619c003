import { decodeBase64 } from './base64.js';

/** What RFC 5802 §7 calls server-error-value, as far as this server says it; unknown users are never told apart. */
export type ScramError =
  | 'invalid-encoding'
  | 'extensions-not-supported'
  | 'invalid-username-encoding'
  | 'channel-bindings-dont-match'
  | 'channel-binding-not-supported'
  | 'unsupported-channel-binding-type'
  | 'server-does-support-channel-binding'
  | 'other-error';

export interface ClientFirst {
  /** `n,,` and the like, as received: it comes back in the client's final message. */
  gs2Header: string;
  flag: 'n' | 'y' | 'p';
  /** Name of the channel binding type, with flag `p`. */
  binding: string;
  authzid: string | undefined;
  username: string;
  nonce: string;
  /** client-first-message-bare: what the signatures cover. */
  bare: string;
}

export interface ClientFinal {
  /** Decoded: gs2-header and channel binding data. */
  channelBinding: Buffer;
  nonce: string;
  proof: Buffer;
  /** client-final-message-without-proof: what the signatures cover. */
  withoutProof: string;
}

const EXTENSIONS = String.raw`((?:,[A-Za-z]=[^,\0]+)*)`;
const NONCE = String.raw`r=([\x21-\x2b\x2d-\x7e]+)`;
const CLIENT_FIRST = new RegExp(
  String.raw`^(([ny]|p=([A-Za-z0-9.-]+)),(?:a=([^,\0]+))?,)((m=[^,\0]+,)?n=([^,\0]+),${NONCE}${EXTENSIONS})$`,
);
const CLIENT_FINAL = new RegExp(String.raw`^(c=([A-Za-z0-9+/=]+),${NONCE}${EXTENSIONS}),p=([A-Za-z0-9+/=]+)$`);

/** Reads a client-first-message (RFC 5802 §7). */
export function parseClientFirst(message: string): ClientFirst | ScramError {
  const match = CLIENT_FIRST.exec(message);
  if (match === null) return 'other-error';
  const [, gs2Header, flag, binding = '', quotedAuthzid, bare, mandatory, quotedName, nonce, extensions] = match;
  // `m` is reserved: whoever sends it relies on something that we do not know (RFC 5802 §5.1).
  if (mandatory !== undefined || extensions.includes(',m=')) return 'extensions-not-supported';
  const username = decodeName(quotedName);
  const authzid = quotedAuthzid === undefined ? undefined : decodeName(quotedAuthzid);
  if (username === undefined || (authzid === undefined && quotedAuthzid !== undefined)) {
    return 'invalid-username-encoding';
  }
  return {
    gs2Header: gs2Header,
    flag: flag.charAt(0) as ClientFirst['flag'],
    binding,
    authzid,
    username,
    nonce: nonce,
    bare: bare,
  };
}

/** Reads a client-final-message (RFC 5802 §7). */
export function parseClientFinal(message: string): ClientFinal | ScramError {
  const match = CLIENT_FINAL.exec(message);
  if (match === null) return 'other-error';
  const [, withoutProof, channelBinding, nonce, extensions, proof] = match;
  if (extensions.includes(',m=')) return 'extensions-not-supported';
  const bound = decodeBase64(channelBinding);
  const proven = decodeBase64(proof);
  if (bound === undefined || proven === undefined) return 'invalid-encoding';
  return { channelBinding: bound, nonce, proof: proven, withoutProof };
}

/** A saslname: `=2C` and `=3D` stand for comma and equals sign; any other equals sign is an error (RFC 5802 §5.1). */
function decodeName(quoted: string): string | undefined {
  if (!quoted.includes('=')) return quoted;
  if (/=(?!2C|3D)/.test(quoted)) return undefined;
  return quoted.replaceAll('=2C', ',').replaceAll('=3D', '=');
}
