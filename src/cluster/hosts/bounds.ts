import type { RemotePeer } from './remote-peer.js';

/** What all peers together may not have acknowledged, in high waters of one. */
const MOST = 4;

/** Those, of whom something was just sent to `touched`, for whom too much waits, and why that is too much. */
export function tooFarBehind(
  touched: readonly RemotePeer[],
  all: ReadonlyMap<number, RemotePeer>,
  highWater: number,
): { peer: RemotePeer; why: string }[] {
  const found = touched
    .filter(({ window }) => window.bytes > 2 * highWater)
    .map((peer) => ({ peer, why: 'it is too far behind' }));
  if (all.size <= MOST / 2) return found;
  let total = 0;
  let largest: RemotePeer | undefined;
  for (const peer of all.values()) {
    if (found.some((one) => one.peer === peer)) continue;
    total += peer.window.bytes;
    if (peer.window.bytes > (largest?.window.bytes ?? 0)) largest = peer;
  }
  if (largest && total > MOST * highWater) found.push({ peer: largest, why: 'all together are too far behind' });
  return found;
}
