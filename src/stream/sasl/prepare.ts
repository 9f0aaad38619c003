import { isUtf8 } from 'node:buffer';
import { parseJid } from '../../jid/jid.js';
import { localpart, opaqueString } from '../../jid/precis.js';

/** The message as text; undefined when it is not UTF-8. */
export function utf8(data: Buffer): string | undefined {
  return isUtf8(data) ? data.toString('utf8') : undefined;
}

/** A simple user name (RFC 6120 §6.3.7) prepared as a localpart (RFC 7622 §3.3); undefined when it cannot be one. */
export function prepareUser(name: string): string | undefined {
  return localpart(name);
}

/** A password prepared by OpaqueString (RFC 8265 §4.2); undefined when it is empty or has forbidden characters. */
export function preparePassword(password: string): string | undefined {
  return opaqueString(password);
}

/**
 * Whether `authzid` is the account's own address. It has to be a bare JID (RFC 6120 §6.3.8), and nobody may act for
 * another account. Anything else is invalid-authzid.
 */
export function isOwnAddress(authzid: string, user: string, domain: string): boolean {
  const jid = parseJid(authzid);
  return jid !== undefined && jid.resource === '' && jid.local === user && jid.domain === domain;
}
