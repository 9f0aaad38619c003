import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { once } from 'node:events';
import { WebSocketClient } from './websocket.js';

/** How a client reaches the server; `starttls` begins as `tcp`. */
export type Via = 'tcp' | 'starttls' | 'tls' | 'websocket' | 'wss';

export interface CarrierEvents {
  /** Bytes of the stream, or one whole WebSocket message. */
  text(text: string): void;
  closed(): void;
}

/** What carries a stream: a socket, or a WebSocket on one. */
export interface Carrier {
  readonly socket: Socket;
  readonly webSocket?: WebSocketClient;
  write(text: string | Buffer): void;
  /** Lets the peer read all that was written, then closes our side. */
  end(): void;
}

export async function openCarrier(
  via: Via,
  target: {
    host: string;
    port: number;
    domain: string;
    tls?: object;
    headers?: Record<string, string>;
    localAddress?: string;
    preamble?: Buffer;
  },
  events: CarrierEvents,
): Promise<Carrier> {
  const secure = via === 'tls' || via === 'wss';
  const { host, port, localAddress } = target;
  const plain = connectTcp({ host, port, localAddress, noDelay: true });
  await once(plain, 'connect');
  if (target.preamble !== undefined) {
    // Together with the request, where there is one: as a load balancer does that speaks HTTP.
    if (via === 'websocket') {
      plain.cork();
      process.nextTick(() => plain.uncork());
    }
    plain.write(target.preamble);
  }
  const socket = secure
    ? await secured(plain, target.domain, { ...(via === 'tls' && { ALPNProtocols: ['xmpp-client'] }), ...target.tls })
    : plain;
  socket.on('error', () => undefined); // 'close' follows and ends what waits
  if (via !== 'websocket' && via !== 'wss') return streamCarrier(socket, events);
  socket.once('close', () => events.closed());
  const webSocket = await WebSocketClient.open(
    socket,
    { host: `${target.host}:${target.port}`, path: '/xmpp-websocket', protocol: 'xmpp', headers: target.headers },
    {
      message: (text) => events.text(text),
      close: () => socket.end(),
      violation: (error) => socket.destroy(error),
    },
  );
  return {
    socket,
    webSocket,
    write: (text) => webSocket.send(text.toString()),
    end: () => webSocket.close(),
  };
}

/** TLS over a connected socket; certificates of test servers are self-signed, so any is taken. */
export async function secured(plain: Socket, domain: string, options: object = {}): Promise<TLSSocket> {
  const socket = connectTls({ socket: plain, servername: domain, rejectUnauthorized: false, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

export function streamCarrier(socket: Socket, events: CarrierEvents): Carrier {
  const decoder = new TextDecoder();
  socket.on('data', (chunk: Buffer) => events.text(decoder.decode(chunk, { stream: true })));
  socket.once('close', () => events.closed());
  return { socket, write: (text) => void socket.write(text), end: () => socket.end() };
}
