import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PASSWORD } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { runClient } from './run.js';
import { NODE, VALUES } from './story.js';

/** Debian's Python is where Debian's python3-slixmpp is; another one on the PATH may not have it. */
const python = ['/usr/bin/python3', 'python3'].find(
  (command) => spawnSync(command, ['-c', 'import slixmpp'], { stdio: 'ignore' }).status === 0,
);

describe.runIf(python !== undefined)('python3-slixmpp', () => {
  let server: TestServer;

  beforeAll(async () => {
    server = await startServer({ set: { 'c2s.tls': 'required' } });
    await server.addUsers('sensor', 'dashboard');
  });
  afterAll(() => server.stop());

  it('logs in over STARTTLS with the self-signed certificate, publishes, subscribes and sees the readings in order', async () => {
    const { code, lines } = await runClient(python!, './slixmpp_story.py', {
      PORT: String(server.c2s),
      CA: join(server.dataDir, 'tls', 'certificate.pem'),
      PASSWORD,
      NODE_NAME: NODE,
      VALUES: VALUES.join(','),
    });
    expect({ code, lines }).toEqual({ code: 0, lines: VALUES });
  });
});
