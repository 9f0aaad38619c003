import { BlockList, isIPv6 } from 'node:net';
import { escapeAttr } from '../xml/escape.js';
import { json, type Answer, type Request } from './responses.js';

const WEBSOCKET = 'urn:xmpp:alt-connections:websocket';
const HOST = /^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;
/** Browsers may read this, and nothing else of us, from any site (XEP-0156 §3). */
const CORS = { 'Access-Control-Allow-Origin': '*' };

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

export interface Listeners {
  domain: string;
  address: string;
  port: number | undefined;
  httpsPort: number | undefined;
  path: string;
}

/**
 * Where clients find the WebSocket. Only `wss:` may be told (XEP-0156 §2.2): our own TLS listener, or the proxy that ends TLS in
 * front of us. `ws:` is told by a broker that listens on loopback alone, where no network can listen in.
 */
export function webSocketUrls(listeners: Listeners, request: Request): string[] {
  const { domain, address, port, httpsPort, path } = listeners;
  if (httpsPort !== undefined) return [`wss://${domain}:${httpsPort}${path}`];
  if (request.forwardedProto === 'https' && HOST.test(request.host)) return [`wss://${request.host}${path}`];
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  if (port === undefined || !(address === 'localhost' || loopback.check(address, family))) return [];
  return [`ws://${family === 'ipv6' ? `[${address}]` : address}:${port}${path}`];
}

/** XRD (RFC 6415 §2). */
export function hostMeta(urls: readonly string[]): Answer {
  const links = urls.map((url) => `  <Link rel="${WEBSOCKET}" href="${escapeAttr(url)}"/>\n`).join('');
  const body = `<?xml version='1.0' encoding='utf-8'?>\n<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n${links}</XRD>\n`;
  return { type: 'application/xrd+xml; charset=utf-8', body, headers: CORS };
}

/** JRD (RFC 6415 appendix A). */
export function hostMetaJson(urls: readonly string[]): Answer {
  return { ...json({ links: urls.map((href) => ({ rel: WEBSOCKET, href })) }), headers: CORS };
}
