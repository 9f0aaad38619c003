import { describe, expect, test } from 'vitest';
import { counters } from '../../src/metrics/counters.js';
import { PoolMetrics } from '../../src/metrics/aggregate.js';
import { Histogram } from '../../src/metrics/histogram.js';
import { describeMetrics, metricsRegistry, INCARNATION } from '../../src/metrics/registry.js';
import { parseMetrics } from '../support/prometheus.js';

const sources = { worker: 0, version: '1.2.3', certificates: { expires: 1_800_000_000_000 } };
const registry = metricsRegistry(sources);

/** A report as a worker with that many publishes would send it. */
function report(worker: number, pid: number, publishes: number, sessions: number) {
  const metric = (name: string, type: string, value: number, labels = {}) => ({
    name,
    type,
    help: name,
    aggregator: 'sum',
    values: [{ labels, value }],
  });
  return [
    metric('thrum_publishes_total', 'counter', publishes),
    metric('thrum_sessions', 'gauge', sessions),
    {
      ...metric('thrum_store_latency_seconds', 'histogram', 0),
      values: [
        { metricName: 'thrum_store_latency_seconds_bucket', labels: { le: 1 }, value: publishes },
        { metricName: 'thrum_store_latency_seconds_count', labels: {}, value: publishes },
      ],
    },
    metric(INCARNATION, 'gauge', 1, { worker, pid }),
  ];
}

describe('the metrics of a worker', () => {
  test('show what the hot path counted, at the time of the scrape', async () => {
    counters.publishes += 5;
    counters.drops.oldest = 7;
    counters.open.tls = 3;
    const shown = parseMetrics(await registry.metrics());
    expect(shown.value('thrum_publishes_total')).toBe(counters.publishes);
    expect(shown.value('thrum_drops_total', { reason: 'oldest' })).toBe(7);
    expect(shown.value('thrum_connections', { transport: 'tls' })).toBe(3);
    counters.publishes++;
    expect(parseMetrics(await registry.metrics()).value('thrum_publishes_total')).toBe(counters.publishes);
  });

  test('show every counter there is', async () => {
    let mark = 1_000_003;
    const expected: number[] = [];
    for (const [name, value] of Object.entries(counters)) {
      if (typeof value === 'number') Object.assign(counters, { [name]: mark });
      else Object.assign(value, { [Object.keys(value)[0] ?? 'test']: mark });
      expected.push(mark++);
    }
    const values = parseMetrics(await registry.metrics()).samples.map(({ value }) => value);
    for (const value of expected) expect(values).toContain(value);
  });

  test('are described, all of them, with names and units as Prometheus wants them', async () => {
    const described = describeMetrics();
    const names = described.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, type, help } of described) {
      expect(name).toMatch(/^thrum_[a-z_]+$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      if (type === 'histogram') expect(name).toMatch(/_seconds$/);
      expect(help).toMatch(/^[A-Z1].*\.$/);
    }
    const shown = parseMetrics(await new PoolMetrics(async () => [await registry.getMetricsAsJSON()]).text());
    expect([...shown.types.keys()].sort()).toEqual([...names].sort());
    for (const { name, type } of described) expect(shown.types.get(name)).toBe(type);
  });

  test('tell when the certificate expires, and nothing where there is none', async () => {
    const name = 'thrum_certificate_expiry_timestamp_seconds';
    expect(parseMetrics(await registry.metrics()).value(name)).toBe(1_800_000_000);
    const bare = metricsRegistry({ worker: 1, version: '1' });
    expect(parseMetrics(await bare.metrics()).value(name)).toBeUndefined();
  });
});

describe('a histogram', () => {
  test('counts an observation in the first bucket that is not smaller', () => {
    const histogram = new Histogram([1, 2]);
    for (const value of [0, 1, 1.5, 2, 3]) histogram.observe(value);
    expect([...histogram.counts]).toEqual([2, 2, 1]);
    expect(histogram.count).toBe(5);
    expect(histogram.sum).toBe(7.5);
  });

  test('is shown cumulated, up to +Inf', async () => {
    const shown = parseMetrics(await registry.metrics());
    const buckets = shown.samples.filter(({ name }) => name === 'thrum_event_loop_lag_seconds_bucket');
    expect(buckets.at(-1)!.labels.le).toBe('+Inf');
    expect(buckets.at(-1)!.value).toBe(shown.value('thrum_event_loop_lag_seconds_count'));
    for (let i = 1; i < buckets.length; i++) expect(buckets[i]!.value).toBeGreaterThanOrEqual(buckets[i - 1]!.value);
  });
});

describe('the metrics of the pool', () => {
  const scrape = async (pool: PoolMetrics) => parseMetrics(await pool.text());

  test('are the sums over the workers', async () => {
    const pool = new PoolMetrics(() => Promise.resolve([report(0, 10, 5, 1), report(1, 11, 7, 2)]));
    const shown = await scrape(pool);
    expect(shown.value('thrum_publishes_total')).toBe(12);
    expect(shown.value('thrum_sessions')).toBe(3);
    expect(shown.value('thrum_workers')).toBe(2);
    expect(shown.value('thrum_store_latency_seconds_bucket', { le: '1' })).toBe(12);
    expect(shown.value(INCARNATION, { worker: '1', pid: '11' })).toBe(1);
  });

  test('keep what a dead worker had counted, and forget what it held', async () => {
    let answers = [report(0, 10, 100, 4), report(1, 11, 50, 3)];
    const pool = new PoolMetrics(() => Promise.resolve(answers));
    await scrape(pool);
    answers = [report(0, 10, 110, 4)];
    pool.died();
    let shown = await scrape(pool);
    expect(shown.value('thrum_publishes_total')).toBe(160);
    expect(shown.value('thrum_store_latency_seconds_count')).toBe(160);
    expect(shown.value('thrum_sessions')).toBe(4);
    expect(shown.value('thrum_worker_deaths_total')).toBe(1);
    answers = [report(0, 10, 120, 4), report(1, 12, 1, 0)];
    shown = await scrape(pool);
    expect(shown.value('thrum_publishes_total')).toBe(171);
    expect(shown.value(INCARNATION, { worker: '1', pid: '11' })).toBeUndefined();
  });

  test('never fall, however many workers come and go, and stay bounded', async () => {
    let pid = 0;
    const pool = new PoolMetrics(() => Promise.resolve([report(0, ++pid, 10, 1)]));
    for (let i = 1; i <= 60; i++) expect((await scrape(pool)).value('thrum_publishes_total')).toBe(i * 10);
    expect((pool as unknown as { reports: Map<string, unknown> }).reports.size).toBeLessThan(20);
  });

  test('do not count a worker twice that was silent for one scrape', async () => {
    let answers = [report(0, 10, 5, 1), report(1, 11, 7, 2)];
    const pool = new PoolMetrics(() => Promise.resolve(answers));
    await scrape(pool);
    answers = [report(0, 10, 6, 1)];
    expect((await scrape(pool)).value('thrum_publishes_total')).toBe(13);
    answers = [report(0, 10, 6, 1), report(1, 11, 9, 2)];
    expect((await scrape(pool)).value('thrum_publishes_total')).toBe(15);
  });

  test('ask the workers once for scrapers that come together', async () => {
    let asked = 0;
    const pool = new PoolMetrics(() => {
      asked++;
      return Promise.resolve([report(0, 1, 1, 1)]);
    });
    await Promise.all([pool.text(), pool.text(), pool.text()]);
    expect(asked).toBe(1);
  });
});
