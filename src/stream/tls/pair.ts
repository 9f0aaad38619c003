import { X509Certificate, constants, createHash, createPrivateKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { learnEndPoint } from './end-point.js';
import type { PairFiles } from './self-signed.js';

/**
 * TLS 1.2 suites with forward secrecy and authenticated encryption (RFC 7590 §3, RFC 9325 §4.2); those of TLS 1.3 are all
 * good. The client's preference counts: a device without AES instructions is quicker with ChaCha20.
 */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-CCM',
].join(':');

/** A certificate that cannot be used, and why: for the person who runs the server. */
export class CertificateError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CertificateError';
  }
}

/** A certificate with its key, checked, and the TLS context made of them. */
export interface LoadedPair {
  context: SecureContext;
  /** PEM texts. */
  certificate: string;
  key: string;
  clientCa: string | undefined;
  /** Of the server's certificate; milliseconds since the epoch. */
  notBefore: number;
  notAfter: number;
  subject: X509Certificate;
}

/**
 * Reads and checks a pair of PEM files, and the authorities of client certificates where a file is named. Rejects with
 * {@link CertificateError} that names the file and what is wrong with it. An expired certificate is no error.
 */
export async function loadPair(
  files: PairFiles & { clientCa: string | undefined },
  ticketKeys: Buffer,
): Promise<LoadedPair> {
  const [certificate, key, clientCa] = await Promise.all([
    readPem(files.certificate),
    readPem(files.key),
    files.clientCa === undefined ? undefined : readPem(files.clientCa),
  ]);
  const subject = parse(files.certificate, 'is not a PEM certificate', () => new X509Certificate(certificate));
  const privateKey = parse(files.key, 'is not an unencrypted PEM private key', () => createPrivateKey(key));
  if (!subject.checkPrivateKey(privateKey)) {
    throw new CertificateError(`the key in ${files.key} does not belong to the certificate in ${files.certificate}`);
  }
  if (files.clientCa !== undefined) {
    parse(files.clientCa, 'is not a PEM certificate', () => new X509Certificate(clientCa!));
  }
  const context = parse(files.certificate, 'cannot be used for TLS', () =>
    createSecureContext({
      cert: certificate,
      key,
      ca: clientCa,
      minVersion: 'TLSv1.2',
      ciphers: CIPHERS,
      ecdhCurve: 'auto',
      // tls-exporter is not defined where renegotiation is possible (RFC 9266 §4.2).
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
      ticketKeys,
      // A ticket remembers that a client certificate was verified: it must not be good under other authorities.
      sessionIdContext: createHash('sha256')
        .update(clientCa ?? '')
        .digest('hex')
        .slice(0, 32),
    }),
  );
  learnEndPoint(context, subject.raw);
  const notBefore = Date.parse(subject.validFrom);
  const notAfter = Date.parse(subject.validTo);
  return { context, certificate, key, clientCa, notBefore, notAfter, subject };
}

async function readPem(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new CertificateError(`cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

function parse<Result>(file: string, problem: string, make: () => Result): Result {
  try {
    return make();
  } catch (error) {
    throw new CertificateError(`${file} ${problem}: ${(error as Error).message}`, { cause: error });
  }
}
