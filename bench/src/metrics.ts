import { HOST, type Broker } from './broker.js';

/** Counts of a histogram by upper bound, not cumulated. */
export type Buckets = Map<number, number>;

/** A histogram of the broker's /metrics. */
export async function histogram(broker: Broker, name: string): Promise<Buckets> {
  const text = await (await fetch(`http://${HOST}:${broker.http}/metrics`)).text();
  const buckets: Buckets = new Map();
  let below = 0;
  for (const [, le, value] of text.matchAll(new RegExp(`^${name}_bucket\\{le="([^"]*)"\\} (\\S+)$`, 'gm'))) {
    buckets.set(le === '+Inf' ? Infinity : Number(le), Number(value) - below);
    below = Number(value);
  }
  return buckets;
}

/** The upper bound that `share` (0 to 1) of what came in between two readings stays below; 0 where nothing came. */
export function quantile(before: Buckets, after: Buckets, share: number): number {
  const grown = [...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)] as const);
  let left = share * grown.reduce((sum, [, count]) => sum + count, 0);
  if (left === 0) return 0;
  for (const [bound, count] of grown) {
    left -= count;
    if (left <= 0) return bound;
  }
  return Infinity;
}
