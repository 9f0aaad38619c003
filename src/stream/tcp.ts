import type { Socket } from 'node:net';
import { TLSSocket, type TLSSocketOptions } from 'node:tls';
import { counters } from '../metrics/counters.js';
import { joined } from './entry.js';
import type { Outbox } from './outbox.js';
import { CLOSE_PATIENCE, type Receiver, type Transport, type TransportKind } from './transport.js';
import { detach, scratch } from './scratch.js';

/** Room that a batch leaves for the acknowledgement and the request behind it. */
const NONZA_ROOM = 128;
const NOTHING = Buffer.alloc(0);

/** A stream over TCP, in the clear or in TLS; STARTTLS turns the one into the other. */
export class TcpTransport implements Transport {
  kind: TransportKind = 'tcp';
  readonly framed = false;
  redirectable = true;
  private blocked = false;
  private gone = false;
  private receiver!: Receiver;
  private readonly onData = (chunk: Buffer) => this.receiver.receive(chunk, false);
  private readonly onClose = () => this.close();

  constructor(
    private socket: Socket,
    readonly remoteAddress: string,
  ) {
    counters.accepted.tcp++;
    counters.open.tcp++;
    // A reset is only the way the peer leaves: 'close' follows.
    socket.on('error', ignoreReset);
    socket.on('close', this.onClose);
  }

  get secure(): boolean {
    return this.kind === 'tls';
  }

  get writable(): boolean {
    return !this.blocked && !this.gone;
  }

  get tls(): TLSSocket | undefined {
    return this.socket instanceof TLSSocket ? this.socket : undefined;
  }

  /** `read`: false while TLS has to come first. */
  start(receiver: Receiver, read: boolean): void {
    this.receiver = receiver;
    this.redirectable = read;
    // Paused is one that had to wait, or was read from before.
    if (read) this.socket.on('data', this.onData).resume();
  }

  /** Lets TLS take over the socket. Resolves when the handshake is done; rejects with its error. */
  secureWith(options: TLSSocketOptions): Promise<TLSSocket> {
    const plain = this.socket;
    plain.off('data', this.onData);
    plain.off('close', this.onClose);
    counters.open.tcp--;
    counters.open.tls++;
    counters.accepted.tls++;
    this.kind = 'tls';
    const secured = new TLSSocket(plain, options);
    this.socket = secured;
    secured.on('close', this.onClose);
    return new Promise((resolve, reject) => {
      secured.on('error', reject);
      secured.on('close', () => reject(new Error('closed during the TLS handshake')));
      secured.once('secure', () => {
        secured.on('data', this.onData);
        resolve(secured);
      });
    });
  }

  drain(outbox: Outbox): void {
    while (this.writable) {
      const target = scratch(outbox.unsent + NONZA_ROOM);
      let length = outbox.takeInto(target, target.length - NONZA_ROOM);
      if (length === 0 && !outbox.empty) {
        this.writeLarge(outbox);
        continue;
      }
      if (outbox.empty) {
        for (let nonza = outbox.takeNonza(); nonza !== undefined; nonza = outbox.takeNonza()) {
          target.set(nonza, length);
          length += nonza.length;
        }
      }
      if (length === 0) return;
      this.write(target.subarray(0, length), target);
      if (outbox.empty) return;
    }
  }

  writeNow(bytes: Buffer): void {
    if (!this.gone) this.write(bytes, undefined);
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    if (this.gone) return;
    this.socket.end();
    setTimeout(() => this.socket.destroy(), CLOSE_PATIENCE).unref();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** A stanza larger than the largest write buffer goes out on its own. */
  private writeLarge(outbox: Outbox): void {
    const shared = outbox.takeOne();
    if (shared === undefined) return;
    this.write(joined(outbox.head, shared), undefined);
  }

  private write(bytes: Buffer, borrowed: Buffer | undefined): void {
    counters.writes++;
    counters.bytesOut += bytes.length;
    const socket = this.socket;
    socket.write(bytes);
    // The kernel took all of it in the call: the buffer is free. Otherwise the socket holds it until `written`.
    if (socket.writableLength === 0) return;
    this.blocked = true;
    // Nearly all writes are done at once, and a callback costs a turn of the queue of ticks: only what is behind one that is not has one.
    socket.write(NOTHING, () => this.written());
    if (borrowed !== undefined && this.kind !== 'tls') detach(borrowed);
  }

  private written(): void {
    if (!this.blocked || this.socket.writableLength !== 0) return;
    this.blocked = false;
    this.receiver.writable();
  }

  private close(): void {
    if (this.gone) return;
    this.gone = true;
    if (this.kind === 'tls') counters.open.tls--;
    else counters.open.tcp--;
    this.receiver.closed();
  }
}

function ignoreReset(): void {
  // The 'close' event that follows ends the connection; there is nobody left to tell.
}
