import type { Socket } from 'node:net';

/** What is kept of what a socket sends while it waits: a stream's header, or the beginning of a TLS handshake. */
const KEPT_BYTES = 4096;

/**
 * A socket that waits to be served. Nobody looks at what it sends, and little of that is taken in; but something has to be, since
 * the end of a connection is only seen behind what was sent before. Tells when the peer has gone.
 */
export class ParkedSocket {
  private readonly kept: Buffer[] = [];
  private length = 0;

  constructor(
    private readonly socket: Socket,
    private readonly onGone: () => void,
  ) {
    socket.on('data', this.keep).on('end', this.gone).on('close', this.gone).resume();
  }

  /** Gives the socket back, paused, with all in it that has come. */
  release(): void {
    this.forget();
    this.socket.pause();
    for (let chunk = this.kept.pop(); chunk !== undefined; chunk = this.kept.pop()) this.socket.unshift(chunk);
  }

  private readonly keep = (chunk: Buffer): void => {
    this.kept.push(chunk);
    this.length += chunk.length;
    if (this.length >= KEPT_BYTES) this.socket.pause();
  };

  private readonly gone = (): void => {
    this.forget();
    this.socket.destroy();
    this.onGone();
  };

  private forget(): void {
    this.socket.off('data', this.keep).off('end', this.gone).off('close', this.gone);
  }
}
