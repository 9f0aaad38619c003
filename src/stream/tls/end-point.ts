import { createHash } from 'node:crypto';
import type { SecureContext, TLSSocket } from 'node:tls';
import { childOf, childrenOf, hexOf, readDer, TAG, type Der } from './der.js';

/** signatureAlgorithm to the hash of tls-server-end-point: that of the signature, but SHA-256 for MD5 and SHA-1 (RFC 5929 §4.1). */
const SIGNATURE_HASHES: Record<string, string> = {
  '2a864886f70d010104': 'sha256', // md5WithRSAEncryption
  '2a864886f70d010105': 'sha256', // sha1WithRSAEncryption
  '2a864886f70d01010e': 'sha224', // sha224WithRSAEncryption
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a8648ce3d0401': 'sha256', // ecdsa-with-SHA1
  '2a8648ce3d040301': 'sha224', // ecdsa-with-SHA224
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
};
const RSASSA_PSS = '2a864886f70d01010a';
/** The hash algorithms that RSASSA-PSS parameters name. */
const PSS_HASHES: Record<string, string> = {
  '2b0e03021a': 'sha256', // SHA-1
  '608648016503040204': 'sha224',
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
};

/**
 * Channel binding data tls-server-end-point (RFC 5929 §4) of a server certificate in DER. Undefined where the standard
 * defines none: a signature without a hash of its own, as EdDSA.
 */
export function serverEndPoint(certificate: Uint8Array): Buffer | undefined {
  const hash = signatureHash(certificate);
  return hash === undefined ? undefined : createHash(hash).update(certificate).digest();
}

/** By the TLS context that shows the certificate. */
const known = new WeakMap<SecureContext, { endPoint: Buffer | undefined }>();

/** Computes a context's end point once, for all its connections. */
export function learnEndPoint(context: SecureContext, certificate: Uint8Array): void {
  known.set(context, { endPoint: serverEndPoint(certificate) });
}

/** The end point of a server's connection that is open. */
export function endPointOf(socket: TLSSocket): Buffer | undefined {
  // Node keeps the options of a socket there; asking for the certificate itself takes 0.12 ms, a tenth of a login.
  const { _tlsOptions: options } = socket as { _tlsOptions?: { secureContext?: SecureContext } };
  const learnt = options?.secureContext && known.get(options.secureContext);
  if (learnt) return learnt.endPoint;
  const certificate = socket.getX509Certificate();
  return certificate && serverEndPoint(certificate.raw);
}

function signatureHash(bytes: Uint8Array): string | undefined {
  const whole = readDer(bytes, 0, bytes.length);
  if (whole === undefined) return undefined;
  // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }
  const [, algorithm] = childrenOf(bytes, whole);
  const id = childOf(bytes, algorithm, TAG.oid);
  if (id === undefined) return undefined;
  const oid = hexOf(bytes, id);
  return oid === RSASSA_PSS ? pssHash(bytes, algorithm) : SIGNATURE_HASHES[oid];
}

/** RSASSA-PSS-params: hashAlgorithm [0] DEFAULT sha1 (RFC 4055 §3.1). */
function pssHash(bytes: Uint8Array, algorithm: Der): string | undefined {
  const parameters = childOf(bytes, algorithm, TAG.sequence);
  const hash = childOf(bytes, childOf(bytes, parameters, TAG.context(0)), TAG.sequence);
  const id = childOf(bytes, hash, TAG.oid);
  return id === undefined ? 'sha256' : PSS_HASHES[hexOf(bytes, id)];
}
