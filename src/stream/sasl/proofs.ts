import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';
import { CHANNEL, type Bus } from '../../cluster/bus.js';

const PROOF_BYTES = 32;
/** A frame of proofs to a new worker holds about so many bytes. */
const FRAME_BYTES = 32 * 1024;

/**
 * Remembers that a password was right, not the password: HMAC(key, user, password, stored key of the account). A
 * reconnecting client is checked against it with one HMAC instead of PBKDF2. A password change alters the stored key, so
 * the proof of the old password no longer fits, wherever it is kept. Bounded: the account that logged in longest
 * ago is forgotten first.
 *
 * Shared with the other workers over CHANNEL.proof; a worker that joins is given all that are known. A frame is a row of
 * entries: length of the user name in bytes (u16), 1 = remember or 0 = forget (u8), user, proof (32 bytes; absent in
 * `forget`).
 */
export class ProofCache {
  /** Proofs as latin1 text: a tenth of the memory of a Buffer each. Insertion order is the order of use. */
  private readonly proofs = new Map<string, string>();
  private readonly key: KeyObject;
  private readonly capacity: number;
  private readonly bus: Bus | undefined;

  /** `key`: at least 32 random bytes, the same in all workers of the pool. `capacity` in accounts; 0 remembers nothing. */
  constructor(options: { key: Buffer; capacity: number; bus?: Bus }) {
    this.key = createSecretKey(options.key);
    this.capacity = options.capacity;
    this.bus = options.bus;
    this.bus?.listen(CHANNEL.proof, (_from, body) => this.receive(body));
    this.bus?.onPeerUp((peer) => this.welcome(peer));
  }

  get size(): number {
    return this.proofs.size;
  }

  /** Whether this was the password at the last success, and still is. User and password are prepared. */
  fits(user: string, password: string, storedKey: Uint8Array): boolean {
    const kept = this.proofs.get(user);
    if (kept === undefined) return false;
    const proof = this.proofOf(user, password, storedKey);
    if (!timingSafeEqual(proof, Buffer.from(kept, 'latin1'))) return false;
    this.proofs.delete(user);
    this.proofs.set(user, kept);
    return true;
  }

  /** The password was verified, or set, here. */
  remember(user: string, password: string, storedKey: Uint8Array): void {
    const proof = this.proofOf(user, password, storedKey);
    this.keep(user, proof.toString('latin1'));
    this.bus?.broadcast(CHANNEL.proof, entry(user, proof));
  }

  /** The account is gone. */
  forget(user: string): void {
    this.proofs.delete(user);
    this.bus?.broadcast(CHANNEL.proof, entry(user, undefined));
  }

  private proofOf(user: string, password: string, storedKey: Uint8Array): Buffer {
    // Neither a localpart nor a prepared password has a NUL, and the stored key's length is fixed: nothing is ambiguous.
    return createHmac('sha256', this.key).update(`${user}\0${password}\0`).update(storedKey).digest();
  }

  private keep(user: string, proof: string): void {
    this.proofs.delete(user);
    this.proofs.set(user, proof);
    if (this.proofs.size <= this.capacity) return;
    const [oldest] = this.proofs.keys();
    this.proofs.delete(oldest!);
  }

  private receive(body: Buffer): void {
    for (let at = 0; at + 3 <= body.length;) {
      const remember = body[at + 2] === 1;
      const userEnd = at + 3 + body.readUInt16LE(at);
      const end = remember ? userEnd + PROOF_BYTES : userEnd;
      if (end > body.length) return;
      const user = body.toString('utf8', at + 3, userEnd);
      if (remember) this.keep(user, body.toString('latin1', userEnd, end));
      else this.proofs.delete(user);
      at = end;
    }
  }

  /** One worker is enough to tell the new one: the eldest of those that were there before. */
  private welcome(peer: number): void {
    const bus = this.bus!;
    for (const other of bus.peers) if (other !== peer && other < bus.self) return;
    let frame: Buffer[] = [];
    let bytes = 0;
    for (const [user, proof] of this.proofs) {
      const part = entry(user, Buffer.from(proof, 'latin1'));
      frame.push(part);
      bytes += part.length;
      if (bytes < FRAME_BYTES) continue;
      bus.send(peer, CHANNEL.proof, ...frame);
      frame = [];
      bytes = 0;
    }
    if (frame.length > 0) bus.send(peer, CHANNEL.proof, ...frame);
  }
}

function entry(user: string, proof: Buffer | undefined): Buffer {
  const name = Buffer.from(user);
  const head = Buffer.from([name.length & 255, name.length >> 8, proof === undefined ? 0 : 1]);
  return Buffer.concat(proof === undefined ? [head, name] : [head, name, proof]);
}
