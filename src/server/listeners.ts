import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { count, counters } from '../metrics/counters.js';
import { Connection } from '../stream/connection.js';
import type { StreamHost } from '../stream/host.js';
import { TcpTransport } from '../stream/tcp.js';

/** Connections that may wait to be accepted: a fleet that reconnects comes all at once. */
const BACKLOG = 4096;

/** The XMPP listeners of one worker: STARTTLS and direct TLS. */
export class Listeners {
  private readonly servers: Server[] = [];

  constructor(private readonly streams: StreamHost) {}

  /** Resolves to the port, undefined where it is off; rejects with a sentence that names the listener. */
  async open(port: number | 'off', direct: boolean): Promise<number | undefined> {
    if (port === 'off') return undefined;
    const server = createServer({ noDelay: true }, (socket) => accept(this.streams, socket, direct));
    this.servers.push(server);
    return listenOn(server, port, this.streams.config.listen_address);
  }

  /** Takes no more connections; those that are open stay. */
  close(): void {
    for (const server of this.servers) server.close();
  }
}

/** A new TCP connection. */
function accept(streams: StreamHost, socket: Socket, direct: boolean): void {
  const address = socket.remoteAddress ?? '';
  if (streams.draining || !streams.gate.enter(address)) {
    socket.on('error', () => socket.destroy());
    if (direct) socket.end();
    else socket.end(TURNED_AWAY);
    return;
  }
  const transport = new TcpTransport(socket);
  const connection = new Connection(streams, transport);
  transport.start(connection, !direct);
  if (!direct) return;
  transport.secureWith(streams.certificates!.tlsOptions('direct')).catch((error: Error) => {
    streams.log.debug({ connection: connection.id, err: error }, 'TLS handshake failed');
    count(counters.drops, 'tls_handshake');
    transport.destroy();
  });
}

/** To a client that gets no stream: over a limit, or while the server is closing (RFC 6120 §4.9.3.17). */
const TURNED_AWAY =
  "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>" +
  "<stream:error><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";

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
