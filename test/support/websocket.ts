import { createHash, randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export interface WebSocketEvents {
  message(text: string): void;
  /** The peer's close frame; `code` 1005 when it gave none (RFC 6455 §7.1.5). */
  close(code: number, reason: string): void;
  /** The peer broke RFC 6455. */
  violation(error: Error): void;
}

/** A small strict WebSocket client (RFC 6455): Node 20 has none that is stable. */
export class WebSocketClient {
  private input: Buffer = Buffer.alloc(0);
  private parts: Buffer[] = [];
  private fragmented = false;

  private constructor(
    private readonly socket: Duplex,
    private readonly events: WebSocketEvents,
  ) {}

  /** Upgrades a connected socket (TCP or TLS). Rejects with the status line when the server refuses. */
  static open(
    socket: Duplex,
    target: { host: string; path: string; protocol?: string; headers?: Record<string, string> },
    events: WebSocketEvents,
  ): Promise<WebSocketClient> {
    const key = randomBytes(16).toString('base64');
    const lines = [
      `GET ${target.path} HTTP/1.1`,
      `Host: ${target.host}`,
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Key: ${key}`,
      'Sec-WebSocket-Version: 13',
      ...(target.protocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${target.protocol}`]),
      ...Object.entries(target.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
    ];
    socket.write(`${lines.join('\r\n')}\r\n\r\n`);
    return new Promise((resolve, reject) => {
      let head = Buffer.alloc(0);
      const ended = () => reject(new Error(`closed during the WebSocket handshake: ${head.toString()}`));
      const onData = (chunk: Buffer) => {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        socket.off('data', onData);
        socket.off('close', ended);
        const [status = '', ...fields] = head.subarray(0, end).toString('latin1').split('\r\n');
        const headers = new Map(fields.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line]));
        const accept = createHash('sha1')
          .update(key + GUID)
          .digest('base64');
        if (!status.startsWith('HTTP/1.1 101')) return reject(new Error(`no WebSocket: ${status}`));
        if (!headers.get('sec-websocket-accept')?.endsWith(accept))
          return reject(new Error('wrong Sec-WebSocket-Accept'));
        const chosen = headers.get('sec-websocket-protocol')?.split(':')[1]?.trim();
        if (chosen !== target.protocol) return reject(new Error(`wrong subprotocol: ${chosen}`));
        const client = new WebSocketClient(socket, events);
        socket.on('data', (bytes: Buffer) => client.receive(bytes));
        resolve(client);
        // What came with the answer is for whoever awaits the client: it comes when that one has it.
        socket.pause();
        socket.unshift(head.subarray(end + 4));
        setImmediate(() => socket.resume());
      };
      socket.on('data', onData);
      socket.once('close', ended);
    });
  }

  send(text: string): void {
    this.frame(OPCODE.text, Buffer.from(text));
  }

  /** One frame as given; `fin` false begins or continues a fragmented message. */
  frame(opcode: number, payload: Buffer, fin = true): void {
    this.socket.write(encodeFrame(opcode, payload, fin));
  }

  close(code = 1000): void {
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.frame(OPCODE.close, payload);
  }

  private receive(chunk: Buffer): void {
    this.input = this.input.length === 0 ? chunk : Buffer.concat([this.input, chunk]);
    for (;;) {
      const { input } = this;
      if (input.length < 2) return;
      let at = 2;
      let length = input[1]! & 0x7f;
      if (length === 126) {
        if (input.length < 4) return;
        length = input.readUInt16BE(2);
        at = 4;
      } else if (length === 127) {
        if (input.length < 10) return;
        length = Number(input.readBigUInt64BE(2));
        at = 10;
      }
      if (input.length < at + length) return;
      if ((input[1]! & 0x80) !== 0) return this.events.violation(new Error('the server masks its frames'));
      if ((input[0]! & 0x70) !== 0) return this.events.violation(new Error('reserved bits are set'));
      const payload = input.subarray(at, at + length);
      this.input = input.subarray(at + length);
      this.handle(input[0]! & 0x0f, payload, (input[0]! & 0x80) !== 0);
    }
  }

  private handle(opcode: number, payload: Buffer, fin: boolean): void {
    switch (opcode) {
      case OPCODE.text:
      case OPCODE.continuation:
        if ((opcode === OPCODE.continuation) !== this.fragmented) {
          return this.events.violation(new Error('a fragment out of place'));
        }
        this.parts.push(payload);
        this.fragmented = !fin;
        if (fin) this.events.message(Buffer.concat(this.parts.splice(0)).toString());
        return;
      case OPCODE.ping:
        return this.frame(OPCODE.pong, payload);
      case OPCODE.pong:
        return;
      case OPCODE.close:
        return this.events.close(payload.length >= 2 ? payload.readUInt16BE(0) : 1005, payload.subarray(2).toString());
      default:
        return this.events.violation(new Error(`unexpected opcode ${opcode}`));
    }
  }
}

/** A client's frame, masked as RFC 6455 §5.3 demands. */
export function encodeFrame(opcode: number, payload: Buffer, fin = true): Buffer {
  const mask = randomBytes(4);
  const size = payload.length < 126 ? 0 : payload.length < 65536 ? 2 : 8;
  const header = Buffer.alloc(2 + size);
  header[0] = (fin ? 0x80 : 0) | opcode;
  header[1] = 0x80 | (size === 0 ? payload.length : size === 2 ? 126 : 127);
  if (size === 2) header.writeUInt16BE(payload.length, 2);
  if (size === 8) header.writeBigUInt64BE(BigInt(payload.length), 2);
  const masked = Buffer.allocUnsafe(payload.length);
  for (let i = 0; i < payload.length; i++) masked[i] = payload[i]! ^ mask[i & 3]!;
  return Buffer.concat([header, mask, masked]);
}
