import { parseMetrics } from '../../support/prometheus.js';
import type { TestServer } from '../../support/server.js';

/** What /metrics says now: the sum of the series of that name that have those labels, 0 where there are none. */
export async function metric(server: TestServer, name: string, labels: Record<string, string> = {}): Promise<number> {
  return parseMetrics(await (await server.fetch('/metrics')).text()).value(name, labels) ?? 0;
}
