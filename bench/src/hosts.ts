import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addUsers, HOST, startBroker, type Broker } from './broker.js';

/** Several brokers on one Redis, used as one: client number n is at host n modulo their number. */
export async function startHosts(hosts: number, accounts: number, settings: Record<string, unknown>): Promise<Broker> {
  const folder = await mkdtemp(join(tmpdir(), 'thrum-bench-hosts-'));
  const brokers: Broker[] = [];
  const redis = await startRedis(folder);
  const stop = async (): Promise<void> => {
    for (const broker of brokers) await broker.stop();
    await redis.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    for (let i = 0; i < hosts; i++) {
      brokers.push(
        await startBroker(join(folder, `host${i}`), {
          workers: 1,
          store: 'redis',
          'redis.url': `redis://${HOST}:${redis.port}`,
          'cluster.host': `host${i}`,
          ...settings,
        }),
      );
    }
    await addUsers(join(folder, 'host0'), 0, accounts);
  } catch (error) {
    await stop();
    throw error;
  }
  const restart = () => Promise.reject(new Error('hosts are not restarted'));
  const pids = brokers.flatMap((broker) => broker.pids);
  return { ...brokers[0]!, pids, storePids: [redis.pid], places: brokers, stop, restart };
}

/** Debian's redis-server on a free port, keeping nothing on disk. */
async function startRedis(folder: string): Promise<{ pid: number; port: number; stop(): Promise<void> }> {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', HOST, '--save', '', '--appendonly', 'no', '--dir', folder];
  const child = spawn('redis-server', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const failed = once(child, 'error').then(([error]) => {
    throw new Error(`redis-server cannot be started (${String(error)}); is it installed?`);
  });
  await Promise.race([failed, listening(port)]);
  return {
    pid: child.pid!,
    port,
    stop: async () => {
      const closed = once(child, 'close');
      child.kill('SIGTERM');
      await closed;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Resolves when somebody accepts connections there. */
async function listening(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, HOST);
    const stands = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (stands) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
