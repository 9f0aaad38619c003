/**
 * A record in a payload tells who sent it, as which of its messages, and when: `~#` and 24 digits, found in the received bytes
 * by a search instead of an XML parser. That keeps the generator cheaper than what it measures.
 */
const MARK = Buffer.from('~#');
const SENDER = 5;
const SEQ = 8;
const TIME = 11;
export const RECORD_BYTES = MARK.length + SENDER + SEQ + TIME;

/** Where the digits of a template go that is sent again and again. */
export const RECORD = `~#${'0'.repeat(SENDER + SEQ + TIME)}`;
/** The id of a request carries the sequence number: `q~` and 8 digits. */
export const REQUEST_ID = `q~${'0'.repeat(SEQ)}`;
const REQUEST = Buffer.from('q~');
const REQUEST_BYTES = REQUEST.length + SEQ;

/** Bytes that may belong to a record or an acknowledgement that is not complete yet. */
const CARRY = Math.max(RECORD_BYTES, REQUEST_BYTES, 32) - 1;

export function writeDigits(target: Uint8Array, at: number, digits: number, value: number): void {
  for (let i = at + digits - 1; i >= at; i--) {
    const rest = Math.floor(value / 10);
    target[i] = 48 + value - rest * 10;
    value = rest;
  }
}

/** Bytes of a request or message with places for a record and, where it has one, its id. */
export class Template {
  private readonly recordAt: number;
  private readonly idAt: number;

  constructor(private readonly bytes: Buffer) {
    this.recordAt = bytes.indexOf(MARK) + MARK.length;
    this.idAt = bytes.indexOf(REQUEST) < 0 ? -1 : bytes.indexOf(REQUEST) + REQUEST.length;
  }

  get length(): number {
    return this.bytes.length;
  }

  /** Writes one message into `target` at `at`. `time` is in microseconds. */
  put(target: Buffer, at: number, sender: number, seq: number, time: number): void {
    target.set(this.bytes, at);
    writeDigits(target, at + this.recordAt, SENDER, sender);
    writeDigits(target, at + this.recordAt + SENDER, SEQ, seq);
    writeDigits(target, at + this.recordAt + SENDER + SEQ, TIME, time);
    if (this.idAt >= 0) writeDigits(target, at + this.idAt, SEQ, seq);
  }
}

export interface Sink {
  record(sender: number, seq: number, time: number): void;
  /** A result or error for the request of that number. */
  answer?(seq: number): void;
}

const ACK_REQUEST = Buffer.from('<r xmlns');
const ERROR = Buffer.from("type='error'");
const ERROR_QUOTED = Buffer.from('type="error"');

/** Finds records, answers and acknowledgement requests in received bytes, however they are cut. */
export class Finder {
  private carry = Buffer.alloc(0);
  errors = 0;
  /** Requests for an acknowledgement (XEP-0198) since they were last asked for. */
  ackRequests = 0;

  constructor(private readonly sink: Sink) {}

  feed(chunk: Buffer): void {
    const { carry } = this;
    // What began in the carry ends in the first bytes of the chunk.
    if (carry.length > 0) this.scan(Buffer.concat([carry, chunk.subarray(0, CARRY)]), carry.length);
    this.scan(chunk, 0);
    this.carry =
      chunk.length >= CARRY
        ? Buffer.from(chunk.subarray(chunk.length - CARRY))
        : Buffer.concat([carry, chunk]).subarray(-CARRY);
  }

  /** Everything that is complete; in a `seam` of old and new bytes only what reaches over it, for the rest is found elsewhere. */
  private scan(bytes: Buffer, seam: number): void {
    const { sink } = this;
    for (let at = next(bytes, MARK, RECORD_BYTES, seam, 0); at >= 0;) {
      const digits = at + MARK.length;
      sink.record(
        readDigits(bytes, digits, SENDER),
        readDigits(bytes, digits + SENDER, SEQ),
        readDigits(bytes, digits + SENDER + SEQ, TIME),
      );
      at = next(bytes, MARK, RECORD_BYTES, seam, at + RECORD_BYTES);
    }
    this.ackRequests += occurrences(bytes, ACK_REQUEST, seam);
    if (sink.answer === undefined) return;
    for (let at = next(bytes, REQUEST, REQUEST_BYTES, seam, 0); at >= 0;) {
      sink.answer(readDigits(bytes, at + REQUEST.length, SEQ));
      at = next(bytes, REQUEST, REQUEST_BYTES, seam, at + REQUEST_BYTES);
    }
    this.errors += occurrences(bytes, ERROR, seam) + occurrences(bytes, ERROR_QUOTED, seam);
  }
}

/** Where the next token of `length` bytes that begins with `mark` is, complete and, where there is a seam, across it; -1 for none. */
function next(bytes: Buffer, mark: Buffer, length: number, seam: number, from: number): number {
  for (let at = bytes.indexOf(mark, from); at >= 0; at = bytes.indexOf(mark, at + mark.length)) {
    if (at + length > bytes.length || (seam > 0 && at >= seam)) return -1;
    if (at + length > seam) return at;
  }
  return -1;
}

function occurrences(bytes: Buffer, what: Buffer, seam: number): number {
  let found = 0;
  for (let at = next(bytes, what, what.length, seam, 0); at >= 0; found++) {
    at = next(bytes, what, what.length, seam, at + what.length);
  }
  return found;
}

function readDigits(bytes: Buffer, at: number, digits: number): number {
  let value = 0;
  for (let i = at; i < at + digits; i++) value = value * 10 + bytes[i]! - 48;
  return value;
}
