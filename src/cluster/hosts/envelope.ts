/**
 * What stands in front of every batch: who sends it, where in the order of what it sends to this receiver it belongs, and how much of the
 * receiver's own it has taken.
 *
 * u8 dialect, u8 flags, u32 sender, f64 sender's epoch, u32 generation, f64 sequence number, u32 and f64 generation and sequence number of the
 * last batch taken from the receiver; little endian. Batches of a generation count from 1; 0 stands outside the order.
 */
export interface Envelope {
  flags: number;
  sender: number;
  epoch: number;
  generation: number;
  seq: number;
  takenGeneration: number;
  takenSeq: number;
}

export const ENVELOPE_BYTES = 38;

/**
 * Of all that workers of different hosts say to each other, in batches and frames: grows when an older Thrum would misunderstand any of it.
 * Those of different dialects are never registered at the same time.
 */
export const DIALECT = 1;

export const FLAG = {
  /** A piece of one large frame; `last` ends it. */
  part: 1,
  last: 2,
  /** How far are you? */
  ask: 4,
  /** That far, as the envelope says: the answer to `ask`. */
  here: 8,
  /** Send again what follows what I have taken. */
  again: 16,
  /** The sender leaves; nothing follows. */
  bye: 32,
  /** Should the owner of the inbox be dead: nobody has to see to what the sender had put there before. */
  seen: 64,
} as const;

export function writeEnvelope(envelope: Envelope): Buffer {
  const bytes = Buffer.allocUnsafe(ENVELOPE_BYTES);
  bytes[0] = DIALECT;
  bytes[1] = envelope.flags;
  bytes.writeUInt32LE(envelope.sender, 2);
  bytes.writeDoubleLE(envelope.epoch, 6);
  bytes.writeUInt32LE(envelope.generation, 14);
  bytes.writeDoubleLE(envelope.seq, 18);
  bytes.writeUInt32LE(envelope.takenGeneration, 26);
  bytes.writeDoubleLE(envelope.takenSeq, 30);
  return bytes;
}

/** Undefined when it is none that this version knows. */
export function readEnvelope(bytes: Buffer): Envelope | undefined {
  if (bytes.length !== ENVELOPE_BYTES || bytes[0] !== DIALECT) return undefined;
  return {
    flags: bytes[1]!,
    sender: bytes.readUInt32LE(2),
    epoch: bytes.readDoubleLE(6),
    generation: bytes.readUInt32LE(14),
    seq: bytes.readDoubleLE(18),
    takenGeneration: bytes.readUInt32LE(26),
    takenSeq: bytes.readDoubleLE(30),
  };
}
