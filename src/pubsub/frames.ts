/** What workers tell each other about nodes, as bytes. Names are UTF-8 behind their length in two bytes. */

/** CHANNEL.interest: a list of names follows. */
export const INTEREST = { gained: 1, lost: 2 } as const;
/** CHANNEL.node. */
export const CHANGE = {
  /** node: its facts changed. */
  node: 1,
  /** node: it was deleted. */
  gone: 2,
  /** node, jid: the subscription changed. */
  subscription: 3,
  /** jid, type in one byte, then the body: a notification for the sessions of one JID. */
  direct: 4,
  /** names: which of their last items are here? */
  last: 5,
  /** names: answered when what is accepted for these nodes has left. */
  departed: 6,
  /** node: what is known of it here? */
  facts: 7,
} as const;

/** CHANNEL.notify: in the first byte, beside the message's type. The node's name follows. */
export const NOTIFY = {
  type: 0x0f,
  /** A slow reader may lose it. */
  droppable: 0x80,
  /** Of a kept item: behind the name, when it was published. */
  stamped: 0x40,
  /** Perhaps it was sent before. */
  repeated: 0x20,
} as const;

/** Frames with many names are cut at about this size. */
const FRAME_BYTES = 32 * 1024;

export function nameBytes(...names: string[]): Buffer {
  const parts: Buffer[] = [];
  for (const name of names) {
    const text = Buffer.from(name);
    parts.push(Buffer.from([text.length >> 8, text.length & 0xff]), text);
  }
  return Buffer.concat(parts);
}

/** One or more frames with that first byte and all the names. */
export function* listFrames(first: number, names: Iterable<string>): Generator<Buffer> {
  let parts: Buffer[] = [];
  let size = 0;
  for (const name of names) {
    const part = nameBytes(name);
    parts.push(part);
    size += part.length;
    if (size < FRAME_BYTES) continue;
    yield Buffer.concat([Buffer.from([first]), ...parts]);
    parts = [];
    size = 0;
  }
  if (parts.length > 0) yield Buffer.concat([Buffer.from([first]), ...parts]);
}

/** Reads what the functions above wrote. */
export class FrameReader {
  constructor(
    readonly bytes: Buffer,
    private at = 0,
  ) {}

  get more(): boolean {
    return this.at < this.bytes.length;
  }

  byte(): number {
    return this.bytes[this.at++]!;
  }

  name(): string {
    const length = this.bytes.readUInt16BE(this.at);
    const start = this.at + 2;
    this.at = start + length;
    return this.bytes.toString('utf8', start, this.at);
  }

  names(): string[] {
    const names: string[] = [];
    while (this.more) names.push(this.name());
    return names;
  }

  double(): number {
    const value = this.bytes.readDoubleBE(this.at);
    this.at += 8;
    return value;
  }

  block(): Buffer {
    const length = this.bytes.readUInt32BE(this.at);
    const start = this.at + 4;
    this.at = start + length;
    return this.bytes.subarray(start, this.at);
  }

  rest(): Buffer {
    return this.bytes.subarray(this.at);
  }
}
