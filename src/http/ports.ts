import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

/**
 * A port that is free on `host`: any, or `wanted`. Rejects with EADDRINUSE where that is taken. The workers share their HTTP
 * port (SO_REUSEPORT) and would share it with another broker as well: somebody has to look before.
 */
export async function findFreePort(host: string, wanted = 0): Promise<number> {
  const probe = createServer().listen(wanted, host);
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
