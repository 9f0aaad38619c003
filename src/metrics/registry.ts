import { Counter, Gauge, Registry, type Metric } from 'prom-client';
import type { Definition, MetricSources, Sample } from './define.js';
import { definitions } from './definitions.js';
import { watchEventLoop } from './event-loop.js';
import { Histogram } from './histogram.js';

export type { MetricSources } from './define.js';

/** One metric for people: docs/operations.md is made of these. */
export interface MetricDescription {
  name: string;
  type: Definition['type'];
  labels: readonly string[];
  help: string;
}

/**
 * The metrics of this worker. Values are read when they are asked for, so nothing here costs the hot path.
 * `getMetricsAsJSON()` is what {@link PoolMetrics} gathers from all workers.
 */
export function metricsRegistry(sources: MetricSources): Registry {
  const registry = new Registry();
  for (const definition of definitions) {
    if (definition.type === 'histogram') registry.registerMetric(histogram(definition, sources));
    else if (definition.type === 'counter') counter(definition, sources, registry);
    else gauge(definition, sources, registry);
  }
  // Which incarnation these values are of: the pool adds up by it.
  new Gauge({
    name: INCARNATION,
    help: 'Always 1; one series for each worker that serves.',
    labelNames: ['worker', 'pid'],
    registers: [registry],
    aggregator: 'max',
  }).set({ worker: sources.worker, pid: process.pid }, 1);
  watchEventLoop();
  return registry;
}

export const INCARNATION = 'thrum_worker_info';

/** What the pool adds to the workers' metrics. */
export const POOL_METRICS: readonly MetricDescription[] = [
  {
    name: INCARNATION,
    type: 'gauge',
    labels: ['worker', 'pid'],
    help: 'Always 1; one series for each worker that serves.',
  },
  { name: 'thrum_workers', type: 'gauge', labels: [], help: 'Workers that answered this scrape.' },
  { name: 'thrum_worker_deaths_total', type: 'counter', labels: [], help: 'Workers that ended unasked.' },
];

/** Every metric that `/metrics` shows, in its order. */
export function describeMetrics(): MetricDescription[] {
  return [...definitions.map(({ name, type, labels, help }) => ({ name, type, labels, help })), ...POOL_METRICS];
}

function counter(definition: Definition, sources: MetricSources, registry: Registry): void {
  new Counter({
    ...common(definition),
    registers: [registry],
    collect() {
      this.reset();
      for (const [labels, value] of samples(definition, sources)) this.inc(labels, value);
    },
  });
}

function gauge(definition: Definition, sources: MetricSources, registry: Registry): void {
  new Gauge({
    ...common(definition),
    registers: [registry],
    collect() {
      this.reset();
      const found = samples(definition, sources);
      // A gauge without labels would be shown as 0.
      if (found.length === 0 && definition.labels.length === 0) this.remove();
      for (const [labels, value] of found) this.set(labels, value);
    },
  });
}

function samples({ read, name }: Definition, sources: MetricSources): Sample[] {
  const found = read(sources);
  if (found instanceof Histogram) throw new TypeError(`${name} is no histogram`);
  return found;
}

function common({ name, help, labels, aggregator }: Definition) {
  return { name, help, labelNames: [...labels], aggregator };
}

/** prom-client's own histogram cannot show counts that were made elsewhere; the registry asks a metric only for this. */
function histogram(definition: Definition, sources: MetricSources): Metric {
  const { name, help, aggregator } = definition;
  const get = () => {
    const shown = definition.read(sources) as Histogram;
    const values: { metricName: string; labels: Record<string, number | string>; value: number }[] = [];
    let below = 0;
    shown.counts.forEach((count, i) => {
      below += count;
      values.push({ metricName: `${name}_bucket`, labels: { le: shown.bounds[i] ?? '+Inf' }, value: below });
    });
    values.push({ metricName: `${name}_sum`, labels: {}, value: shown.sum });
    values.push({ metricName: `${name}_count`, labels: {}, value: below });
    return Promise.resolve({ name, help, type: 'histogram', aggregator, values });
  };
  return { name, help, type: 'histogram', aggregator, get } as unknown as Metric;
}
