/** Of a message that several sessions of an account got (RFC 6121 §8.5.2.1.1): what names it, and their identifiers, or the first of them. */
export interface Copies {
  readonly key: string;
  readonly sessions: readonly string[];
}

/**
 * Bytes that are serialised once and queued to any number of outboxes by reference.
 * `node` is set for pub-sub notifications: those, and only those, may be dropped for a slow reader.
 * A nonza (RFC 6120 §1.4; stream features, acknowledgements) is not a stanza: it is neither counted nor sent again (XEP-0198 §4).
 */
export class Shared {
  constructor(
    readonly bytes: Buffer,
    readonly node: string | undefined = undefined,
    readonly nonza = false,
    readonly copies: Copies | undefined = undefined,
    /** Of a message: when it was queued to a session first, in milliseconds since the epoch. */
    public since: number | undefined = undefined,
  ) {}
}

/** Whether it is a message, by the first letter of its name: no other stanza, nor a nonza that is queued, has that. */
export function isMessage({ bytes }: Shared): boolean {
  return bytes[1] === 0x6d;
}

/** One queued stanza: `head`, if any, and `shared` are its bytes. */
export interface Entry {
  head: Buffer | undefined;
  shared: Shared;
}

/** The same without an opening of its own. */
export function whole({ head, shared }: Entry): Shared {
  return head === undefined ? shared : new Shared(joined(head, shared), shared.node, shared.nonza, shared.copies);
}

export function joined(head: Buffer | undefined, shared: Shared): Buffer {
  return head === undefined ? shared.bytes : Buffer.concat([head, shared.bytes]);
}

export function sizeOf(head: Buffer | undefined, shared: Shared): number {
  return head === undefined ? shared.bytes.length : head.length + shared.bytes.length;
}
