import { hostname } from 'node:os';
import type { Config } from '../config/config.js';
import { defaults } from '../config/config.js';
import { placeOf } from '../redis/settings.js';

/** What a started broker can tell of itself. A port is undefined when its listener is off. */
export interface Started {
  version: string;
  config: Config;
  /** Of the supervisor. */
  pid: number;
  workers: readonly number[];
  c2s: number | undefined;
  c2s_tls: number | undefined;
  http: number | undefined;
  https: number | undefined;
  /** The administrator that this start made; the password is shown this once. */
  admin?: { jid: string; password: string } | undefined;
}

/** What the control socket answers to `status`; `thrum sensor`, `watch` and `demo` find the broker by it. */
export interface Status {
  pid: number;
  workers: readonly number[];
  domain: string;
  listen_address: string;
  c2s: number | null;
  c2s_tls: number | null;
  http: number | null;
  https: number | null;
}

export function status(info: Started): Status {
  return {
    pid: info.pid,
    workers: info.workers,
    domain: info.config.domain,
    listen_address: info.config.listen_address,
    c2s: info.c2s ?? null,
    c2s_tls: info.c2s_tls ?? null,
    http: info.http ?? null,
    https: info.https ?? null,
  };
}

/** The one line of `start --json`, without a line end. A listener that is off has no port: null; https shows when it is on. */
export function readyLine(info: Started): string {
  const { pid, workers, c2s, c2s_tls, http, https } = status(info);
  return JSON.stringify({ ready: true, pid, workers, c2s, c2s_tls, http, ...(https !== null && { https }) });
}

/** The administrator made at the first start. */
export function adminNotice(admin: { jid: string; password: string }): string {
  return `Administrator ${admin.jid} has the password ${admin.password}\n(shown this once; \`thrum user passwd\` changes it)`;
}

/** What a person reads after the start. */
export function banner(info: Started): string {
  const { config } = info;
  const at = (port: number) => `${bracketed(config.listen_address)}:${port}`;
  const starttls = `XMPP, STARTTLS ${config.c2s.tls}`;
  const listeners: [number | undefined, string, (port: number) => string][] = [
    [info.c2s, starttls, at],
    [info.c2s_tls, 'XMPP, direct TLS', at],
    [info.http, 'WebSocket', (port) => `ws://${at(port)}/xmpp-websocket`],
    [info.https, 'WebSocket, TLS', (port) => `wss://${at(port)}/xmpp-websocket`],
    [info.http, 'metrics', (port) => `http://${at(port)}/metrics`],
  ];
  const open = listeners.flatMap(([port, what, where]) => (port === undefined ? [] : [[what, where(port)] as const]));
  const column = Math.max(...open.map(([what]) => what.length));
  const workers = `${info.workers.length} worker${info.workers.length === 1 ? '' : 's'}`;
  const parts = [
    `Thrum ${info.version} serves ${config.domain} with ${workers}, data in ${dataOf(config)}`,
    open.map(([what, where]) => `  ${what.padEnd(column)}  ${where}`).join('\n'),
  ];
  if (info.admin) parts.push(adminNotice(info.admin));
  const flags = config.data_dir === defaults().data_dir ? '' : ` --set data_dir=${quoted(config.data_dir)}`;
  const commands = [
    [`npx thrum sensor${flags}`, 'a simulated sensor'],
    [`npx thrum watch sensors/temperature${flags}`, 'what it publishes, live'],
    [`npx thrum demo${flags}`, 'a small fleet with a dashboard'],
  ] as const;
  const longest = Math.max(...commands.map(([command]) => command.length));
  parts.push(
    `See it work, each line in a terminal of its own:\n${commands
      .map(([command, meaning]) => `  ${command.padEnd(longest)}   ${meaning}`)
      .join('\n')}`,
    'Ctrl-C stops the broker.',
  );
  return parts.join('\n\n');
}

function dataOf({ store, data_dir, redis, cluster }: Config): string {
  if (store !== 'redis') return data_dir;
  return `${placeOf(redis)}\nas host ${cluster.host || hostname()} of the cluster "${cluster.name}"`;
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

/** For a POSIX shell. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
