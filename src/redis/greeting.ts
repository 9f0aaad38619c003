import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type Address, STUCK_MS } from './settings.js';

/** Which of both a server speaks; undefined when it speaks neither, or not in time. */
export async function spoken(address: Address): Promise<'tls' | 'plain' | undefined> {
  const [tls, plain] = await Promise.all([speaksTls(address), speaksPlain(address)]);
  return tls ? 'tls' : plain ? 'plain' : undefined;
}

function speaksTls(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTls({ ...address, rejectUnauthorized: false, timeout: STUCK_MS });
    const told = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('secureConnect', () => told(true));
    socket.once('error', () => told(false));
    socket.once('timeout', () => told(false));
    socket.once('close', () => told(false));
  });
}

function speaksPlain(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ ...address, timeout: STUCK_MS });
    const told = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => socket.write('PING\r\n'));
    // PONG, or that one must authenticate first.
    socket.once('data', (bytes) => told(/^(\+PONG|-[A-Z])/.test(bytes.toString('latin1'))));
    socket.once('error', () => told(false));
    socket.once('timeout', () => told(false));
    socket.once('close', () => told(false));
  });
}
