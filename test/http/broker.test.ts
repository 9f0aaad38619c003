import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectTcp } from 'node:net';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generate } from 'selfsigned';
import { RawClient } from '../support/client.js';
import { parseMetrics } from '../support/prometheus.js';
import { startServer, type TestServer } from '../support/server.js';

const PUBSUB = 'http://jabber.org/protocol/pubsub';
const run = promisify(execFile);

async function scrape(server: TestServer) {
  const response = await server.fetch('/metrics');
  expect(response.status).toBe(200);
  return parseMetrics(await response.text());
}

/** Waits until a scrape shows it: workers come back in their own time. */
async function scrapeUntil(server: TestServer, fits: (metrics: ReturnType<typeof parseMetrics>) => boolean) {
  for (;;) {
    const metrics = await scrape(server).catch(() => undefined);
    if (metrics !== undefined && fits(metrics)) return metrics;
  }
}

function publish(client: RawClient, node: string) {
  const item = "<item><reading xmlns='urn:example:reading' value='21'/></item>";
  return client.request(
    'set',
    `<pubsub xmlns='${PUBSUB}'><publish node='${node}'>${item}</publish></pubsub>`,
    'pubsub.localhost',
  );
}

describe('a broker with two workers', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer({ workers: 2, set: { registration: 'open' } });
  });
  afterAll(() => server.stop());

  test('shows what all workers counted, whichever is asked', async () => {
    const clients = await Promise.all(['m1', 'm2', 'm3', 'm4'].map((user) => server.client(user, { available: true })));
    for (const client of clients) await publish(client, `metrics/${client.jid}`);
    const metrics = await scrape(server);
    expect(metrics.value('thrum_workers')).toBe(2);
    expect(metrics.value('thrum_sessions')).toBe(4);
    expect(metrics.value('thrum_connections', { transport: 'tcp' })).toBe(4);
    expect(metrics.value('thrum_logins_total')).toBe(4);
    expect(metrics.value('thrum_publishes_total')).toBe(4);
    expect(metrics.value('thrum_publish_to_write_seconds_count')).toBeGreaterThan(0);
    expect(metrics.value('thrum_store_latency_seconds_count')).toBeGreaterThan(0);
    expect(metrics.value('thrum_certificate_expiry_timestamp_seconds')).toBeGreaterThan(Date.now() / 1000);
    for (const client of clients) await client.close();
  });

  test('is alive, ready, and says how to connect', async () => {
    expect((await server.fetch('/healthz')).status).toBe(200);
    expect(await (await server.fetch('/readyz')).json()).toEqual({ ready: true, reasons: [] });
    const { links } = (await (await server.fetch('/.well-known/host-meta.json')).json()) as {
      links: { href: string }[];
    };
    expect(links[0]!.href).toBe(`ws://127.0.0.1:${server.http}/xmpp-websocket`);
    const client = await RawClient.connect(server, { via: 'websocket' });
    await client.open();
    await client.close();
  });

  test('keeps its counters when a worker is killed, counts the death, and has two workers again', async () => {
    const before = (await scrape(server)).value('thrum_logins_total')!;
    expect(before).toBeGreaterThan(0);
    process.kill(server.workers[0]!, 'SIGKILL');
    const after = await scrapeUntil(
      server,
      (metrics) => metrics.value('thrum_worker_deaths_total') === 1 && metrics.value('thrum_workers') === 2,
    );
    expect(after.value('thrum_logins_total')).toBeGreaterThanOrEqual(before);
  });

  test('can be backed up while it runs, and started on the copy', async () => {
    const ann = await server.client('backed-up');
    await publish(ann, 'kept');
    await ann.close();
    const folder = await mkdtemp(join(tmpdir(), 'thrum-backup-'));
    const copy = join(folder, 'copy');
    try {
      await run(process.execPath, [
        fileURLToPath(new URL('../../deploy/backup.mjs', import.meta.url)),
        server.dataDir,
        copy,
      ]);
      const second = await startServer({ dataDir: copy });
      const again = await RawClient.login(second, { user: 'backed-up' });
      const items = await again.request(
        'get',
        `<pubsub xmlns='${PUBSUB}'><items node='kept'/></pubsub>`,
        'pubsub.localhost',
      );
      expect(items.get('pubsub', 'items', 'item', 'reading').attr('value')).toBe('21');
      await again.close();
      await second.stop();
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('SIGHUP', () => {
  let folder: string;
  let server: TestServer;
  const files = () => ({ certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') });
  const renew = async () => {
    const pair = await generate([{ name: 'commonName', value: 'localhost' }], { keyType: 'ec' });
    writeFileSync(files().certificate, pair.cert);
    writeFileSync(files().key, pair.private);
  };
  const inUse = () =>
    createHash('sha256')
      .update(new X509Certificate(readFileSync(files().certificate)).raw)
      .digest('hex');
  const seen = async (port: number) => {
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const found = createHash('sha256').update(socket.getPeerCertificate(true).raw).digest('hex');
    socket.destroy();
    return found;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'thrum-certificates-'));
    await renew();
    const set = { 'https.port': 0, 'tls.certificate': files().certificate, 'tls.key': files().key };
    server = await startServer({ set });
  });
  afterAll(async () => {
    await server.stop();
    await rm(folder, { recursive: true });
  });

  test('brings a new certificate to XMPP and HTTPS, and drops no stream', async () => {
    const streams = await Promise.all([
      server.client('sighup-tls', { via: 'tls' }),
      server.client('sighup-wss', { via: 'wss' }),
    ]);
    const old = inUse();
    expect(await seen(server.c2s_tls)).toBe(old);
    expect(await seen(server.https!)).toBe(old);
    await renew();
    server.signal('SIGHUP');
    await server.logged((line) => line.includes('HTTPS uses the new certificate'));
    expect(await seen(server.c2s_tls)).toBe(inUse());
    expect(await seen(server.https!)).toBe(inUse());
    const fresh = await RawClient.login(server, { user: 'sighup-wss', via: 'wss' });
    for (const stream of [...streams, fresh]) {
      await stream.ping();
      await stream.close();
    }
  });

  test('with a certificate that cannot be used changes nothing', async () => {
    const old = inUse();
    const kept = readFileSync(files().certificate);
    writeFileSync(files().certificate, 'no certificate');
    server.signal('SIGHUP');
    // A sentence and no stack: the files are the operator's.
    await server.logged((line) => line.includes('not reloaded') && !line.includes('"stack"'));
    writeFileSync(files().certificate, kept);
    expect(await seen(server.c2s_tls)).toBe(old);
    expect(await seen(server.https!)).toBe(old);
  });
});

test('a broker that drains says so to whoever asks, shows its metrics until the end, takes nobody, and ends with 0', async () => {
  const server = await startServer();
  // Lets the end of its stream lie, so that the drain takes a while.
  const lingering = await server.client('lingers');
  expect((await server.fetch('/readyz')).status).toBe(200);
  lingering.pauseReading();
  server.signal('SIGTERM');
  let answer: Response;
  do answer = await server.fetch('/readyz');
  while (answer.status === 200);
  expect(answer.status).toBe(503);
  expect(await answer.json()).toEqual({ ready: false, reasons: ['draining'] });
  expect((await server.fetch('/healthz')).status).toBe(200);
  const late = await upgrade(server);
  expect(late).toContain('503');
  expect((await scrape(server)).value('thrum_drops_total', { reason: 'draining' })).toBe(1);
  lingering.resumeReading();
  await lingering.closed;
  await server.stop();
});

/** The answer to somebody who wants a WebSocket. */
async function upgrade(server: TestServer): Promise<string> {
  const socket = connectTcp(server.http, server.host);
  socket.write(
    'GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n',
  );
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return answer.toString();
}
