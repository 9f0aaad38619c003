import type { Element } from '../xml/element.js';
import type { Copies } from '../stream/outbox.js';
import { TYPE } from '../xml/envelope.js';

const TYPE_OF: Record<string, number> = { ...TYPE };

/** What goes with a stanza from one worker to another. */
export interface Envelope {
  /** Full JID of the target session. */
  to: string;
  kind: 'message' | 'iq' | 'request' | 'presence' | 'broadcast' | 'probe';
  /** Of the sender, to answer when the target has gone meanwhile; of a broadcast, of whom it says that its worker has died. */
  from?: string;
  id?: string;
  type?: number;
  /** Of a message for a bare JID that went to several resources: one that cannot be delivered finds another way only when none has it. */
  copies?: Copies;
}

/** A frame on CHANNEL.stanza, but for the stanza that follows. */
export function packed(envelope: Envelope): [length: Buffer, header: Buffer] {
  const header = Buffer.from(JSON.stringify(envelope));
  const length = Buffer.allocUnsafe(2);
  length.writeUInt16LE(header.length);
  return [length, header];
}

/** The whole frame; the stanza's bytes are those of the body. */
export function opened(body: Buffer): { envelope: Envelope; stanza: Buffer } {
  const length = body.readUInt16LE(0);
  return { envelope: JSON.parse(body.toString('utf8', 2, 2 + length)) as Envelope, stanza: body.subarray(2 + length) };
}

/** The number of its type, as the scanner gives it. */
export function typeOf(stanza: Element): number {
  return TYPE_OF[stanza.attr('type') ?? 'normal'] ?? TYPE.normal;
}

/** Messages of these types are never returned (RFC 6121 §8.5.2.1.1). */
export function returnable(type: number = TYPE.normal): boolean {
  return type !== TYPE.error && type !== TYPE.headline;
}

/** Goes on with the value: now if it is there, else when it is. */
export function when<T>(value: T | Promise<T>, next: (value: T) => void): void {
  if (value instanceof Promise) void value.then(next);
  else next(value);
}
