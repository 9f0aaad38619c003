import { AggregatorRegistry, Counter, Gauge, Registry, type PrometheusContentType } from 'prom-client';
import { INCARNATION, POOL_METRICS } from './registry.js';

/** One metric as `getMetricsAsJSON()` gives it, after a journey between processes. */
interface ReportedMetric {
  name: string;
  type: string;
  values: { labels: Record<string, string | number>; value: number; metricName?: string }[];
}
type Report = ReportedMetric[];

/** Dead workers that are remembered one by one; older ones are added up. */
const REMEMBERED = 16;

/**
 * The metrics of the whole pool. Counters and histograms of dead workers keep counting as they stood at the last
 * scrape before, so that sums do not fall when a worker is replaced; gauges are of the living only.
 */
export class PoolMetrics {
  /** The last report of every incarnation, in the order of their appearance. */
  private readonly reports = new Map<string, Report>();
  /** Of the workers that are forgotten. */
  private retired: Report = [];
  private deaths = 0;
  private running: Promise<string> | undefined;

  /** `gather` resolves to what `getMetricsAsJSON()` of each living worker gave. */
  constructor(private readonly gather: () => Promise<readonly unknown[]>) {}

  /** A worker ended unasked. */
  died(): void {
    this.deaths++;
  }

  /** Prometheus' text format 0.0.4. Callers that come while the workers are asked share the answer. */
  text(): Promise<string> {
    return (this.running ??= this.collect().finally(() => (this.running = undefined)));
  }

  private async collect(): Promise<string> {
    const living = new Set<string>();
    for (const report of (await this.gather()) as Report[]) {
      const key = incarnation(report);
      living.add(key);
      this.reports.set(key, report);
    }
    await this.retire(living);
    const dead = [...this.reports].filter(([key]) => !living.has(key)).map(([, report]) => lasting(report));
    const alive = [...living].map((key) => this.reports.get(key)!);
    // The living first: help texts and order are theirs.
    const sum = AggregatorRegistry.aggregate<PrometheusContentType>([...alive, ...dead, this.retired]);
    this.addOwn(sum, living.size);
    return sum.metrics();
  }

  private async retire(living: ReadonlySet<string>): Promise<void> {
    const dead = [...this.reports.keys()].filter((key) => !living.has(key));
    for (const key of dead.slice(0, Math.max(0, dead.length - REMEMBERED))) {
      const sum = AggregatorRegistry.aggregate<PrometheusContentType>([this.retired, lasting(this.reports.get(key)!)]);
      this.retired = (await sum.getMetricsAsJSON()) as unknown as Report;
      this.reports.delete(key);
    }
  }

  private addOwn(sum: Registry, workers: number): void {
    const values: Record<string, number> = { thrum_workers: workers, thrum_worker_deaths_total: this.deaths };
    for (const { name, help, type } of POOL_METRICS) {
      const value = values[name];
      if (value === undefined) continue;
      if (type === 'counter') new Counter({ name, help, registers: [sum] }).inc(value);
      else new Gauge({ name, help, registers: [sum] }).set(value);
    }
  }
}

function incarnation(report: Report): string {
  const { worker, pid } = report.find(({ name }) => name === INCARNATION)?.values[0]?.labels ?? {};
  return `${worker}/${pid}`;
}

/** What of a dead worker's report goes on to be true. */
function lasting(report: Report): Report {
  return report.filter(({ type }) => type !== 'gauge');
}
