import { hash, timingSafeEqual } from 'node:crypto';
import { CHANNEL, type Bus } from '../../cluster/bus.js';

const PROOF_BYTES = 32;
/** A frame of proofs to a new worker holds about so many bytes. */
const FRAME_BYTES = 32 * 1024;

/** What is remembered of one account. Another takes its place when there is news of the account. */
interface Proof {
  /** As latin1 text: a tenth of the memory of a Buffer. */
  readonly digest: string;
  /** The account's stored key, base64, once it was read from the store while this proof was kept. */
  storedKey: string | undefined;
}

/**
 * Remembers that a password was right, not the password: a keyed hash of user, password and the account's stored key. A
 * reconnecting client is checked against it with one hash instead of PBKDF2. A password change alters the stored key, so
 * the proof of the old password no longer fits, wherever it is kept. Bounded: the account that logged in longest
 * ago is forgotten first.
 *
 * Shared with the other workers over CHANNEL.proof; a worker that joins is given all that are known. A frame is a row of
 * entries: length of the user name in bytes (u16), 1 = remember or 0 = forget (u8), user, proof (32 bytes; absent in
 * `forget`).
 *
 * Every change of an account is told in this way, which takes the proof with its stored key away before the change is
 * reported to be done ({@link told}). So a proof that still has its stored key needs no look into the store.
 */
export class ProofCache {
  /** Insertion order is the order of use. */
  private readonly proofs = new Map<string, Proof>();
  /** In hexadecimal: its length is fixed. */
  private readonly key: string;
  private readonly capacity: number;
  private readonly bus: Bus | undefined;
  private readonly kept = Buffer.alloc(PROOF_BYTES);
  /** See {@link news}. */
  private heard = 0;

  /** `key`: at least 32 random bytes, the same in all workers of the pool. `capacity` in accounts; 0 remembers nothing. */
  constructor(options: { key: Buffer; capacity: number; bus?: Bus }) {
    this.key = options.key.toString('hex');
    this.capacity = options.capacity;
    this.bus = options.bus;
    this.bus?.listen(CHANNEL.proof, (_from, body) => this.receive(body));
    this.bus?.onPeerUp((peer) => this.welcome(peer));
    // It may have changed an account and not have told.
    this.bus?.onPeerDown(() => {
      this.heard++;
      for (const proof of this.proofs.values()) proof.storedKey = undefined;
    });
  }

  get size(): number {
    return this.proofs.size;
  }

  /** Grows with everything that may mean that an account has changed. */
  get news(): number {
    return this.heard;
  }

  /** Whether this is the password, as far as it can be told without the store. User and password are prepared. */
  knows(user: string, password: string): boolean {
    const proof = this.proofs.get(user);
    return proof?.storedKey !== undefined && this.proves(proof, user, password, proof.storedKey);
  }

  /** What is remembered of the account; to be asked for before the account is read. */
  of(user: string): Proof | undefined {
    return this.proofs.get(user);
  }

  /**
   * Whether this was the password at the last success, and still is. `storedKey` was read from the store after `proof`
   * was got by {@link of}. User and password are prepared.
   */
  fits(user: string, password: string, storedKey: Uint8Array, proof = this.of(user)): boolean {
    // There is news of the account: what was read may be older.
    if (proof === undefined || this.proofs.get(user) !== proof) return false;
    const key = base64(storedKey);
    if (!this.proves(proof, user, password, key)) return false;
    proof.storedKey = key;
    return true;
  }

  /**
   * The password was verified here, or set; `news` as it was before the stored key was read, or written with a new account.
   * Absent where an account was changed.
   */
  remember(user: string, password: string, storedKey: Uint8Array, news?: number): void {
    if (news === undefined) this.heard++;
    const key = base64(storedKey);
    const digest = this.digestOf(user, password, key);
    this.keep(user, digest.toString('latin1'), news === this.heard ? key : undefined);
    this.bus?.broadcast(CHANNEL.proof, entry(user, digest));
  }

  /** The account is gone. */
  forget(user: string): void {
    this.heard++;
    this.proofs.delete(user);
    this.bus?.broadcast(CHANNEL.proof, entry(user, undefined));
  }

  /** Resolves when every worker goes by what was remembered and forgotten here. */
  async told(): Promise<void> {
    await this.bus?.barrier();
  }

  private proves(proof: Proof, user: string, password: string, storedKey: string): boolean {
    this.kept.write(proof.digest, 'latin1');
    if (!timingSafeEqual(this.digestOf(user, password, storedKey), this.kept)) return false;
    this.proofs.delete(user);
    this.proofs.set(user, proof);
    return true;
  }

  /** Hashed twice as HMAC is, in single calls without an object for each, which takes a fifth of the time. */
  private digestOf(user: string, password: string, storedKey: string): Buffer {
    // Neither a localpart nor a prepared password has a NUL, and the stored key's length is fixed: nothing is ambiguous.
    const inner = hash('sha256', `${this.key}${user}\0${password}\0${storedKey}`);
    return hash('sha256', `${this.key}${inner}`, 'buffer');
  }

  private keep(user: string, digest: string, storedKey?: string): void {
    this.proofs.delete(user);
    this.proofs.set(user, { digest, storedKey });
    if (this.proofs.size <= this.capacity) return;
    const [oldest] = this.proofs.keys();
    this.proofs.delete(oldest!);
  }

  private receive(body: Buffer): void {
    this.heard++;
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
    for (const [user, { digest }] of this.proofs) {
      const part = entry(user, Buffer.from(digest, 'latin1'));
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

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}
