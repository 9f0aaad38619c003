import { setImmediate as turn } from 'node:timers/promises';
import type { Environment } from './environment.js';
import { read } from './errors.js';

/** Entries that are read in one go. */
const AT_ONCE = 1000;

export interface Piece {
  start: Buffer;
  end: Buffer;
  exclusiveStart?: boolean;
  limit: number;
}

/** Reads a range piece by piece, since everything else in this process waits meanwhile. `work` reads one and gives its keys. */
export async function inPieces(
  environment: Environment,
  range: { start: Buffer; end: Buffer },
  work: (piece: Piece) => Buffer[],
): Promise<void> {
  for (let piece: Piece = { ...range, limit: AT_ONCE }; ;) {
    const keys = await read(environment, () => work(piece));
    const last = keys[AT_ONCE - 1];
    if (last === undefined) return;
    piece = { ...piece, start: last, exclusiveStart: true };
    await turn();
  }
}
