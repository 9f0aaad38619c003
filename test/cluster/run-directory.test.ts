import { existsSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { Backoff } from '../../src/cluster/backoff.js';
import { makeRunDirectory, removeRunDirectory, socketPath } from '../../src/cluster/run-directory.js';
import { shardCount } from '../../src/cluster/session-table.js';
import { temporary } from './pool.js';

test('the directory of the sockets is private, loses old sockets only, and goes when it is empty', async () => {
  const path = join(await temporary(), 'run');
  expect(await makeRunDirectory(path)).toBe(path);
  expect(statSync(path).mode & 0o777).toBe(0o700);
  writeFileSync(socketPath(path, 3), '');
  writeFileSync(join(path, 'keep'), '');
  await makeRunDirectory(path);
  expect(existsSync(socketPath(path, 3))).toBe(false);
  await removeRunDirectory(path);
  expect(existsSync(join(path, 'keep'))).toBe(true);
});

test('a directory too long for the path of a socket is replaced by a temporary one', async () => {
  for (const wanted of [join(await temporary(), 'x'.repeat(90)), undefined]) {
    const path = await makeRunDirectory(wanted);
    expect(dirname(path)).toBe(tmpdir());
    expect(statSync(path).mode & 0o777).toBe(0o700);
    await removeRunDirectory(path);
    expect(existsSync(path)).toBe(false);
  }
});

test('pauses double up to a bound, with jitter, and start anew after a stable run', () => {
  const backoff = new Backoff();
  for (let i = 0; i < 12; i++) {
    const most = Math.min(30_000, 100 * 2 ** i);
    const wait = backoff.died(i * 1000);
    expect(wait).toBeGreaterThanOrEqual(most / 2);
    expect(wait).toBeLessThanOrEqual(most);
  }
  expect(backoff.died(60_000)).toBeLessThanOrEqual(100);
  expect(backoff.failures).toBe(1);
});

test('the number of shards is a power of two derived from the workers', () => {
  expect([1, 2, 3, 4, 5, 16, 200].map(shardCount)).toEqual([1, 2, 4, 4, 8, 16, 16]);
});
