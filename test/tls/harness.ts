import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, TLSSocket, type ConnectionOptions } from 'node:tls';
import { onTestFinished } from 'vitest';
import { CertificateStore, type TlsKind } from '../../src/stream/tls/certificates.js';
import type { Issued } from './authority.js';

/** A folder for the test. */
export async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'tls-'));
  onTestFinished(() => rm(path, { recursive: true }));
  return path;
}

export interface Place {
  certificate?: string;
  key?: string;
  client_ca?: string;
  domain?: string;
  data_dir?: string;
  ticketKeys?: Buffer;
}

/** A store on those files; what it logs is collected. */
export async function openStore(place: Place) {
  const logged: { level: string; text: string }[] = [];
  const logger = (level: string) => (_fields: object, text: string) => void logged.push({ level, text });
  const { certificate = '', key = '', client_ca = '', domain = 'localhost', data_dir = '' } = place;
  const store = await CertificateStore.open({
    config: { domain, data_dir, tls: { certificate, key, client_ca }, pubsub: { host_prefix: 'pubsub' } },
    log: { info: logger('info'), warn: logger('warn'), error: logger('error') } as never,
    ticketKeys: place.ticketKeys,
  });
  return { store, logged };
}

/** Writes a pair into a folder. */
export async function write(path: string, issued: Issued, name = 'server') {
  const files = { certificate: join(path, `${name}.crt`), key: join(path, `${name}.key`) };
  await writeFile(files.certificate, issued.certificate);
  await writeFile(files.key, issued.key);
  return files;
}

/** A server that lets TLS take over each socket as the stream layer does. Gives each side of the connections. */
export async function serve(store: CertificateStore, kind: TlsKind = 'direct') {
  const waiting: ((socket: TLSSocket) => void)[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    const secured = new TLSSocket(socket, store.tlsOptions(kind));
    secured.on('error', () => socket.destroy());
    secured.once('secure', () => waiting.shift()?.(secured));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  /** The server's side of the next connection. */
  const next = () => new Promise<TLSSocket>((resolve) => waiting.push(resolve));
  /** Both ends after a handshake; rejects with the client's error. */
  const handshake = async (options: ConnectionOptions = {}) => {
    const accepted = next();
    const client = connect({ port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false, ...options });
    sockets.add(client);
    try {
      await once(client, 'secureConnect');
    } catch (error) {
      waiting.pop();
      throw error;
    }
    client.on('error', () => client.destroy());
    return { client, server: await accepted };
  };
  return { port, handshake, next };
}
