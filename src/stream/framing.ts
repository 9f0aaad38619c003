import type { Shared } from './outbox.js';
import { scratch } from './scratch.js';

const CLIENT_NS = Buffer.from(" xmlns='jabber:client'");
/** Length of `<iq`, `<message`, `<presence` by their second byte: a stanza's name tells where its namespace goes. */
const STANZA_NAME: Record<number, number> = { [0x69]: 3, [0x6d]: 8, [0x70]: 9 };

/**
 * An outbox entry as one WebSocket message: stanzas are queued without a namespace, a framed one must carry its own
 * (RFC 7395 §3.3.3). The result may lie in a scratch buffer: it is valid until the next call.
 */
export function framed(head: Buffer | undefined, shared: Shared): Buffer {
  const first = head ?? shared.bytes;
  const name = shared.nonza ? 0 : (STANZA_NAME[first[1]!] ?? 0);
  if (name === 0 && head === undefined) return shared.bytes;
  const length = (head?.length ?? 0) + shared.bytes.length + CLIENT_NS.length;
  const pooled = scratch(length);
  const target = pooled.length >= length ? pooled : Buffer.allocUnsafe(length);
  let at = 0;
  if (name > 0) {
    first.copy(target, 0, 0, name);
    target.set(CLIENT_NS, name);
    first.copy(target, name + CLIENT_NS.length, name);
    at = first.length + CLIENT_NS.length;
  } else {
    target.set(first, 0);
    at = first.length;
  }
  if (head !== undefined) {
    target.set(shared.bytes, at);
    at += shared.bytes.length;
  }
  return target.subarray(0, at);
}
