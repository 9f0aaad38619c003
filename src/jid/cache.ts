import { parseJid, type Jid } from './jid.js';

/** Longer texts are parsed each time, so that the cache's memory is bounded by its capacity. */
const MAX_CACHED_LENGTH = 256;

/**
 * A bounded memo of {@link parseJid} for the hot path; remembers malformed addresses too.
 *
 * Two generations: when the younger is full it becomes the older, and what the older held and nobody asked for is
 * forgotten. At least the last `capacity / 2` addresses are known, at most `capacity`.
 */
export class JidCache {
  #young = new Map<string, Jid | undefined>();
  #old = new Map<string, Jid | undefined>();
  readonly #half: number;

  constructor(capacity: number) {
    this.#half = Math.max(1, capacity >> 1);
  }

  get(text: string): Jid | undefined {
    const known = this.#young.get(text);
    if (known !== undefined || this.#young.has(text)) return known;
    const jid = this.#old.get(text) ?? (this.#old.has(text) ? undefined : parseJid(text));
    if (text.length <= MAX_CACHED_LENGTH) {
      if (this.#young.size >= this.#half) {
        this.#old = this.#young;
        this.#young = new Map();
      }
      this.#young.set(text, jid);
    }
    return jid;
  }
}
