import { createHash } from 'node:crypto';
import type { Account, ItemRecord, NodeRecord, ScramKeys, SubscriptionRecord } from '../store/store.js';

/** Records as text that is the same wherever they are kept: fields in a fixed order, tables by their keys, bytes in base64. */
export const canonical = {
  account: (user: string, { sha1, sha256, created }: Account): string =>
    JSON.stringify([user, keys(sha1), keys(sha256), created]),
  node: ({ name, creator, created, version, config, affiliations }: NodeRecord): string =>
    JSON.stringify([name, creator, created, version, sorted(config), sorted(affiliations)]),
  subscription: ({ node, jid, bare, subid, state, options, created }: SubscriptionRecord): string =>
    JSON.stringify([node, jid, bare, subid, state, options === undefined ? null : sorted(options), created]),
  item: ({ id, publisher, published, payload }: ItemRecord): string =>
    JSON.stringify([id, publisher, published, base64(payload)]),
};

function keys({ salt, iterations, storedKey, serverKey }: ScramKeys): unknown[] {
  return [base64(salt), iterations, base64(storedKey), base64(serverKey)];
}

function sorted(table: Record<string, unknown>): [string, unknown][] {
  return Object.entries(table).sort(([a], [b]) => (a < b ? -1 : 1));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
}

const WORDS = 8;

/** SHA-256 of many texts, whatever their order: the sum, in 32-bit words, of the hashes of each. */
export class Sum {
  private readonly words = new Uint32Array(WORDS);
  count = 0;

  add(text: string): void {
    const hash = createHash('sha256').update(text).digest();
    for (let i = 0; i < WORDS; i++) this.words[i]! += hash.readUInt32BE(4 * i);
    this.count++;
  }

  toString(): string {
    return Array.from(this.words, (word) => word.toString(16).padStart(8, '0')).join('');
  }
}
