import type { Socket } from 'node:net';
import { ProxyHeader, type ProxyFault } from './proxy-header.js';

/** What comes of waiting for the header in front of a connection. */
export interface ProxyOutcome {
  /** There was one; what came behind it is still in the socket, which is paused. */
  read(header: ProxyHeader): void;
  /** There will be none: it is broken, or it does not come in time. */
  refused(reason: ProxyFault | 'authentication_timeout'): void;
}

/**
 * Reads the header of the PROXY protocol off a connection. One that closes before it has sent anything, as health checks do, has
 * no outcome.
 */
export function readProxyHeader(socket: Socket, patienceMs: number, outcome: ProxyOutcome): void {
  const header = new ProxyHeader();
  const timer = patienceMs === Infinity ? undefined : setTimeout(() => refuse('authentication_timeout'), patienceMs);
  timer?.unref();
  const settle = (): void => {
    clearTimeout(timer);
    socket.off('data', take).off('close', left);
  };
  const refuse = (reason: ProxyFault | 'authentication_timeout'): void => {
    settle();
    outcome.refused(reason);
  };
  const take = (chunk: Buffer): void => {
    const length = header.read(chunk);
    if (header.fault !== undefined) return refuse(header.fault);
    if (!header.done) return;
    settle();
    socket.pause();
    if (length < chunk.length) socket.unshift(chunk.subarray(length));
    outcome.read(header);
  };
  const left = (): void => {
    if (header.begun) refuse('proxy_invalid');
    else settle();
  };
  socket.on('data', take).on('close', left);
}
