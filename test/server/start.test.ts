import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ended, start } from '../cli/spawn.js';
import { RedisServer, redisInstalled } from '../support/redis.js';

const taken = createServer();
const folder = mkdtempSync(join(tmpdir(), 'thrum-start-'));
beforeAll(async () => {
  await once(taken.listen(0, '127.0.0.1'), 'listening');
});
afterAll(() => {
  taken.close();
  rmSync(folder, { recursive: true, force: true });
});

test.skipIf(!redisInstalled)('a host that cannot listen lets go of Redis, and ends', async ({ onTestFinished }) => {
  const redis = await RedisServer.start();
  onTestFinished(() => redis.stop());
  const settings = ['store=redis', `redis.url=${redis.url}`, 'c2s.port=0', 'c2s_tls.port=0'];
  const port = `http.port=${(taken.address() as AddressInfo).port}`;
  const child = start(folder, ['start', '--json', ...[...settings, port].flatMap((setting) => ['--set', setting])]);
  onTestFinished(() => void child.kill('SIGKILL'));
  const { code, out, err } = await ended(child);
  expect(code).toBe(1);
  expect(out).toBe('');
  expect(err).toContain('another program listens there');
});
