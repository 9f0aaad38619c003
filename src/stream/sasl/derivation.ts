import { pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import type { ScramHash } from './keys.js';

/** More derivations are waiting than the bound allows: authentication has to be tried again later. */
export class DerivationBusy extends Error {
  constructor(readonly waiting: number) {
    super(`${waiting} password derivations are waiting already`);
    this.name = 'DerivationBusy';
  }
}

export interface DerivationBounds {
  /**
   * Derivations in the thread pool at once. libuv has four threads (UV_THREADPOOL_SIZE), which the store, files and
   * DNS share; what passwords take must leave some of them free.
   */
  concurrent: number;
  /** Derivations that may wait for a thread; beyond it {@link DerivationBusy}. */
  waiting: number;
}

export const DERIVATION_BOUNDS: DerivationBounds = { concurrent: 2, waiting: 1024 };

const pbkdf2Async = promisify(pbkdf2);
const LENGTHS: Record<ScramHash, number> = { sha1: 20, sha256: 32 };

/**
 * PBKDF2 (`Hi` of RFC 5802 §2.2) in the thread pool, never on the event loop, first come first served, so that a flood
 * of logins can neither starve the pool nor grow memory.
 */
export class Derivation {
  private running = 0;
  private readonly queue: (() => void)[] = [];

  constructor(private readonly bounds: DerivationBounds = DERIVATION_BOUNDS) {}

  /** Derivations that wait for a thread. */
  get waiting(): number {
    return this.queue.length;
  }

  /** Resolves to the salted password; rejects with {@link DerivationBusy} or the thread pool's error. */
  async derive(password: string, salt: Uint8Array, iterations: number, hash: ScramHash): Promise<Buffer> {
    await this.enter();
    try {
      return await pbkdf2Async(password, salt, iterations, LENGTHS[hash], hash);
    } finally {
      this.leave();
    }
  }

  private async enter(): Promise<void> {
    const { concurrent, waiting } = this.bounds;
    if (this.running < concurrent) {
      this.running++;
      return;
    }
    if (this.queue.length >= waiting) throw new DerivationBusy(this.queue.length);
    await new Promise<void>((resolve) => this.queue.push(resolve));
  }

  /** Hands the place over to who waits longest, or frees it. */
  private leave(): void {
    const next = this.queue.shift();
    if (next === undefined) this.running--;
    else next();
  }
}
