import { counters, count } from '../metrics/counters.js';
import { E } from '../xml/envelope.js';
import { EVENT } from '../xml/scanner.js';
import type { Connection } from './connection.js';
import type { StreamFailure } from './errors.js';
import { TokenBucket } from './token-bucket.js';
import type { Receiver } from './transport.js';

/** Bytes that may wait while one stanza is being handled, before reading stops. */
const HELD_BYTES = 64 * 1024;
/** What keeping a message costs beside its bytes. */
const KEPT_OVERHEAD = 128;

/**
 * The way of a stream's bytes through the scanner: what it finds is handled one event after the other, at the pace
 * of whoever handles it and within the limits of what may be sent.
 */
export class Input {
  /** Scanner handle; 0 when there was no room for another stream. */
  readonly handle: number;
  /** A stanza is being handled, and what came behind it waits. */
  private held = false;
  /** More has come than may within that time: what comes now waits. */
  private slowed = false;
  /** Too much waits: nothing is read. */
  private paused = false;
  /** WebSocket messages that wait, and their bytes. */
  private waiting: Uint8Array[] = [];
  private kept = 0;
  private readonly bucket: TokenBucket | undefined;

  constructor(private readonly connection: Connection) {
    const { host, transport } = connection;
    const { limits } = host.config;
    this.handle = host.scanner.open(transport.framed ? 'framed' : 'stream', {
      stanzaBytes: limits.stanza_bytes_unauthenticated,
      depth: limits.depth,
      attributes: limits.attributes,
    });
    if (limits.enabled) this.bucket = new TokenBucket(limits.bytes_per_second, limits.burst_bytes);
  }

  /** Something has come and is not handled. */
  get busy(): boolean {
    return this.held || this.waiting.length > 0;
  }

  receive(bytes: Uint8Array, last: boolean): void {
    const { bucket } = this;
    if ((this.held || this.slowed) && this.connection.transport.framed) {
      bucket?.take(bytes.length);
      return this.keep(bytes);
    }
    if (bucket !== undefined && !bucket.take(bytes.length)) this.slowDown(bucket);
    this.scan(bytes, last);
  }

  private scan(bytes: Uint8Array, last: boolean): void {
    const { connection, handle } = this;
    const { scanner } = connection.host;
    const window = scanner.input.length;
    for (let at = 0; at < bytes.length && !connection.isClosing; at += window) {
      const part = bytes.length <= window ? bytes : bytes.subarray(at, at + window);
      scanner.input.set(part, 0);
      this.drive(scanner.feed(handle, part.length));
    }
    if (last && !connection.isClosing && !this.held) this.drive(scanner.endFrame(handle));
    if (this.held && !this.paused && scanner.pending(handle) > HELD_BYTES) {
      this.paused = true;
      connection.transport.pause();
    }
  }

  /** Handles what the scanner found, one event after the other, until input runs out or a stanza has to be waited for. */
  private drive(event: number): void {
    const { connection, handle } = this;
    const { scanner } = connection.host;
    while (event !== EVENT.needMore) {
      const rest = scanner.env[E.rest];
      const next = connection.handle(event);
      if (next !== undefined) {
        if (!(next instanceof Promise)) return connection.fail(next);
        this.hold(next);
        if (scanner.hold(handle) === EVENT.error) connection.fail(scanner.error as StreamFailure);
        return;
      }
      if (connection.isClosing || connection.relayed) return;
      if (event === EVENT.stanza && rest === 0) return;
      event = scanner.next(handle);
    }
  }

  /** The rest of the input waits until `next` is settled: stanzas of one sender are handled in order (RFC 6120 §10.1). */
  private hold(next: Promise<StreamFailure | undefined>): void {
    this.held = true;
    next.then(
      (failure) => this.release(failure),
      (error: unknown) => {
        const { host, id } = this.connection;
        host.log.error({ err: error, connection: id }, 'a stanza could not be handled');
        this.release({ condition: 'internal-server-error' });
      },
    );
  }

  private release(failure: StreamFailure | undefined): void {
    const { connection, handle } = this;
    const { scanner } = connection.host;
    this.held = false;
    if (connection.isClosing) return;
    if (failure !== undefined) return connection.fail(failure);
    if (connection.relayed) return;
    this.drive(scanner.next(handle));
    if (connection.transport.framed && !this.held && !connection.isOver) this.drive(scanner.endFrame(handle));
    this.goOn();
  }

  /** What waited is handled, as far as it may be now. */
  private goOn(): void {
    const { connection } = this;
    while (this.waiting.length > 0 && !this.held && !this.slowed && !connection.isClosing) {
      const message = this.waiting.shift()!;
      this.kept -= message.length + KEPT_OVERHEAD;
      if (this.bucket !== undefined && !this.bucket.take(0)) this.slowDown(this.bucket);
      this.scan(message, true);
    }
    connection.leave();
    if (!this.held && !connection.isOver) this.resume();
  }

  /** A WebSocket cannot be paused: what comes while a stanza is handled, or too fast, is copied, up to the stanza limit. */
  private keep(bytes: Uint8Array): void {
    this.kept += bytes.length + KEPT_OVERHEAD;
    if (this.kept > this.connection.host.config.limits.stanza_bytes + HELD_BYTES) {
      const text = 'too much sent while a request is being handled, or faster than is allowed';
      return this.connection.fail({ condition: 'policy-violation', text });
    }
    this.waiting.push(Uint8Array.from(bytes));
  }

  /** Nothing is read until what came too fast would have come in time. */
  private slowDown(bucket: TokenBucket): void {
    if (this.slowed) return;
    this.slowed = true;
    count(counters.drops, 'rate_slowed');
    this.connection.transport.pause();
    const look = (): void => {
      if (this.connection.isOver) return;
      if (!bucket.take(0)) return void setTimeout(look, bucket.wait()).unref();
      this.slowed = false;
      if (!this.paused) this.connection.transport.resume();
      if (!this.connection.relayed && !this.held) this.goOn();
    };
    setTimeout(look, bucket.wait()).unref();
  }

  private resume(): void {
    if (!this.paused) return;
    this.paused = false;
    if (!this.slowed) this.connection.transport.resume();
  }

  /** What is not handled yet, and all that comes, is for another. */
  passTo(other: Receiver): void {
    const rest = this.connection.host.scanner.takeRest(this.handle);
    if (rest.length > 0) other.receive(rest, false);
    for (const message of this.waiting) other.receive(message, true);
    this.waiting = [];
    this.kept = 0;
    this.resume();
  }

  /** Nothing comes any more. */
  close(): void {
    this.waiting = [];
    if (this.handle !== 0) this.connection.host.scanner.close(this.handle);
  }
}
