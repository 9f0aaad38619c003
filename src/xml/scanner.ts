import { readFileSync } from 'node:fs';
import { decodeReferences } from './escape.js';
import { FAULTS, type Fault } from './faults.js';

export { KIND } from './envelope.js';

/** What `feed` and `next` report. */
export const EVENT = { needMore: 0, streamOpen: 1, stanza: 2, streamClose: 3, error: 4 } as const;

/** Bounds of one stream; what exceeds them is a policy-violation. */
export interface ScannerLimits {
  /** Bytes of a stanza (or of a stream header), at least 64 and at most 2 MiB. */
  stanzaBytes: number;
  /** Nested elements, the stanza's root included; at most 255. */
  depth: number;
  /** Attributes and namespace declarations of one tag; at most 255. */
  attributes: number;
}

/** What scanner.wasm exports (assembly/scanner.ts). */
interface Exports {
  init(bytes: number): void;
  open(framed: boolean, stanzaBytes: number, depth: number, attributes: number): number;
  close(handle: number): void;
  restart(handle: number): void;
  discard(handle: number): number;
  limit(handle: number, stanzaBytes: number): void;
  feed(handle: number, length: number, last: boolean): number;
  endFrame(handle: number): number;
  next(handle: number): number;
  hold(handle: number): number;
  pending(handle: number): number;
  rest(handle: number, part: number): number;
  faultOf(handle: number): number;
  scopeText(handle: number): number;
  scopeTextBytes(handle: number): number;
  used(): number;
}

const PAGE = 65536;
const ENV_AT = 0x400;
const ENV_WORDS = 128 + 32 * 6;
const INPUT_AT = 0x10000;
const INPUT_BYTES = 0x10000;
const MIN_BYTES = 8 * 1024 * 1024;
const MAX_BYTES = 1024 * 1024 * 1024;
const DEFAULT_BYTES = 256 * 1024 * 1024;

let compiled: WebAssembly.Module | undefined;

function compile(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(readFileSync(new URL('./scanner.wasm', import.meta.url)));
  return compiled;
}

/**
 * The strict, resumable XML scanner of the hot path: finds stanzas, checks that they are legal (RFC 6120 §11) and tells
 * where their routing facts lie. Serves any number of streams of one thread.
 *
 * Callers copy network bytes to the front of `input` and call `feed`; while that or `next` reports an event, they
 * handle it and call `next` (unless `env[E.rest]` is 0). Ranges in `env` are valid until the next feed, next or hold of
 * any stream. A stream whose rest is still unscanned must not see another stream fed before `hold` or `discard`.
 */
export class Scanner {
  /** The whole memory; it never moves. */
  readonly bytes: Buffer;
  /** The window for network bytes, 64 KiB. */
  readonly input: Buffer;
  /** The envelope of the last event, indexed by `E`. */
  readonly env: Int32Array;
  /** What is wrong, after EVENT.error. */
  error: Fault = FAULTS[0]!;
  readonly #wasm: Exports;

  private constructor(memory: WebAssembly.Memory, wasm: Exports) {
    this.bytes = Buffer.from(memory.buffer);
    this.input = this.bytes.subarray(INPUT_AT, INPUT_AT + INPUT_BYTES);
    this.env = new Int32Array(memory.buffer, ENV_AT, ENV_WORDS);
    this.#wasm = wasm;
    wasm.init(memory.buffer.byteLength);
  }

  /**
   * A scanner with a memory of its own.
   *
   * `memoryBytes` (8 MiB to 1 GiB, 256 MiB unless given) bounds all that unfinished and held stanzas may take, and, at
   * one stream per 2 KiB, how many streams there can be; what is not used costs address space only.
   */
  static create(options: { memoryBytes?: number } = {}): Scanner {
    const bytes = Math.min(Math.max(options.memoryBytes ?? DEFAULT_BYTES, MIN_BYTES), MAX_BYTES);
    const pages = Math.ceil(bytes / PAGE);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const instance = new WebAssembly.Instance(compile(), { env: { memory } });
    return new Scanner(memory, instance.exports as unknown as Exports);
  }

  /** Begins a stream and gives its handle, or 0 when there is no room. `framed` is one XML document a frame (RFC 7395). */
  open(mode: 'stream' | 'framed', limits: ScannerLimits): number {
    return this.#wasm.open(mode === 'framed', limits.stanzaBytes, limits.depth, limits.attributes);
  }

  /** Ends a stream; its handle will be used again. */
  close(handle: number): void {
    this.#wasm.close(handle);
  }

  /** A new stream header follows (RFC 6120 §4.3.3); what is left of the input stays to be scanned. */
  restart(handle: number): void {
    this.#wasm.restart(handle);
  }

  /** Drops what is not scanned yet and tells how many bytes that were. */
  discard(handle: number): number {
    return this.#wasm.discard(handle);
  }

  /** A copy of what is not scanned yet, which is dropped. */
  takeRest(handle: number): Buffer {
    const start = this.#wasm.rest(handle, 0);
    const rest = Buffer.from(this.bytes.subarray(start, start + this.#wasm.rest(handle, 1)));
    this.#wasm.discard(handle);
    return rest;
  }

  /** Changes how many bytes a stanza may have. */
  limit(handle: number, stanzaBytes: number): void {
    this.#wasm.limit(handle, stanzaBytes);
  }

  /** Scans the first `length` bytes of `input` as the next ones of a stream, up to the first EVENT in them. */
  feed(handle: number, length: number): number {
    const event = this.#wasm.feed(handle, length, false);
    return event === EVENT.error ? this.#failed(handle) : event;
  }

  /** `feed` and `endFrame` in one: the first `length` bytes of `input` are the last, or the only, ones of a frame. */
  feedLast(handle: number, length: number): number {
    const event = this.#wasm.feed(handle, length, true);
    return event === EVENT.error ? this.#failed(handle) : event;
  }

  /** A frame ends here: EVENT.error when it did not hold one whole document, else EVENT.needMore. */
  endFrame(handle: number): number {
    const event = this.#wasm.endFrame(handle);
    return event === EVENT.error ? this.#failed(handle) : event;
  }

  /** Goes on behind the last event, or where `hold` stopped. */
  next(handle: number): number {
    const event = this.#wasm.next(handle);
    return event === EVENT.error ? this.#failed(handle) : event;
  }

  /**
   * Sets what is not scanned yet aside until `next`; what is fed meanwhile is added to it.
   * EVENT.error when that is more than a stanza and an input window, or there is no memory.
   */
  hold(handle: number): number {
    const event = this.#wasm.hold(handle);
    return event === EVENT.error ? this.#failed(handle) : event;
  }

  /** Bytes of an unfinished stanza, or of a held or not yet scanned rest. */
  pending(handle: number): number {
    return this.#wasm.pending(handle);
  }

  /** The namespaces that the stream header declared, by prefix; '' is the default one. */
  namespaces(handle: number): Record<string, string> {
    const declared: Record<string, string> = Object.create(null) as Record<string, string>;
    const start = this.#wasm.scopeText(handle);
    if (start === 0) return declared;
    const text = this.bytes.toString('utf8', start, start + this.#wasm.scopeTextBytes(handle));
    const parts = text.split('\0');
    for (let i = 1; i + 1 < parts.length; i += 2) declared[parts[i]!] = decodeReferences(parts[i + 1]!);
    return declared;
  }

  /** Bytes that buffers, unfinished stanzas and stream headers take. */
  get used(): number {
    return this.#wasm.used();
  }

  #failed(handle: number): number {
    this.error = FAULTS[this.#wasm.faultOf(handle)]!;
    return EVENT.error;
  }
}
