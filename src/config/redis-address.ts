export interface Address {
  host: string;
  port: number;
}

/** The URL of a Redis; undefined when it is none. */
export function parseRedisUrl(text: string): URL | undefined {
  let url: URL;
  try {
    url = new URL(text);
    decodeURIComponent(url.username + url.password);
  } catch {
    return undefined;
  }
  // What stands behind ? or # would be passed over.
  return /^rediss?:\/\//i.test(text) && /^\/?\d*$/.test(url.pathname) && !/[?#]/.test(text) ? url : undefined;
}

/** `host:port` or `[address]:port`; undefined when it is neither. */
export function parseAddress(text: string): Address | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  return match && port >= 1 && port <= 65535 ? { host: (match[1] ?? match[2])!, port } : undefined;
}
