import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { createSecureContext, type ConnectionOptions } from 'node:tls';
import type { RedisOptions } from 'ioredis';
import type { Config } from '../config/config.js';
import { type Address, parseAddress, parseRedisUrl } from '../config/redis-address.js';
import { RedisRefused } from './redis.js';

export type { Address };

/** Where Redis is and how it is reached, from the section `redis` of the configuration. */
export interface Settings {
  kind: 'single' | 'sentinel' | 'cluster';
  /** The server, the Sentinels, or some nodes of the cluster. */
  addresses: Address[];
  /** The name under which the Sentinels know the master. */
  master: string;
  /** What the Sentinels ask for; found out when they are first asked. */
  sentinelPassword: string;
  database: number;
  username: string;
  password: string;
  tls: ConnectionOptions | undefined;
  prefix: string;
  /** What Redis shows connections under, and {@link sever} finds them by; empty where nobody looks for them. */
  name: string;
  patienceMs: number;
  /** How many replicas must have what is to last. */
  replicas: number;
}

/** So long may a connection take to stand, or a command to be answered, before the server counts as away. */
export const STUCK_MS = 2000;

/** @throws RedisRefused with a sentence for the operator. */
export function settingsOf(config: Config['redis']): Settings {
  const url = urlOf(config.url);
  const kind = config.nodes.length > 0 ? 'cluster' : config.sentinels.length > 0 ? 'sentinel' : 'single';
  const key = kind === 'cluster' ? 'redis.nodes' : 'redis.sentinels';
  const listed = kind === 'cluster' ? config.nodes : config.sentinels;
  const addresses =
    kind === 'single'
      ? [{ host: url.hostname.replace(/^\[|\]$/g, '') || '127.0.0.1', port: Number(url.port || 6379) }]
      : listed.map((text) => addressOf(key, text));
  return {
    kind,
    addresses,
    master: config.sentinel_master,
    sentinelPassword: '',
    database: Number(url.pathname.slice(1) || 0),
    username: config.username || decodeURIComponent(url.username),
    password: config.password || decodeURIComponent(url.password),
    tls: url.protocol === 'rediss:' ? secured(config) : undefined,
    prefix: config.prefix,
    name: '',
    patienceMs: config.patience_seconds * 1000,
    replicas: config.replicas,
  };
}

/** Where Redis is, in words without a secret. */
export function placeOf(config: Config['redis']): string {
  const { addresses, database, kind } = settingsOf(config);
  const where = addresses.map(written).join(', ');
  return `Redis at ${where}${kind === 'cluster' ? '' : `/${database}`} under "${config.prefix}:"`;
}

/** @throws RedisRefused */
function urlOf(text: string): URL {
  const url = parseRedisUrl(text);
  if (url !== undefined) return url;
  throw new RedisRefused(
    'redis.url is not an address of Redis: write redis://host:6379, or rediss:// for TLS, and /number for a database',
  );
}

/** @throws RedisRefused */
export function addressOf(key: string, text: string): Address {
  const address = parseAddress(text);
  if (address !== undefined) return address;
  throw new RedisRefused(`${key}: "${text}" is not an address: write host:port, such as 10.0.0.1:6379`);
}

export function written({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** @throws RedisRefused */
function secured(config: Config['redis']): ConnectionOptions {
  const { ca, certificate, key, server_name } = config;
  const options = {
    ...(ca && { ca: pem('ca', ca) }),
    ...(certificate && { cert: pem('certificate', certificate) }),
    ...(key && { key: pem('key', key) }),
    ...(server_name && { servername: server_name }),
  };
  try {
    createSecureContext(options);
  } catch (error) {
    const { message } = error as Error;
    throw new RedisRefused(
      `redis.certificate and redis.key cannot be used (${message}): name PEM files that belong together, the key without a passphrase`,
    );
  }
  return options;
}

function pem(name: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new RedisRefused(
      `redis.${name}: "${file}" cannot be read (${code}): name a PEM file that the broker may read`,
    );
  }
}

/** Reconnecting hosts must not come in step. */
function pause(attempts: number): number {
  const longest = Math.min(500, 25 * 2 ** Math.min(attempts, 6));
  return longest / 2 + (Math.random() * longest) / 2;
}

/** What ioredis is told for one connection, to `address` or, where the Sentinels choose, to the master. */
export function clientOptions(settings: Settings, address?: Address): RedisOptions {
  const { kind, username, password, database, tls } = settings;
  const named = address !== undefined && isIP(address.host) === 0 ? { servername: address.host } : {};
  const secure = tls && { ...named, ...tls };
  return {
    ...(kind === 'sentinel' && address === undefined
      ? {
          sentinels: settings.addresses,
          name: settings.master,
          sentinelPassword: settings.sentinelPassword,
          sentinelCommandTimeout: STUCK_MS,
          sentinelRetryStrategy: pause,
          ...(tls && { enableTLSForSentinelMode: true, sentinelTLS: tls }),
        }
      : { ...(address ?? settings.addresses[0]!) }),
    ...(username && { username }),
    ...(password && { password }),
    ...(secure && { tls: secure }),
    ...(settings.name && { connectionName: settings.name }),
    ...(kind !== 'cluster' && { db: database }),
    connectTimeout: STUCK_MS,
    disconnectTimeout: 100,
    maxLoadingRetryTime: 200,
    keepAlive: 10_000,
    disableClientInfo: true,
    lazyConnect: true,
    // What waits, and what is done again, is decided in one place, by the link.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: pause,
  };
}
