import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { rootCertificates } from 'node:tls';
import { isLoopback } from '../../config/checks.js';
import type { Config } from '../../config/config.js';
import { paths } from '../../config/paths.js';
import type { Status } from '../banner.js';
import { controlRequest } from '../control.js';
import { CliError, EXIT } from '../failure.js';

export const TRANSPORTS = ['starttls', 'tls', 'websocket'] as const;
export type Transport = (typeof TRANSPORTS)[number];

export interface TargetOptions {
  host?: string;
  port?: number;
  transport?: Transport;
  domain?: string;
}

/** Where a broker is and how its certificate is trusted. */
export interface Target {
  transport: Transport;
  host: string;
  port: number;
  domain: string;
  /** Address of the pub-sub service. */
  pubsub: string;
  /** Trusted authorities; undefined leaves the choice to Node. Only ever for this connection. */
  ca: string[] | undefined;
  /** Whether the broker that runs on this data_dir is meant: an account can be made there. */
  local: boolean;
}

/** Where the broker is: as the options say, else the one running on data_dir, else the one that the configuration would start. */
export async function findBroker(config: Config, options: TargetOptions): Promise<Target> {
  const answer = options.host === undefined ? await controlRequest(config.data_dir, 'status', {}) : undefined;
  const running = answer && 'result' in answer ? (answer.result as Status) : undefined;
  const transport = options.transport ?? 'starttls';
  const host = options.host ?? reachable(running?.listen_address ?? config.listen_address);
  const port = options.port ?? portOf(transport, host, running ?? config);
  const domain =
    options.domain ?? running?.domain ?? (options.host === undefined ? config.domain : domainOf(options.host));
  return {
    transport,
    host,
    port,
    domain,
    pubsub: `${config.pubsub.host_prefix}.${domain}`,
    ca: isLoopback(host) ? ownCertificate(config) : undefined,
    local: running !== undefined,
  };
}

/** A host name is taken for the domain; an address of this machine for `localhost`. */
function domainOf(host: string): string {
  return isLoopback(host) || isIP(host) !== 0 ? 'localhost' : host;
}

/** An address to connect to, for one that is listened on. */
function reachable(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  return address === '::' ? '::1' : address;
}

/** WebSocket without TLS never leaves the machine. */
function portOf(transport: Transport, host: string, where: Status | Config): number {
  const listener = { starttls: 'c2s', tls: 'c2s_tls', websocket: isLoopback(host) ? 'http' : 'https' } as const;
  const name = listener[transport];
  const found = where[name];
  const port = typeof found === 'object' && found !== null ? found.port : found;
  if (typeof port === 'number' && port !== 0) return port;
  const other =
    port === 0
      ? 'start the broker first, or name the port with --port'
      : `turn ${name}.port on, or choose another --transport`;
  throw new CliError(
    `${name}.port is ${port === 0 ? 'any free one' : 'off'}: nowhere to connect to`,
    other,
    EXIT.usage,
  );
}

/** On this machine the broker's own certificate is trusted, beside the authorities that Node trusts. */
function ownCertificate(config: Config): string[] | undefined {
  const file = config.tls.certificate === '' ? paths(config.data_dir).certificate : config.tls.certificate;
  try {
    return [...rootCertificates, readFileSync(file, 'utf8')];
  } catch {
    // No certificate yet: the connection itself will tell whether that matters.
    return undefined;
  }
}

/** `127.0.0.1:5222` or `[::1]:5222`. */
export function whereabouts(target: Target): string {
  return `${isIP(target.host) === 6 ? `[${target.host}]` : target.host}:${target.port}`;
}

export function noBroker(target: Target): CliError {
  return new CliError(`no broker at ${whereabouts(target)}: start one with npm start`);
}
