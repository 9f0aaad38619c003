import { EventEmitter } from 'node:events';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Target } from './target.js';

const NS_TLS = 'urn:ietf:params:xml:ns:xmpp-tls';

/** How long TCP, STARTTLS and TLS together may take. */
const CONNECT_TIMEOUT_MS = 10_000;

/**
 * A socket as @xmpp/client uses it (`connect`, `data`, `close`, `error`; `write`, `end`) that is encrypted and verified
 * before it says `connect`. The library's own STARTTLS takes no certificate authority, and switching verification off or
 * trusting an authority for the whole process is not an option.
 */
export class SecureSocket extends EventEmitter {
  readonly secure = true;
  private socket: Socket | undefined;

  constructor(private readonly target: Target) {
    super();
    // Errors after the library has let go of the socket have nobody left to tell.
    this.on('error', () => undefined);
  }

  connect(): void {
    const timer = setTimeout(() => this.fail(new Error('the connection took too long')), CONNECT_TIMEOUT_MS);
    this.establish()
      .then((socket) => {
        socket.on('data', (data) => this.emit('data', data));
        this.emit('connect');
      })
      .catch((error: Error) => this.fail(error))
      .finally(() => clearTimeout(timer));
  }

  write(data: string, done?: (error?: Error | null) => void): void {
    if (this.socket?.writable) this.socket.write(data, done);
    else done?.(new Error('the connection is closed'));
  }

  end(): void {
    this.socket?.end();
  }

  private fail(error: Error): void {
    this.emit('error', error);
    this.socket?.destroy();
  }

  private async establish(): Promise<TLSSocket> {
    const { target } = this;
    const plain = this.adopt(connectTcp({ host: target.host, port: target.port, noDelay: true }));
    await new Promise<void>((resolve, reject) => plain.once('connect', resolve).once('error', reject));
    if (target.transport === 'starttls') await startTls(plain, target.domain);
    plain.removeAllListeners();
    const secured = connectTls({
      socket: plain,
      host: target.domain,
      ...(isIP(target.domain) === 0 && { servername: target.domain }),
      ...(target.transport === 'tls' && { ALPNProtocols: ['xmpp-client'] }),
      ...(target.ca && { ca: target.ca }),
    });
    this.adopt(secured);
    await new Promise<void>((resolve, reject) => secured.once('secureConnect', resolve).once('error', reject));
    secured.removeAllListeners('error');
    secured.on('error', (error) => this.emit('error', error));
    return secured;
  }

  /** Until it is replaced, the end of this socket is the end of the connection. */
  private adopt<S extends Socket>(socket: S): S {
    this.socket = socket;
    socket.once('close', (dirty) => this.emit('close', dirty));
    return socket;
  }
}

/** RFC 6120 §5.4: a stream just to ask for TLS; the client opens its own when the channel is secure. */
async function startTls(socket: Socket, domain: string): Promise<void> {
  const to = domain.replace(/[&<>'"]/g, '');
  socket.write(
    `<?xml version='1.0'?><stream:stream to='${to}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`,
  );
  const features = await answer(socket, /<\w*:?features\b[^>]*(?:\/>|>[^]*?<\/\w*:?features>)/);
  if (!features.includes(NS_TLS)) throw new Error('the server offers no TLS');
  socket.write(`<starttls xmlns='${NS_TLS}'/>`);
  await answer(socket, /<\w*:?proceed\b[^>]*>/);
}

/** Reads until the awaited element, a failure or the end. */
function answer(socket: Socket, awaited: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = '';
    const settle = (act: () => void) => {
      socket.off('data', read).off('close', ended);
      act();
    };
    const read = (data: Buffer) => {
      received += data.toString('utf8');
      const found = awaited.exec(received)?.[0];
      const refusal = /<(?:\w*:error|\w*:?failure)\b[^]*/.exec(received)?.[0];
      if (found !== undefined) settle(() => resolve(found));
      else if (refusal !== undefined)
        settle(() => reject(new Error(`the server refuses TLS: ${refusal.slice(0, 200)}`)));
      else if (received.length > 65_536) settle(() => reject(new Error('the server does not speak XMPP')));
    };
    const ended = () => settle(() => reject(new Error('the server closed the connection')));
    socket.on('data', read).on('close', ended);
  });
}
