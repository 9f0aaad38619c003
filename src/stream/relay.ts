import { CHANNEL, type Bus } from '../cluster/bus.js';
import type { Connection } from './connection.js';
import { joined } from './entry.js';
import { framed } from './framing.js';
import type { Outbox } from './outbox.js';
import { scratch } from './scratch.js';
import type { Receiver, Transport, TransportKind } from './transport.js';

/** First byte of a relay frame; the relay's number follows. Up: socket to session. Down: session to socket. */
const OP = {
  bytes: 1,
  message: 2,
  gone: 3,
  written: 4,
  dismissed: 5,
  write: 6,
  end: 7,
  destroy: 8,
  pause: 9,
  resume: 10,
} as const;
const HEADER = 5;
const NONZA_ROOM = 128;

function header(op: number, relay: number): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER);
  bytes[0] = op;
  bytes.writeUInt32LE(relay, 1);
  return bytes;
}

/** The facts of the socket at the other worker. */
export interface RelayedTransport {
  kind: TransportKind;
  secure: boolean;
  framed: boolean;
  remoteAddress: string;
}

/** All relays of one worker: sockets here for sessions elsewhere (outlets), and the other way round (inlets). */
export class Relays {
  private readonly outlets = new Map<number, RelayOutlet>();
  private readonly inlets = new Map<string, RelayInlet>();
  private last = 0;

  constructor(private readonly bus: Bus) {
    bus.listen(CHANNEL.relay, (from, body) => {
      const op = body[0]!;
      const relay = body.readUInt32LE(1);
      if (op >= OP.write) this.outlets.get(relay)?.told(op, body.subarray(HEADER));
      else this.inlets.get(`${from}:${relay}`)?.told(op, body.subarray(HEADER));
    });
    bus.onPeerDown((peer) => {
      for (const outlet of [...this.outlets.values()]) if (outlet.peer === peer) outlet.lost();
      for (const inlet of [...this.inlets.values()]) if (inlet.peer === peer) inlet.lost();
    });
  }

  /** For a socket of this worker whose session is at `peer`. */
  outlet(peer: number, connection: Connection): RelayOutlet {
    const id = (this.last = (this.last + 1) >>> 0);
    const outlet = new RelayOutlet(this.bus, peer, id, connection, () => this.outlets.delete(id));
    this.outlets.set(id, outlet);
    return outlet;
  }

  /** For a session of this worker whose socket is at `peer`. */
  inlet(peer: number, relay: number, socket: RelayedTransport): RelayInlet {
    const key = `${peer}:${relay}`;
    const inlet = new RelayInlet(this.bus, peer, relay, socket, () => this.inlets.delete(key));
    this.inlets.set(key, inlet);
    return inlet;
  }
}

/** The end with the socket: passes bytes on as they come and writes what it is told. */
export class RelayOutlet implements Receiver {
  private owesWritten = false;
  private isOpen = false;
  private isLost = false;

  constructor(
    private readonly bus: Bus,
    readonly peer: number,
    readonly id: number,
    private readonly connection: Connection,
    private readonly forget: () => void,
  ) {}

  /** The other worker has agreed: from here on the connection's bytes go there. */
  open(): void {
    if (this.connection.isOver) return this.closed();
    this.isOpen = true;
    this.connection.relayTo(this);
    if (this.isLost) this.lost();
  }

  /** The other worker has refused, or did not answer in time: should it agree later, it has to hear that nobody is here. */
  cancel(): void {
    this.closed();
  }

  receive(bytes: Uint8Array, last: boolean): void {
    this.bus.send(this.peer, CHANNEL.relay, header(last ? OP.message : OP.bytes, this.id), bytes);
  }

  writable(): void {
    if (!this.owesWritten) return;
    this.owesWritten = false;
    this.bus.send(this.peer, CHANNEL.relay, header(OP.written, this.id));
  }

  closed(): void {
    this.forget();
    this.bus.send(this.peer, CHANNEL.relay, header(OP.gone, this.id));
  }

  dismissed(): void {
    this.bus.send(this.peer, CHANNEL.relay, header(OP.dismissed, this.id));
  }

  /** The worker with the session died, and the session with it. As long as it has not agreed, another may have the session. */
  lost(): void {
    this.isLost = true;
    this.forget();
    if (this.isOpen) this.connection.transport.destroy();
  }

  told(op: number, body: Buffer): void {
    const { transport } = this.connection;
    if (op === OP.write) {
      transport.writeNow(Buffer.from(body));
      this.owesWritten = true;
      if (transport.writable) this.writable();
    } else if (op === OP.pause) transport.pause();
    else if (op === OP.resume) transport.resume();
    else if (op === OP.end) transport.end();
    else transport.destroy();
  }
}

/** The end with the session: a transport whose socket is at another worker. One write is under way at a time. */
export class RelayInlet implements Transport {
  readonly kind: TransportKind;
  readonly framed: boolean;
  readonly secure: boolean;
  readonly remoteAddress: string;
  receiver: Receiver | undefined;
  private underWay = 0;
  private gone = false;

  constructor(
    private readonly bus: Bus,
    readonly peer: number,
    private readonly id: number,
    socket: RelayedTransport,
    private readonly forget: () => void,
  ) {
    this.kind = socket.kind;
    this.framed = socket.framed;
    this.secure = socket.secure;
    this.remoteAddress = socket.remoteAddress;
  }

  get writable(): boolean {
    return this.underWay === 0 && !this.gone;
  }

  drain(outbox: Outbox): void {
    if (this.framed) {
      for (let next = outbox.takeOne(); next !== undefined; next = outbox.takeOne())
        this.writeNow(framed(outbox.head, next));
    } else {
      while (!outbox.empty) {
        const target = scratch(outbox.unsent + NONZA_ROOM);
        const length = outbox.takeInto(target, target.length);
        if (length > 0) this.writeNow(target.subarray(0, length));
        else {
          const large = outbox.takeOne();
          if (large === undefined) break;
          this.writeNow(joined(outbox.head, large));
        }
      }
    }
    for (let nonza = outbox.takeNonza(); nonza !== undefined; nonza = outbox.takeNonza()) this.writeNow(nonza);
  }

  writeNow(bytes: Buffer): void {
    if (this.gone) return;
    this.underWay++;
    this.say(OP.write, bytes);
  }

  pause(): void {
    this.say(OP.pause);
  }

  resume(): void {
    this.say(OP.resume);
  }

  end(): void {
    this.say(OP.end);
  }

  destroy(): void {
    this.say(OP.destroy);
  }

  /** The socket is gone. */
  get over(): boolean {
    return this.gone;
  }

  /** There is no session for it. */
  cancel(): void {
    this.gone = true;
    this.forget();
  }

  lost(): void {
    if (this.gone) return;
    this.cancel();
    this.receiver?.closed();
  }

  told(op: number, body: Buffer): void {
    if (op === OP.bytes || op === OP.message) this.receiver?.receive(body, op === OP.message);
    else if (op === OP.gone) this.lost();
    else if (op === OP.dismissed) this.receiver?.dismissed();
    else if (op === OP.written && this.underWay > 0) {
      this.underWay = 0;
      this.receiver?.writable();
    }
  }

  private say(op: number, bytes?: Buffer): void {
    if (this.gone) return;
    if (bytes === undefined) this.bus.send(this.peer, CHANNEL.relay, header(op, this.id));
    else this.bus.send(this.peer, CHANNEL.relay, header(op, this.id), bytes);
  }
}
