import { counters, count } from '../metrics/counters.js';
import { E } from '../xml/envelope.js';
import { EVENT } from '../xml/scanner.js';
import type { Connection } from './connection.js';
import type { StreamFailure } from './errors.js';
import { TokenBucket } from './token-bucket.js';
import type { Receiver } from './transport.js';

/** Bytes that may wait while one stanza is being handled, before reading stops. */
const HELD_BYTES = 64 * 1024;

/**
 * The way of a stream's bytes through the scanner: what it finds is handled one event after the other, at the pace
 * of whoever handles it and within the limits of what may be sent.
 */
export class Input {
  /** Scanner handle; 0 when there was no room for another stream. */
  readonly handle: number;
  /** A stanza is being handled, and what came behind it waits. */
  held = false;
  private paused = false;
  private waiting: Uint8Array[] = [];
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

  receive(bytes: Uint8Array, last: boolean): void {
    if (this.bucket !== undefined && !this.bucket.take(bytes.length)) this.slowDown(this.bucket.wait());
    if (this.held && this.connection.transport.framed) return this.keep(bytes);
    this.scan(bytes, last);
  }

  private scan(bytes: Uint8Array, last: boolean): void {
    const { connection, handle } = this;
    const { scanner } = connection.host;
    const window = scanner.input.length;
    for (let at = 0; at < bytes.length && !connection.isOver; at += window) {
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
    while (this.waiting.length > 0 && !this.held && !connection.isOver) this.scan(this.waiting.shift()!, true);
    connection.leave();
    if (!this.held && !connection.isOver) this.resume();
  }

  /** A WebSocket cannot be paused: what comes while a stanza is handled is copied, up to the stanza limit. */
  private keep(bytes: Uint8Array): void {
    const kept = this.waiting.reduce((sum, part) => sum + part.length, bytes.length);
    if (kept > this.connection.host.config.limits.stanza_bytes + HELD_BYTES) {
      const text = 'too much sent while a request is being handled';
      return this.connection.fail({ condition: 'policy-violation', text });
    }
    this.waiting.push(Uint8Array.from(bytes));
  }

  private slowDown(milliseconds: number): void {
    const { connection } = this;
    count(counters.drops, 'rate_slowed');
    connection.transport.pause();
    setTimeout(() => {
      if (!connection.isOver && !this.paused) connection.transport.resume();
    }, milliseconds).unref();
  }

  private resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.connection.transport.resume();
  }

  /** What is not handled yet, and all that comes, is for another. */
  passTo(other: Receiver): void {
    const rest = this.connection.host.scanner.takeRest(this.handle);
    if (rest.length > 0) other.receive(rest, false);
    for (const message of this.waiting) other.receive(message, true);
    this.waiting = [];
    this.resume();
  }

  /** Nothing comes any more. */
  close(): void {
    this.waiting = [];
    if (this.handle !== 0) this.connection.host.scanner.close(this.handle);
  }
}
