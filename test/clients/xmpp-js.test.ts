import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PASSWORD } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { runClient } from './run.js';
import { NODE, VALUES } from './story.js';

let server: TestServer;

beforeAll(async () => {
  server = await startServer({ set: { 'c2s.tls': 'required' } });
  await server.addUsers('sensor', 'dashboard');
});
afterAll(() => server.stop());

function story(chapter: 'publish' | 'resume' | 'worker', service: string, node: string, at = server) {
  return runClient(process.execPath, './xmpp_js_story.mjs', {
    CHAPTER: chapter,
    SERVICE: service,
    PASSWORD,
    NODE_NAME: node,
    VALUES: VALUES.join(','),
    WORKERS: at.workers.join(),
    // As the README tells people to do.
    NODE_EXTRA_CA_CERTS: join(at.dataDir, 'tls', 'certificate.pem'),
  });
}

describe('@xmpp/client', () => {
  it.each([
    ['STARTTLS', () => `xmpp://localhost:${server.c2s}`],
    ['direct TLS', () => `xmpps://localhost:${server.c2s_tls}`],
    ['WebSocket', () => `ws://localhost:${server.http}/xmpp-websocket`],
  ])('publishes over %s what a dashboard sees in order and reads back', async (name, service) => {
    const { code, lines, errors } = await story('publish', service(), `${NODE}/${name}`);
    expect({ code, lines, errors }).toEqual({ code: 0, lines: [...VALUES, `read back ${VALUES.length}`], errors: '' });
  });

  it('resumes its stream when the connection is cut, and misses nothing', async () => {
    const { code, lines } = await story('resume', `xmpp://localhost:${server.c2s}`, NODE);
    expect({ code, lines }).toEqual({
      code: 0,
      lines: [...Array.from({ length: 40 }, (_, i) => String(i)), 'resumed'],
    });
  });

  it('resumes its stream when its worker closes, and misses nothing', async () => {
    const pool = await startServer({ workers: 2, set: { 'c2s.tls': 'required' } });
    try {
      await pool.addUsers('sensor', 'dashboard');
      const { code, lines } = await story('worker', `xmpp://localhost:${pool.c2s}`, NODE, pool);
      expect({ code, lines }).toEqual({
        code: 0,
        lines: [...Array.from({ length: 40 }, (_, i) => String(i)), 'resumed'],
      });
    } finally {
      await pool.stop();
    }
  });
});
