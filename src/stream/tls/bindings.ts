import type { TLSSocket } from 'node:tls';
import type { ChannelBindings } from '../sasl/types.js';
import { childOf, readDer, TAG } from './der.js';
import { endPointOf } from './end-point.js';

const EXPORTER_LABEL = 'EXPORTER-Channel-Binding';
const EXPORTER_BYTES = 32;
/** RFC 9266 §2: the context is there and has no length, which TLS 1.2 tells from no context (RFC 5705 §4). */
const EXPORTER_CONTEXT = Buffer.alloc(0);

/** Channel binding data of a server's TLS connection whose handshake is done. Empty when the connection is over. */
export function channelBindings(socket: TLSSocket): ChannelBindings {
  const protocol = socket.getProtocol();
  if (protocol === null) return {};
  const bindings: { -readonly [Type in keyof ChannelBindings]: Buffer } = {};
  if (protocol === 'TLSv1.3' || hasExtendedMasterSecret(socket.getSession())) {
    bindings['tls-exporter'] = socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, EXPORTER_CONTEXT);
  }
  const endPoint = endPointOf(socket);
  if (endPoint !== undefined) bindings['tls-server-end-point'] = endPoint;
  return bindings;
}

/** What node keeps behind `authorized`, which it sets only on sockets that a tls.Server accepted. */
interface Verifier {
  verifyError?(): { code?: string; message: string } | null;
}

/** The client's certificate and whether the authorities of `tls.client_ca` vouch for it. */
export type ClientCertificate = { der: Buffer } | { problem: string };

/** Looks at the client's certificate; `problem` says why it cannot be relied on, `none` when it showed none. */
export function inspectClientCertificate(socket: TLSSocket): ClientCertificate {
  const der = socket.getPeerX509Certificate()?.raw;
  if (der === undefined) return { problem: 'none' };
  const { ssl } = socket as TLSSocket & { ssl?: Verifier | null };
  if (typeof ssl?.verifyError !== 'function') return { problem: 'unverified' };
  const error = ssl.verifyError();
  return error === null ? { der } : { problem: error.code ?? error.message };
}

/** DER of the client's certificate when it was verified against `tls.client_ca`; undefined otherwise. */
export function clientCertificate(socket: TLSSocket): Buffer | undefined {
  const certificate = inspectClientCertificate(socket);
  return 'der' in certificate ? certificate.der : undefined;
}

/** SSL_SESS_FLAG_EXTMS. */
const EXTENDED_MASTER_SECRET = 1;

/**
 * tls-exporter is only defined for TLS 1.3, or 1.2 with the extended master secret (RFC 9266 §2). Node does not say
 * whether that (RFC 7627) was negotiated; OpenSSL notes it in the session: SEQUENCE { … flags [13] EXPLICIT INTEGER OPTIONAL
 * … }. What cannot be read counts as no.
 */
export function hasExtendedMasterSecret(session: Buffer | undefined): boolean {
  if (session === undefined) return false;
  const fields = readDer(session, 0, session.length);
  const flags = childOf(session, childOf(session, fields, TAG.context(13)), TAG.integer);
  const set = flags !== undefined && flags.end > flags.start && session[flags.end - 1] & EXTENDED_MASTER_SECRET;
  // It holds the master secret: it shall not lie around.
  session.fill(0);
  return set === EXTENDED_MASTER_SECRET;
}
