import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { generate } from 'selfsigned';
import {
  createHttp,
  findFreePort,
  type Certificates,
  type HttpOptions,
  type HttpServer,
} from '../../src/http/server.js';

const host = '127.0.0.1';
const quiet = { info: () => undefined, error: () => undefined };
const servers: HttpServer[] = [];
const folders: string[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

async function start(options: Partial<HttpOptions> = {}) {
  const port = await findFreePort(host);
  const server = createHttp({
    config: { domain: 'example.org', listen_address: host },
    log: quiet,
    port,
    httpsPort: undefined,
    metricsText: () => Promise.resolve('thrum_up 1\n'),
    readiness: () => [],
    mayRequest: () => true,
    ...options,
  });
  servers.push(server);
  await server.listen();
  return { server, port, get: (path: string, init?: RequestInit) => fetch(`http://${host}:${port}${path}`, init) };
}

/** A request with headers that fetch would not let us set. */
function raw(port: number, path: string, headers: Record<string, string>): Promise<string> {
  return new Promise((resolve, reject) => {
    httpRequest({ host, port, path, headers, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk)).on('end', () => resolve(body));
    })
      .on('error', reject)
      .end();
  });
}

describe('the HTTP listener', () => {
  test('gives metrics as Prometheus reads them', async () => {
    const { get } = await start();
    const response = await get('/metrics');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await response.text()).toBe('thrum_up 1\n');
  });

  test('answers 503 when the metrics cannot be had, and goes on', async () => {
    const { get } = await start({ metricsText: () => Promise.reject(new Error('no supervisor')) });
    expect((await get('/metrics')).status).toBe(503);
    expect((await get('/healthz')).status).toBe(200);
  });

  test('survives a client that leaves before its answer is there', async () => {
    let answer!: (text: string) => void;
    const text = new Promise<string>((resolve) => (answer = resolve));
    let asked!: () => void;
    const request = new Promise<void>((resolve) => (asked = resolve));
    const { port, get } = await start({ metricsText: () => (asked(), text) });
    const socket = connectTcp(port, host, () => socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'));
    await request;
    socket.resetAndDestroy();
    expect((await get('/healthz')).status).toBe(200);
    answer('late');
    expect((await get('/metrics')).status).toBe(200);
  });

  test('says whether it lives and whether it takes clients', async () => {
    const reasons: string[] = [];
    const { get } = await start({ readiness: () => reasons });
    expect(await (await get('/healthz')).json()).toMatchObject({ alive: true, pid: process.pid });
    expect(await (await get('/readyz')).json()).toEqual({ ready: true, reasons: [] });
    reasons.push('draining');
    const response = await get('/readyz');
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ ready: false, reasons: ['draining'] });
  });

  test('knows what it does not serve', async () => {
    const { get } = await start();
    expect((await get('/nothing')).status).toBe(404);
    expect((await get('/metrics/')).status).toBe(404);
    const posted = await get('/metrics', { method: 'POST', body: 'x'.repeat(100_000) });
    expect(posted.status).toBe(405);
    expect(posted.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
    expect((await get('/xmpp-websocket')).status).toBe(426);
  });

  test('answers HEAD as GET, without a body', async () => {
    const { get } = await start();
    for (const [path, status] of [
      ['/', 200],
      ['/metrics', 200],
      ['/nothing', 404],
    ] as const) {
      const [got, headed] = [await get(path), await get(path, { method: 'HEAD' })];
      expect(headed.status).toBe(status);
      expect(await headed.text()).toBe('');
      expect(headed.headers.get('content-length')).toBe(String((await got.text()).length));
    }
  });

  test('lets nothing be sniffed, framed or cached', async () => {
    const { get } = await start();
    for (const path of ['/', '/metrics', '/nothing', '/.well-known/host-meta']) {
      const { headers } = await get(path);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
      expect(headers.get('cache-control')).toBe('no-store');
    }
  });

  test('bounds the size of a request', async () => {
    const { port } = await start();
    const socket = connectTcp(port, host, () => socket.write(`GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(500_000)}`));
    socket.on('error', () => undefined);
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk));
    await once(socket, 'close');
    expect(answer === '' || answer.includes('431')).toBe(true);
  });

  test('lets several processes listen on one port, and says when another program has it', async () => {
    const { port } = await start();
    await expect(findFreePort(host, port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    const other = createHttp({
      config: { domain: 'x', listen_address: host },
      log: quiet,
      port,
      httpsPort: undefined,
      metricsText: () => Promise.resolve(''),
      readiness: () => [],
      mayRequest: () => true,
    });
    servers.push(other);
    await other.listen();
  });

  test('takes no more connections after stopListening, and keeps those that are open', async () => {
    const { server, port } = await start();
    const socket = connectTcp(port, host);
    await once(socket, 'connect');
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    server.stopListening();
    const refused = connectTcp(port, host);
    const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNREFUSED');
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(String((await once(socket, 'data'))[0])).toContain('200 OK');
    socket.destroy();
  });
});

describe('discovery of the WebSocket (XEP-0156)', () => {
  test('is open to browsers of any site, and only it is', async () => {
    const { get } = await start();
    for (const path of ['/.well-known/host-meta', '/.well-known/host-meta.json']) {
      expect((await get(path)).headers.get('access-control-allow-origin')).toBe('*');
    }
    expect((await get('/metrics')).headers.get('access-control-allow-origin')).toBeNull();
  });

  test('tells of ws: on loopback only', async () => {
    const local = await start();
    const xrd = await (await local.get('/.well-known/host-meta')).text();
    expect(xrd).toContain(
      `<Link rel="urn:xmpp:alt-connections:websocket" href="ws://127.0.0.1:${local.port}/xmpp-websocket"/>`,
    );
    const everywhere = await start({ config: { domain: 'example.org', listen_address: '0.0.0.0' } });
    expect(await (await everywhere.get('/.well-known/host-meta.json')).json()).toEqual({ links: [] });
  });

  test('tells of wss: behind a proxy that ends TLS, by the name the client used', async () => {
    const { port } = await start({ config: { domain: 'example.org', listen_address: '0.0.0.0' } });
    const path = '/.well-known/host-meta.json';
    const behind = (name: string) => raw(port, path, { host: name, 'x-forwarded-proto': 'https' });
    expect(JSON.parse(await behind('chat.example.org'))).toEqual({
      links: [{ rel: 'urn:xmpp:alt-connections:websocket', href: 'wss://chat.example.org/xmpp-websocket' }],
    });
    expect(JSON.parse(await behind('evil"/><x'))).toEqual({ links: [] });
  });
});

describe('the HTTPS listener', () => {
  async function certificates(): Promise<Certificates & { renew(): Promise<void>; reload(): void }> {
    const folder = await mkdtemp(join(tmpdir(), 'thrum-https-'));
    folders.push(folder);
    const files = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
    const listeners: (() => void)[] = [];
    let made = 0;
    const renew = async () => {
      const pair = await generate([{ name: 'commonName', value: `number ${++made}` }], { keyType: 'ec' });
      await writeFile(files.certificate, pair.cert);
      await writeFile(files.key, pair.private);
    };
    await renew();
    return {
      files,
      renew,
      onReload: (listener) => void listeners.push(listener),
      reload: () => listeners.forEach((call) => call()),
    };
  }

  async function open(port: number) {
    const socket = connectTls({ host, port, rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    return socket;
  }

  test('takes a new certificate without dropping a connection, attached routes included', async () => {
    const pair = await certificates();
    const httpsPort = await findFreePort(host);
    let told!: () => void;
    const swapped = new Promise<void>((resolve) => (told = resolve));
    const server = createHttp({
      config: { domain: 'example.org', listen_address: host },
      log: { info: () => told(), error: () => undefined } as never,
      port: undefined,
      httpsPort,
      certificates: pair,
      metricsText: () => Promise.resolve(''),
      readiness: () => [],
      mayRequest: () => true,
    });
    servers.push(server);
    server.attach((app, secure) => app.get('/attached', (response) => void response.end(`secure=${secure}`)));
    await server.listen();
    const before = await open(httpsPort);
    expect(before.getPeerCertificate().subject.CN).toBe('number 1');
    await pair.renew();
    pair.reload();
    await swapped;
    const after = await open(httpsPort);
    expect(after.getPeerCertificate().subject.CN).toBe('number 2');
    for (const socket of [before, after]) {
      socket.write('GET /attached HTTP/1.1\r\nHost: x\r\n\r\n');
      expect(String((await once(socket, 'data'))[0])).toContain('secure=true');
      socket.destroy();
    }
  });

  test('announces wss: and speaks nothing older than TLS 1.2', async () => {
    const pair = await certificates();
    const httpsPort = await findFreePort(host);
    const { get } = await start({ httpsPort, certificates: pair });
    expect(await (await get('/.well-known/host-meta.json')).json()).toMatchObject({
      links: [{ href: `wss://example.org:${httpsPort}/xmpp-websocket` }],
    });
    const old = connectTls({
      host,
      port: httpsPort,
      rejectUnauthorized: false,
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    const [error] = (await once(old, 'error')) as [Error];
    expect(error).toBeInstanceOf(Error);
  });
});
