import { isIP, SocketAddress } from 'node:net';
import type { HttpRequest, HttpResponse, us_socket_context_t } from 'uWebSockets.js';
import type { Networks } from '../config/networks.js';
import { count, counters } from '../metrics/counters.js';
import type { DropReason } from '../metrics/drops.js';
import type { Admission } from './admission.js';
import type { Gate } from './gate.js';
import { addressText } from './proxy-header.js';

/** Who gets a WebSocket. */
export interface UpgradeOptions {
  gate: Pick<Gate, 'enter' | 'leave'>;
  /** How fast they are let in; undefined is as fast as they come. */
  admission: Admission | undefined;
  /** Load balancers that have to say who the client is; undefined where clients come themselves. */
  balancers: Networks | undefined;
  draining(): boolean;
}

/** What is known of a WebSocket before it is one. */
export interface Origin {
  /** Of the client, and of what is connected here: they differ behind a load balancer. */
  remoteAddress: string;
  peerAddress: string;
}

/**
 * Answers requests for a WebSocket (RFC 6455 §4.2). A client is silent until it has the answer, so those who have to wait to be let
 * in just get it later.
 */
export function upgrader<UserData>(options: UpgradeOptions, userData: (origin: Origin) => UserData) {
  const { gate, admission, balancers } = options;
  return (res: HttpResponse, req: HttpRequest, context: us_socket_context_t): void => {
    const protocols = req.getHeader('sec-websocket-protocol');
    if (!protocols.split(',').some((protocol) => protocol.trim().toLowerCase() === 'xmpp')) {
      return answer(res, '400 Bad Request', 'The WebSocket subprotocol must be "xmpp" (RFC 7395 section 3.1).\n');
    }
    const origin = originOf(res, req, balancers);
    if (typeof origin === 'string') {
      count(counters.drops, origin);
      return answer(
        res,
        '403 Forbidden',
        'This is served through the load balancer only (PROXY protocol or X-Forwarded-For).\n',
      );
    }
    const { remoteAddress } = origin;
    if (options.draining()) {
      count(counters.drops, 'draining');
      return unavailable(res, undefined);
    }
    if (!gate.enter(remoteAddress)) return unavailable(res, undefined);
    const key = req.getHeader('sec-websocket-key');
    const extensions = req.getHeader('sec-websocket-extensions');
    const upgrade = () => res.upgrade(userData(origin), key, 'xmpp', extensions, context);
    if (admission === undefined || admission.take()) return upgrade();
    const place = admission.wait(remoteAddress, {
      admitted: () => res.cork(upgrade),
      refused: () => {
        gate.leave(remoteAddress);
        count(counters.drops, 'draining');
        res.cork(() => unavailable(res, undefined));
      },
    });
    if (place === undefined) {
      gate.leave(remoteAddress);
      return unavailable(res, admission.delay);
    }
    res.onAborted(() => {
      if (!place.waits) return;
      admission.leave(place);
      gate.leave(remoteAddress);
    });
  };
}

/** Who asks, or a reason why the request is to be refused. */
function originOf(res: HttpResponse, req: HttpRequest, balancers: Networks | undefined): Origin | DropReason {
  const peerAddress = peerOf(res);
  if (balancers === undefined) return { remoteAddress: peerAddress, peerAddress };
  if (!balancers.has(peerAddress)) return 'proxy_untrusted';
  const remoteAddress = proxiedOf(res, req);
  return remoteAddress === undefined ? 'proxy_missing' : { remoteAddress, peerAddress };
}

/** The client's address as far as it is known: what a trusted load balancer says, or that of the connection. */
export function clientAddress(res: HttpResponse, req: HttpRequest, balancers: Networks | undefined): string {
  const peer = peerOf(res);
  return balancers?.has(peer) ? (proxiedOf(res, req) ?? peer) : peer;
}

function peerOf(res: HttpResponse): string {
  return Buffer.from(res.getRemoteAddressAsText()).toString('latin1');
}

/**
 * What a load balancer says of its client. uWebSockets.js reads a header of the PROXY protocol where it comes in one segment with the
 * request, and no load balancer can promise that: so those that speak HTTP may say it as HTTP does.
 */
function proxiedOf(res: HttpResponse, req: HttpRequest): string | undefined {
  const bytes = Buffer.from(res.getProxiedRemoteAddress());
  return bytes.length === 0 ? forwardedOf(req) : addressText(bytes);
}

/** The last address of X-Forwarded-For: it is the load balancer's word, and what stands before may be anybody's. */
function forwardedOf(req: HttpRequest): string | undefined {
  let all = '';
  req.forEach((name, value) => {
    if (name === 'x-forwarded-for') all = value;
  });
  const address = all.slice(all.lastIndexOf(',') + 1).trim();
  const version = isIP(address);
  if (version !== 6) return version === 4 ? address : undefined;
  // So that an address has one name.
  if (address.includes('%')) return undefined;
  return new SocketAddress({ address, family: 'ipv6' }).address.replace(/^::ffff:(?=\d+\.)/, '');
}

function unavailable(res: HttpResponse, retrySeconds: number | undefined): void {
  res.writeStatus('503 Service Unavailable');
  if (retrySeconds !== undefined) res.writeHeader('Retry-After', String(retrySeconds));
  res.end('Too many connections, or the server is closing.\n');
}

function answer(res: HttpResponse, status: string, text: string): void {
  res.writeStatus(status).end(text);
}
