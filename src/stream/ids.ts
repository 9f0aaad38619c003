import { randomFillSync } from 'node:crypto';

/** Enough that guessing is hopeless (RFC 6120 §4.7.3 asks for 64 bits at least); a multiple of 3, so base64 has no padding. */
const ID_BYTES = 15;
const pool = Buffer.allocUnsafeSlow(ID_BYTES * 256);
let used = pool.length;

/** An unpredictable identifier of 20 characters. Random bytes are fetched many at a time: each call to the generator is dear. */
export function randomId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  return pool.toString('base64url', used, (used += ID_BYTES));
}
