import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { LoginOptions, RawClient } from '../../support/client.js';
import type { TestServer } from '../../support/server.js';
import { Device } from './device.js';

/** Connections that are tried before a worker counts as one that gets none. */
const TRIES = 100;

/** Process ids of the workers that live now, restarted ones included. */
export function liveWorkers(server: TestServer): number[] {
  return readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8').trim().split(/\s+/).map(Number);
}

/** Process id of the worker that holds the other end of a client's connection, by what Linux tells of sockets. */
export function workerOf(server: TestServer, client: RawClient): number {
  const { localPort, remotePort } = client.socket;
  const port = (number: number | undefined) => `:${number!.toString(16).toUpperCase().padStart(4, '0')}`;
  const line = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
    .find((row) => row[1]?.endsWith(port(remotePort)) && row[2]?.endsWith(port(localPort)));
  const socket = `socket:[${line?.[9]}]`;
  for (const pid of liveWorkers(server)) {
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      try {
        if (readlinkSync(`/proc/${pid}/fd/${fd}`) === socket) return pid;
      } catch (error) {
        // Closed between the two looks.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
  }
  throw new Error(`no worker has ${socket}`);
}

/** Makes clients until one is at a worker that fits; the others leave. */
export async function placed(
  server: TestServer,
  fits: (worker: number) => boolean,
  make: () => Promise<RawClient>,
): Promise<RawClient> {
  for (let tried = 0; tried < TRIES; tried++) {
    const client = await make();
    if (fits(workerOf(server, client))) return client;
    client.cut();
  }
  throw new Error(`${TRIES} connections, and none at a worker that fits`);
}

/** An authenticated connection at a certain worker, or at any but that one: ready to bind or to resume. */
export function authenticatedAt(
  server: TestServer,
  where: { at: number } | { notAt: number },
  options: LoginOptions,
): Promise<RawClient> {
  const fits = (worker: number) => ('at' in where ? worker === where.at : worker !== where.notAt);
  return placed(server, fits, () => Device.authenticated(server, options));
}

/** A bound client at a certain worker. */
export async function clientAt(server: TestServer, worker: number, options: LoginOptions): Promise<RawClient> {
  await server.addUsers(options.user);
  const client = await authenticatedAt(server, { at: worker }, options);
  await client.bind(options.resource);
  if (options.available) await client.sendPresence();
  return client;
}

/** The same with stream management. */
export async function deviceAt(
  server: TestServer,
  worker: number,
  options: Parameters<typeof Device.login>[1],
): Promise<Device> {
  return Device.over(await clientAt(server, worker, { ...options, available: false }), options);
}
