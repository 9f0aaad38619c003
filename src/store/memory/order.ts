/** Orders strings as their UTF-8 bytes are ordered, as the stores on disk do. */
export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** The first `limit` keys in order, after `after`. */
export function keysAfter(map: ReadonlyMap<string, unknown>, after: string | undefined, limit: number): string[] {
  const keys = [...map.keys()].filter((key) => after === undefined || byBytes(key, after) > 0);
  return keys.sort(byBytes).slice(0, Math.max(limit, 0));
}
