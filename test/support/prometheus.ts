export interface MetricSample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** What a scraper would see. Fails on a line that is not the text format 0.0.4. */
export function parseMetrics(text: string) {
  const samples: MetricSample[] = [];
  /** Metric to type, as declared. */
  const types = new Map<string, string>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue;
    const declared = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (declared) {
      types.set(declared[1]!, declared[2]!);
      continue;
    }
    const parts = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!parts || Number.isNaN(Number(parts[3]))) throw new Error(`not a metric: ${line}`);
    const labels = [...(parts[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)",?/g)];
    samples.push({
      name: parts[1]!,
      labels: Object.fromEntries(labels.map(([, name, value]) => [name!, value!])),
      value: Number(parts[3]),
    });
  }
  return {
    samples,
    types,
    /** The sum of the samples of that name with those labels; undefined when there are none. */
    value(name: string, labels: Record<string, string> = {}): number | undefined {
      const fitting = samples.filter(
        (sample) =>
          sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
      );
      return fitting.length === 0 ? undefined : fitting.reduce((sum, { value }) => sum + value, 0);
    },
  };
}
