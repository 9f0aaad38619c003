import { childOf, childrenOf, hexOf, readDer, TAG, type Der } from './der.js';

/** id-ce-subjectAltName, 2.5.29.17. */
const SUBJECT_ALT_NAME = '551d11';
/** id-on-xmppAddr, 1.3.6.1.5.5.7.8.5 (RFC 6120 §13.7.1.4). */
const XMPP_ADDR = '2b06010505070805';

/**
 * The id-on-xmppAddr names in a certificate's subjectAltName, as they stand there; node:crypto shows them only within a
 * line of text for people. `certificate` is DER; what is malformed in it is passed over.
 */
export function xmppAddresses(certificate: Uint8Array): string[] {
  const whole = readDer(certificate, 0, certificate.length);
  const tbs = childOf(certificate, whole, TAG.sequence);
  const extensions = childOf(certificate, childOf(certificate, tbs, TAG.context(3)), TAG.sequence);
  if (extensions === undefined) return [];
  const addresses: string[] = [];
  for (const extension of childrenOf(certificate, extensions)) {
    const id = childOf(certificate, extension, TAG.oid);
    const value = childOf(certificate, extension, TAG.octets);
    if (id === undefined || value === undefined || hexOf(certificate, id) !== SUBJECT_ALT_NAME) continue;
    const names = readDer(certificate, value.start, value.end);
    if (names === undefined) continue;
    for (const name of childrenOf(certificate, names)) {
      const address = addressOf(certificate, name);
      if (address !== undefined) addresses.push(address);
    }
  }
  return addresses;
}

/** otherName [0] { type-id, [0] EXPLICIT UTF8String } (RFC 5280 §4.2.1.6). */
function addressOf(bytes: Uint8Array, name: Der): string | undefined {
  if (name.tag !== TAG.context(0)) return undefined;
  const id = childOf(bytes, name, TAG.oid);
  const text = childOf(bytes, childOf(bytes, name, TAG.context(0)), TAG.utf8);
  if (id === undefined || text === undefined || hexOf(bytes, id) !== XMPP_ADDR) return undefined;
  return Buffer.from(bytes.buffer, bytes.byteOffset + text.start, text.end - text.start).toString('utf8');
}
