import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { ScramKeys } from '../../store/store.js';
import type { Derivation } from './derivation.js';

export type ScramHash = 'sha1' | 'sha256';

const SALT_BYTES = 16;

/** SCRAM keys of a prepared password (RFC 5802 §3) with a salt of their own. */
export function makeKeys(
  derivation: Derivation,
  password: string,
  iterations: number,
  hash: ScramHash,
): Promise<ScramKeys> {
  return deriveKeys(derivation, password, randomBytes(SALT_BYTES), iterations, hash);
}

/** The keys that `password` gives under `salt` and `iterations`. Rejects as {@link Derivation.derive} does. */
export async function deriveKeys(
  derivation: Derivation,
  password: string,
  salt: Uint8Array,
  iterations: number,
  hash: ScramHash,
): Promise<ScramKeys> {
  const salted = await derivation.derive(password, salt, iterations, hash);
  const storedKey = digest(hash, hmac(hash, salted, 'Client Key'));
  return { salt, iterations, storedKey, serverKey: hmac(hash, salted, 'Server Key') };
}

/**
 * Keys for an account that does not exist, the same each time and on every worker, so that the exchange looks as for a real
 * one (RFC 6120 §6.5.10 on directory harvesting). No proof fits them: nobody knows what the stored key is the hash of.
 */
export function decoyKeys(secret: Buffer, user: string, iterations: number, hash: ScramHash): ScramKeys {
  const bytes = createHmac('sha512', secret).update(`${hash}\0${user}`).digest();
  const key = bytes.subarray(SALT_BYTES, SALT_BYTES + (hash === 'sha1' ? 20 : 32));
  return { salt: bytes.subarray(0, SALT_BYTES), iterations, storedKey: key, serverKey: key };
}

/** Whether the client knows the password, by its proof (RFC 5802 §3: StoredKey = H(ClientProof XOR ClientSignature)). */
export function proofFits(hash: ScramHash, storedKey: Uint8Array, authMessage: string, proof: Buffer): boolean {
  const signature = hmac(hash, storedKey, authMessage);
  if (proof.length !== signature.length) return false;
  for (let i = 0; i < signature.length; i++) signature[i] ^= proof[i];
  return timingSafeEqual(digest(hash, signature), storedKey);
}

/** The server's own proof to the client. */
export function serverSignature(hash: ScramHash, serverKey: Uint8Array, authMessage: string): Buffer {
  return hmac(hash, serverKey, authMessage);
}

function hmac(hash: ScramHash, key: Uint8Array, text: string): Buffer {
  return createHmac(hash, key).update(text).digest();
}

function digest(hash: ScramHash, bytes: Uint8Array): Buffer {
  return createHash(hash).update(bytes).digest();
}
