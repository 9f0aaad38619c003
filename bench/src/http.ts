import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startBroker, HOST } from './broker.js';
import { cpuSeconds } from './procfs.js';

const PATHS = ['/healthz', '/metrics', '/.well-known/host-meta.json'];
const SECONDS = 3;

interface AutocannonResult {
  requests: { total: number; average: number };
  latency: { p50: number; p99: number };
  non2xx: number;
  errors: number;
}

/** The HTTP side under autocannon: 20 connections, each path on its own. */
export async function http(settings: Record<string, unknown>): Promise<Record<string, unknown>[]> {
  const require = createRequire(import.meta.url);
  if (!existsSync(new URL('../node_modules/autocannon', import.meta.url))) {
    console.log('\nHTTP: left out, autocannon is not installed (npm --prefix bench ci)');
    return [];
  }
  const autocannon = require('autocannon') as (options: object) => Promise<AutocannonResult>;
  const dataDir = await mkdtemp(join(tmpdir(), 'thrum-bench-'));
  const broker = await startBroker(dataDir, { workers: 1, ...settings });
  const results: Record<string, unknown>[] = [];
  console.log('\nHTTP (autocannon, 20 connections)        requests/s  per server CPU s  p50 ms  p99 ms  errors');
  try {
    for (const path of PATHS) {
      const before = cpuSeconds(broker.pids);
      const { requests, latency, non2xx, errors } = await autocannon({
        url: `http://${HOST}:${broker.http}${path}`,
        connections: 20,
        duration: SECONDS,
      });
      const each = Math.round(requests.total / (cpuSeconds(broker.pids) - before));
      const figures = [Math.round(requests.average), each, latency.p50, latency.p99, non2xx + errors];
      console.log(
        `${path.padEnd(40)} ${figures.map((figure, i) => String(figure).padStart([10, 17, 7, 7, 7][i]!)).join(' ')}`,
      );
      results.push({ scenario: 'http', path, perSecond: figures[0], perCpuSecond: each, p99_ms: latency.p99 });
    }
  } finally {
    await broker.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
  return results;
}
