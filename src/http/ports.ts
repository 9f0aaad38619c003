import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';

const TRIES = 20;
/** How far below the ports of outgoing connections we look. */
const RANGE = 10_000;
const LOWEST = 10_000;

/**
 * A port that is free on `host`: any, or `wanted`. Rejects with EADDRINUSE where that is taken. The workers share their HTTP
 * port (SO_REUSEPORT) and would share it with another broker as well: somebody has to look before.
 */
export async function findFreePort(host: string, wanted = 0): Promise<number> {
  if (wanted !== 0) return probe(host, wanted);
  // Not one that the system would choose: it could give it to an outgoing connection before the workers listen.
  const end = firstEphemeralPort();
  for (let i = 0; end > LOWEST && i < TRIES; i++) {
    const port = randomInt(Math.max(LOWEST, end - RANGE), end);
    const free = await probe(host, port).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') return undefined;
      throw error;
    });
    if (free !== undefined) return free;
  }
  return probe(host, 0);
}

async function probe(host: string, wanted: number): Promise<number> {
  const server = createServer().listen(wanted, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Where the ports of outgoing connections begin. */
function firstEphemeralPort(): number {
  // Elsewhere IANA's range is used.
  if (process.platform !== 'linux') return 49152;
  return Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/)[0]);
}
