import { Shared, type Copies, type Entry } from '../../stream/outbox.js';

/** First byte on CHANNEL.move. Those marked are requests; JSON follows them, and is answered by it. */
export const MOVE = {
  /** Request, {@link Snapshot}: make this session, and hold what comes for it. Answer: {@link Welcome}. */
  adopt: 1,
  /** id, entries: from the session's queue, in order. */
  queue: 2,
  /** Request, {@link Name}: the queue is complete, the session yours. Answer: {@link Welcome}. */
  done: 3,
  /** Request, {@link Name}: the move has failed, forget the session. Answer: {@link Welcome}, `ready` where it has not failed after all. */
  cancel: 4,
  /** id, full JID, entries: came to the wrong one of the two. */
  late: 5,
} as const;

/** All that a waiting session holds but its queue. */
export interface Snapshot {
  id: string;
  bare: string;
  resource: string;
  lang: string;
  since: number;
  available: boolean;
  priority: number;
  /** Its last broadcast presence, as bytes in base64. */
  presence: string | undefined;
  directed: string[] | undefined;
  /** Stanzas received from the client. */
  handled: number;
  /** The client's last `h`, and how many stanzas it was sent beyond that. */
  acknowledged: number;
  outstanding: number;
  /** What was agreed on, in seconds, and what is left of it, in milliseconds. */
  resumable: number;
  left: number;
}

export interface Name {
  id: string;
  /** The queue was full: some of what came meanwhile is not in it. */
  lossy?: boolean;
}

/** `ended`: it was there and is over; `heir` gets what waits (see succession.ts). */
export type Welcome =
  { state: 'ready' } | { state: 'refused' } | { state: 'ended'; heir?: { worker: number; id: string } };

/** Frames with entries are cut at about this size. */
const FRAME_BYTES = 256 * 1024;
const ENTRY_HEADER = 20;

export function request(op: number, body: Snapshot | Name): Buffer {
  return Buffer.concat([Buffer.of(op), Buffer.from(JSON.stringify(body))]);
}

/** Frames of `op` with the names and all the entries; none where there are no entries. */
export function* entryFrames(op: number, names: readonly string[], entries: Iterable<Entry>): Generator<Buffer> {
  const head = Buffer.concat([Buffer.of(op), ...names.map(name)]);
  let parts: Buffer[] = [head];
  let size = 0;
  for (const { head: opening, shared } of entries) {
    const node = Buffer.from(shared.node ?? '');
    const copies = Buffer.from(shared.copies === undefined ? '' : JSON.stringify(shared.copies));
    const header = Buffer.allocUnsafe(ENTRY_HEADER);
    header.writeUInt32LE(shared.bytes.length, 0);
    header.writeUInt32LE(opening?.length ?? 0, 4);
    header.writeUInt16LE(shared.node === undefined ? 0 : node.length + 1, 8);
    header.writeUInt16LE(copies.length, 10);
    header.writeDoubleLE(shared.since ?? 0, 12);
    parts.push(header, node, copies, opening ?? NOTHING, shared.bytes);
    size += ENTRY_HEADER + node.length + copies.length + (opening?.length ?? 0) + shared.bytes.length;
    if (size < FRAME_BYTES) continue;
    yield Buffer.concat(parts);
    parts = [head];
    size = 0;
  }
  if (parts.length > 1) yield Buffer.concat(parts);
}

/** Reads what {@link entryFrames} wrote. The frame is valid only during the call, so all is copied. */
export function readEntries(body: Buffer, names: number): { names: string[]; entries: Entry[] } {
  let at = 1;
  const found: string[] = [];
  for (let i = 0; i < names; i++) {
    const end = at + 2 + body.readUInt16LE(at);
    found.push(body.toString('utf8', at + 2, end));
    at = end;
  }
  // One copy for all: they mostly live and go together.
  const bytes = Buffer.from(body.subarray(at));
  const entries: Entry[] = [];
  for (at = 0; at < bytes.length;) {
    const length = bytes.readUInt32LE(at);
    const opening = bytes.readUInt32LE(at + 4);
    const node = bytes.readUInt16LE(at + 8);
    const copied = bytes.readUInt16LE(at + 10);
    const since = bytes.readDoubleLE(at + 12) || undefined;
    at += ENTRY_HEADER;
    const key = node === 0 ? undefined : bytes.toString('utf8', at, (at += node - 1));
    const copies = copied === 0 ? undefined : (JSON.parse(bytes.toString('utf8', at, (at += copied))) as Copies);
    const head = opening === 0 ? undefined : bytes.subarray(at, (at += opening));
    entries.push({ head, shared: new Shared(bytes.subarray(at, (at += length)), key, false, copies, since) });
  }
  return { names: found, entries };
}

const NOTHING = Buffer.alloc(0);

function name(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.allocUnsafe(2);
  length.writeUInt16LE(bytes.length);
  return Buffer.concat([length, bytes]);
}
