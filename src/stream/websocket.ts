import type { TemplatedApp, WebSocket } from 'uWebSockets.js';
import { counters, count } from '../metrics/counters.js';
import type { Outbox } from './outbox.js';
import { CLOSE_PATIENCE, type Receiver, type Transport } from './transport.js';
import { framed } from './framing.js';
import { upgrader, type Origin, type UpgradeOptions } from './upgrade.js';

/** Normal closure (RFC 6455 §7.4.1). */
const NORMAL = 1000;
const UNSUPPORTED_DATA = 1003;
/** What the library says when it has broken the connection off itself. */
const ABNORMAL = 1006;

interface UserData extends Origin {
  transport: WebSocketTransport | undefined;
}

/** A stream over WebSocket (RFC 7395): every stanza is one text message. */
export class WebSocketTransport implements Transport {
  readonly kind = 'websocket';
  readonly framed = true;
  private blocked = false;
  private gone = false;
  receiver!: Receiver;

  constructor(
    private readonly socket: WebSocket<UserData>,
    readonly remoteAddress: string,
    readonly secure: boolean,
    /** Of what is connected here: the client, or a load balancer. */
    readonly peerAddress: string,
  ) {
    counters.accepted.websocket++;
    counters.open.websocket++;
  }

  get writable(): boolean {
    return !this.blocked && !this.gone;
  }

  drain(outbox: Outbox): void {
    this.socket.cork(() => {
      while (this.writable) {
        const shared = outbox.takeOne();
        if (shared === undefined) break;
        this.send(framed(outbox.head, shared));
      }
      if (!outbox.empty) return;
      for (let nonza = outbox.takeNonza(); nonza !== undefined && !this.gone; nonza = outbox.takeNonza())
        this.send(nonza);
    });
  }

  writeNow(bytes: Buffer): void {
    if (!this.gone) this.send(bytes);
  }

  /** uWebSockets.js cannot stop one socket's reading: what comes meanwhile is kept by the connection, within its bounds. */
  pause(): void {
    return;
  }

  resume(): void {
    return;
  }

  end(): void {
    if (this.gone) return;
    this.socket.end(NORMAL);
    setTimeout(() => this.destroy(), CLOSE_PATIENCE).unref();
  }

  destroy(): void {
    if (!this.gone) this.socket.close();
  }

  /** The socket can take more. What is sent in the very call and fills it again would never be told of: so later. */
  drained(): void {
    setImmediate(() => {
      if (!this.blocked || this.gone) return;
      this.blocked = false;
      this.receiver.writable();
    });
  }

  closed(): void {
    if (this.gone) return;
    this.gone = true;
    counters.open.websocket--;
    this.receiver.closed();
  }

  private send(bytes: Uint8Array): void {
    counters.writes++;
    counters.bytesOut += bytes.length;
    const result = this.socket.send(bytes, false);
    // 0: taken, but the kernel's buffer is full; 2: not taken, so the stream has a gap and must end.
    if (result === 0) this.blocked = true;
    else if (result === 2) {
      count(counters.drops, 'websocket_backpressure');
      this.destroy();
    }
  }
}

export interface WebSocketOptions extends UpgradeOptions {
  path: string;
  /** Largest message taken, in bytes. */
  maxMessageBytes: number;
  /** Most bytes that may wait in the socket. */
  maxBacklogBytes: number;
  secure: boolean;
  connected(transport: WebSocketTransport): Receiver;
}

/** Serves streams at `path` of a uWebSockets.js application. */
export function serveWebSocket(app: TemplatedApp, options: WebSocketOptions): void {
  app.ws<UserData>(options.path, {
    // What is too large for a stanza gets its stream error, within reason; the library only hangs up.
    maxPayloadLength: 2 * options.maxMessageBytes,
    maxBackpressure: options.maxBacklogBytes,
    // Idle streams are our own keepalive's business (RFC 6120 §4.6.1).
    idleTimeout: 0,
    sendPingsAutomatically: false,
    upgrade: upgrader<UserData>(options, (origin) => ({ ...origin, transport: undefined })),
    open: (socket) => {
      const data = socket.getUserData();
      const transport = new WebSocketTransport(socket, data.remoteAddress, options.secure, data.peerAddress);
      data.transport = transport;
      transport.receiver = options.connected(transport);
    },
    message: (socket, message, isBinary) => {
      // RFC 7395 §3.2.
      if (isBinary) {
        count(counters.drops, 'websocket_violation');
        socket.end(UNSUPPORTED_DATA, 'XMPP is text');
        return;
      }
      socket.getUserData().transport?.receiver.receive(new Uint8Array(message), true);
    },
    drain: (socket) => socket.getUserData().transport?.drained(),
    close: (socket, code, reason) => {
      if (code === ABNORMAL && reason.byteLength > 0) count(counters.drops, 'websocket_violation');
      socket.getUserData().transport?.closed();
    },
  });
}
