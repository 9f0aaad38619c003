import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { readNetworks, type Networks } from '../config/networks.js';
import { count, counters } from '../metrics/counters.js';
import type { DropReason } from '../metrics/drops.js';
import { Admission } from '../stream/admission.js';
import { Connection } from '../stream/connection.js';
import type { StreamHost } from '../stream/host.js';
import { ParkedSocket } from '../stream/parked.js';
import { readProxyHeader } from '../stream/proxy-protocol.js';
import { TcpTransport } from '../stream/tcp.js';
import { CLOSE_PATIENCE } from '../stream/transport.js';

/** Connections that may wait to be accepted: a fleet that reconnects comes all at once. */
const BACKLOG = 4096;

/** To a client that gets no stream: over a limit, or while the server is closing (RFC 6120 §4.9.3.17). */
const TURNED_AWAY =
  "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>" +
  "<stream:error><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";

/** The listeners of one worker: STARTTLS and direct TLS; and who is let in, at those of HTTP too. */
export class Listeners {
  /** Load balancers that have to say who the client is; undefined where clients come themselves. */
  readonly balancers: Networks | undefined;
  private readonly listeners: Listener[] = [];
  private readonly admissions: Admission[] = [];

  constructor(private readonly streams: StreamHost) {
    const { mode, trusted } = streams.config.proxy_protocol;
    if (mode === 'required') this.balancers = readNetworks(trusted);
  }

  /** Resolves to the port, undefined where it is off; rejects with a sentence that names the listener. */
  async open(port: number | 'off', direct: boolean): Promise<number | undefined> {
    if (port === 'off') return undefined;
    const listener = new Listener(this.streams, direct, this.admission(), this.balancers);
    this.listeners.push(listener);
    return listenOn(listener.server, port, this.streams.config.listen_address);
  }

  /** For one more listener; undefined where clients are let in as fast as they come. */
  admission(): Admission | undefined {
    const { limits, admission } = this.streams.config;
    if (!limits.enabled) return undefined;
    const made = new Admission(admission);
    this.admissions.push(made);
    return made;
  }

  /** Takes no more connections, and turns those away that wait; those that are open stay. */
  close(): void {
    for (const listener of this.listeners) listener.close();
    for (const admission of this.admissions) admission.close();
  }
}

/** One port. */
class Listener {
  readonly server: Server;
  /** Connections whose PROXY protocol header has not come. */
  private readonly unknown = new Set<Socket>();

  constructor(
    private readonly streams: StreamHost,
    private readonly direct: boolean,
    private readonly admission: Admission | undefined,
    balancers: Networks | undefined,
  ) {
    this.server = createServer(
      { noDelay: true },
      balancers === undefined
        ? (socket) => this.arrived(socket, socket.remoteAddress ?? '')
        : (socket) => this.introduce(socket, balancers),
    );
  }

  close(): void {
    this.server.close();
    for (const socket of this.unknown) socket.destroy();
  }

  /** Finds out who it is that a load balancer connects. */
  private introduce(socket: Socket, balancers: Networks): void {
    const { log } = this.streams;
    const { limits } = this.streams.config;
    const balancer = socket.remoteAddress ?? '';
    const refuse = (reason: DropReason): void => {
      count(counters.drops, reason);
      log.debug({ address: balancer, reason }, 'a connection was refused by the PROXY protocol');
      socket.destroy();
    };
    socket.on('error', ignore);
    // It has left before it could be seen.
    if (balancer === '') return void socket.destroy();
    if (!balancers.has(balancer)) return refuse('proxy_untrusted');
    if (limits.enabled && this.unknown.size >= limits.connections) return refuse('connections');
    this.unknown.add(socket);
    socket.once('close', () => this.unknown.delete(socket));
    readProxyHeader(socket, limits.enabled ? limits.authentication_seconds * 1000 : Infinity, {
      read: (header) => {
        this.unknown.delete(socket);
        this.arrived(socket, header.address ?? balancer);
      },
      refused: refuse,
    });
  }

  /** A client of that address wants to come in. */
  private arrived(socket: Socket, address: string): void {
    const { draining, gate } = this.streams;
    if (draining) return this.turnAway(socket, 'draining');
    if (!gate.enter(address)) return this.turnAway(socket);
    if (this.admission === undefined || this.admission.take()) this.start(socket, address);
    else this.wait(socket, address, this.admission);
  }

  private wait(socket: Socket, address: string, admission: Admission): void {
    const { gate } = this.streams;
    const place = admission.wait(address, {
      admitted: () => {
        parked.release();
        this.start(socket, address);
      },
      refused: () => {
        parked.release();
        gate.leave(address);
        this.turnAway(socket, 'draining');
      },
    });
    if (place === undefined) {
      gate.leave(address);
      return this.turnAway(socket);
    }
    socket.on('error', ignore);
    const parked = new ParkedSocket(socket, () => {
      admission.leave(place);
      gate.leave(address);
    });
  }

  private start(socket: Socket, address: string): void {
    const { streams, direct } = this;
    const transport = new TcpTransport(socket, address);
    const connection = new Connection(streams, transport);
    transport.start(connection, !direct);
    if (!direct) return;
    const before = socket.bytesRead - socket.readableLength;
    transport.secureWith(streams.certificates!.tlsOptions('direct')).catch((error: Error) => {
      // Somebody only looked whether the port is open.
      if (socket.bytesRead === before) return transport.destroy();
      streams.log.debug({ connection: connection.id, err: error }, 'TLS handshake failed');
      count(counters.drops, 'tls_handshake');
      transport.destroy();
    });
  }

  /** Without a reason it was counted before. */
  private turnAway(socket: Socket, reason?: DropReason): void {
    if (reason !== undefined) count(counters.drops, reason);
    // What it sends has to be read for its end to be seen.
    socket.on('error', ignore).resume();
    if (this.direct) socket.end();
    else socket.end(TURNED_AWAY);
    setTimeout(() => socket.destroy(), CLOSE_PATIENCE).unref();
  }
}

function ignore(): void {
  // 'close' follows.
}

/** Resolves to the port; rejects with a sentence that names the listener. */
function listenOn(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        new Error(
          `cannot listen on ${host}:${port}: ${error.code === 'EADDRINUSE' ? 'the port is in use' : error.message}`,
        ),
      );
    });
    server.listen({ port, host, backlog: BACKLOG }, () => resolve((server.address() as AddressInfo).port));
  });
}
