import { X509Certificate, randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { domainToASCII } from 'node:url';
import { generate } from 'selfsigned';

const YEARS = 10;
/** X.520 allows no longer common name. */
const COMMON_NAME_MAX = 64;

export interface PairFiles {
  certificate: string;
  key: string;
}

/**
 * The self-signed pair in `folder`, made when there is none, and made anew when the one there has expired or is not for
 * `names`. Several processes may call it at once: the folder is put in its place whole, so all get the same pair.
 * Rejects with the file system's error.
 */
export async function selfSignedPair(folder: string, names: readonly string[]): Promise<PairFiles & { made: boolean }> {
  const files = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
  const kept = await readFile(files.certificate, 'utf8').catch(absent);
  if (kept !== undefined && isFor(kept, names)) return { ...files, made: false };
  const made = await putInPlace(folder, await makePair(names), kept !== undefined);
  return { ...files, made };
}

/** Names in DNS form, or IP addresses, that the certificate is for. */
export function subjectNames(domain: string, services: readonly string[]): string[] {
  const host = isIP(domain.replace(/^\[|\]$/g, '')) ? domain.replace(/^\[|\]$/g, '') : domainToASCII(domain);
  const inside = isIP(host) ? [] : services.map((service) => `${service}.${host}`);
  return [...new Set([host, ...inside, 'localhost', '127.0.0.1', '::1'].filter((name) => name !== ''))];
}

function isFor(pem: string, names: readonly string[]): boolean {
  try {
    const certificate = new X509Certificate(pem);
    if (Date.parse(certificate.validTo) <= Date.now()) return false;
    return names.every((name) => (isIP(name) ? certificate.checkIP(name) : certificate.checkHost(name)) !== undefined);
  } catch {
    // Not a certificate: a new one takes its place.
    return false;
  }
}

async function makePair(names: readonly string[]): Promise<{ certificate: string; key: string }> {
  const notAfterDate = new Date();
  notAfterDate.setFullYear(notAfterDate.getFullYear() + YEARS);
  const altNames = names.map((name) =>
    isIP(name) ? ({ type: 7, ip: name } as const) : ({ type: 2, value: name } as const),
  );
  const pair = await generate([{ name: 'commonName', value: names[0].slice(0, COMMON_NAME_MAX) }], {
    // P-256: half the handshake's cost of RSA, and what small devices can do.
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notAfterDate,
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames },
    ],
  });
  return { certificate: pair.cert, key: pair.private };
}

/** False when another process was faster: its pair is as good. */
async function putInPlace(folder: string, pair: PairFiles, replace: boolean): Promise<boolean> {
  const mark = `${process.pid}-${randomBytes(6).toString('hex')}`;
  const draft = `${folder}.${mark}`;
  await mkdir(draft, { recursive: true, mode: 0o700 });
  await writeFile(join(draft, 'key.pem'), pair.key, { mode: 0o600 });
  await writeFile(join(draft, 'certificate.pem'), pair.certificate, { mode: 0o644 });
  const old = `${folder}.old-${mark}`;
  const moved = replace && (await rename(folder, old).then(() => true, absent)) === true;
  // A folder replaces only an empty one, so exactly one process wins.
  const placed = await rename(draft, folder).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
      return false;
    },
  );
  if (!placed) await rm(draft, { recursive: true });
  if (moved) await rm(old, { recursive: true });
  return placed;
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
}
