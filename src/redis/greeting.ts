import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type Address, type Settings, STUCK_MS, written } from './settings.js';

/** A sentence where TLS is asked for and the server speaks none, or the reverse; undefined where that is not what is wrong. */
export async function otherwiseSpoken(
  { tls }: Settings,
  address: Address,
  server: 'Redis' | 'The Sentinel',
): Promise<string | undefined> {
  const at = `${server} at ${written(address)}`;
  const [secured, plain] = await Promise.all([speaksTls(address), speaksPlain(address)]);
  if (secured) return tls ? undefined : `${at} speaks TLS: write rediss:// instead of redis:// in redis.url`;
  return tls && plain ? `${at} speaks no TLS: write redis:// instead of rediss:// in redis.url` : undefined;
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
