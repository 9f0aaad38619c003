import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { parseJid } from '../jid/jid.js';
import type { Config } from './config.js';
import { checkRedis } from './check-redis.js';
import { readNetworks } from './networks.js';
import { findOption, valueOf } from './options.js';
import type { Problem } from './problem.js';
import { suggest } from './suggest.js';

/**
 * `beside` is another setting that has a part in it: its place is shown when `key` was left to its default. What is found
 * `inFile` is a problem only where the setting stands in the file.
 */
export type Finding = Omit<Problem, 'where'> & { beside?: string; inFile?: boolean };

/** What no single setting shows: whether the settings fit together and the files that they name are there. */
export function checkWhole(config: Config): Finding[] {
  return [addresses, advertised, listeners, balancers, processes, certificates, sizes, exposure, redis].flatMap(
    (check) => check(config),
  );
}

function addresses(config: Config): Finding[] {
  const found: Finding[] = [];
  const domain = parseJid(config.domain);
  if (!domain || domain.local !== '' || domain.resource !== '')
    found.push({
      key: 'domain',
      what: `"${config.domain}" is not a domain (RFC 7622 §3.2)`,
      remedy: 'write a host name such as example.org, or an IP address',
    });
  for (const admin of config.admins) {
    const jid = parseJid(admin);
    if (!jid || jid.local === '' || jid.resource !== '')
      found.push({
        key: 'admins',
        what: `"${admin}" is not a bare JID`,
        remedy: `write user@domain, such as ${admin.includes('@') ? 'admin' : admin || 'admin'}@${config.domain}`,
      });
    else if (domain && jid.domain !== domain.domain) {
      const near = suggest(jid.domain, [domain.domain]) ?? domain.domain;
      found.push({
        key: 'admins',
        what: `"${admin}" is not an account here: this broker serves ${domain.domain}`,
        remedy: `write ${jid.local}@${near}, or change domain`,
      });
    }
  }
  return found;
}

/** Where clients are sent (RFC 6120 §4.9.3.19): a host name or address, and perhaps a port. */
const DESTINATION = /^(?:\[[0-9a-f:.]+\]|[^\s:/@?#[\]<>&'"]+)(?::(\d{1,5}))?$/i;

function advertised({ cluster: { advertise } }: Config): Finding[] {
  const match = DESTINATION.exec(advertise);
  if (advertise === '' || (match && Number(match[1] ?? 1) >= 1 && Number(match[1] ?? 1) <= 65535)) return [];
  const what = `"${advertise}" is not an address that clients can be sent to`;
  return [{ key: 'cluster.advertise', what, remedy: 'write host:port, such as north.example.org:5222' }];
}

const PORTS = ['c2s.port', 'c2s_tls.port', 'http.port', 'https.port'] as const;

function listeners(config: Config): Finding[] {
  const found: Finding[] = [];
  const taken = new Map<number, string>();
  for (const key of PORTS) {
    const port = valueOf(config, findOption(key)!);
    if (typeof port !== 'number' || port === 0) continue;
    const other = taken.get(port);
    if (other)
      found.push({
        key,
        what: `${port} is already the port of ${other}`,
        remedy: 'give each listener its own port, or off',
      });
    taken.set(port, other ?? key);
  }
  if (PORTS.every((key) => valueOf(config, findOption(key)!) === 'off'))
    found.push({ key: 'c2s.port', what: 'every listener is off', remedy: 'give at least one a port' });
  const address = config.listen_address;
  if (isIP(address) === 0 && !/^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(address))
    found.push({
      key: 'listen_address',
      what: `"${address}" is not an address`,
      remedy: 'write an IP address of this machine, 0.0.0.0 or :: for all',
    });
  return found;
}

function balancers(config: Config): Finding[] {
  const { mode, trusted } = config.proxy_protocol;
  const key = 'proxy_protocol.trusted';
  const found: Finding[] = readNetworks(trusted).faulty.map((entry) => ({
    key,
    what: `"${entry}" is neither an address nor a network`,
    remedy: 'write 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32',
  }));
  if (mode === 'off') return found;
  if (trusted.length === 0)
    found.push({ key, what: 'nobody may connect', remedy: 'name the addresses of the load balancers' });
  if (config.https.port !== 'off')
    found.push({
      key: 'https.port',
      what: 'a load balancer cannot say who the client is in front of its TLS',
      remedy: 'let it end TLS and connect to http.port, and set https.port: off',
      warning: true,
    });
  return found;
}

function processes(config: Config): Finding[] {
  const found: Finding[] = [];
  if (config.store === 'memory' && config.workers > 1)
    found.push({
      key: 'workers',
      what: `${config.workers} workers cannot share the memory store`,
      remedy: 'set workers: 1, or store: lmdb',
    });
  const what = unfit(config.data_dir);
  if (what !== undefined)
    found.push({
      key: 'data_dir',
      what: `"${config.data_dir}" ${what}`,
      remedy: 'name a folder of the user who runs this, or a new path',
    });
  return found;
}

/** Why this cannot be the folder; one that is not there yet can. */
function unfit(path: string): string | undefined {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    return found === undefined || found.isDirectory() ? undefined : 'is not a folder';
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    return code === 'ENOTDIR' ? 'lies below a file' : `cannot be looked at: ${code}`;
  }
}

function certificates(config: Config): Finding[] {
  const { certificate, key, client_ca } = config.tls;
  const found: Finding[] = [];
  if (client_ca !== '') pem('tls.client_ca', client_ca, toCertificate, found);
  if (certificate === '') {
    const remedy = 'name the PEM file of its certificate';
    if (key !== '') found.push({ key: 'tls.certificate', beside: 'tls.key', what: 'is missing for tls.key', remedy });
    return found;
  }
  const chain = pem('tls.certificate', certificate, toCertificate, found);
  if (!chain) return found;
  // One file may hold both.
  const secret =
    key === '' ? pem('tls.key', certificate, createPrivateKey, []) : pem('tls.key', key, createPrivateKey, found);
  if (key === '' && !secret) {
    const remedy = 'name the PEM file of its private key';
    found.push({ key: 'tls.key', beside: 'tls.certificate', what: 'is missing for tls.certificate', remedy });
  }
  if (secret && !chain.checkPrivateKey(secret))
    found.push({ key: 'tls.key', what: 'does not belong to tls.certificate', remedy: 'name the key it was made with' });
  const doubt = (what: string, remedy: string) => found.push({ key: 'tls.certificate', what, remedy, warning: true });
  if (Date.parse(chain.validTo) < Date.now()) doubt(`has expired on ${chain.validTo}`, 'renew it and send SIGHUP');
  const host = config.domain.replace(/^\[|\]$/g, '');
  if (!(isIP(host) ? chain.checkIP(host) : chain.checkHost(domainToASCII(host))))
    doubt(`is not valid for ${host}`, `clients will refuse it; get one that names ${host}`);
  return found;
}

const toCertificate = (bytes: Buffer) => new X509Certificate(bytes);

function pem<T>(key: string, file: string, read: (bytes: Buffer) => T, found: Finding[]): T | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    found.push({ key, what: `"${file}" cannot be read: ${code}`, remedy: 'name a file that the broker may read' });
    return undefined;
  }
  try {
    return read(bytes);
  } catch (error) {
    const what = `"${file}" is not usable: ${(error as Error).message}`;
    found.push({ key, what, remedy: 'name a PEM file (-----BEGIN …-----); an encrypted key must be decrypted first' });
    return undefined;
  }
}

/** What must not be larger than what, and what happens when it is all the same: undefined refuses the start. */
const ORDERED: readonly [smaller: string, larger: string, consequence?: string][] = [
  ['limits.stanza_bytes_unauthenticated', 'limits.stanza_bytes'],
  ['limits.stanza_bytes', 'limits.scanner_bytes'],
  ['limits.stanza_bytes', 'limits.bus_backlog_bytes'],
  ['limits.stanza_bytes', 'limits.outbox_bytes', 'a stanza of that size reaches nobody'],
  ['pubsub.max_payload_bytes', 'limits.stanza_bytes', 'an item of that size cannot be published'],
];

function sizes(config: Config): Finding[] {
  return ORDERED.flatMap(([smaller, larger, consequence]) => {
    const less = valueOf(config, findOption(smaller)!) as number;
    const more = valueOf(config, findOption(larger)!) as number;
    if (less <= more) return [];
    const what = `${less} is more than ${larger} (${more})${consequence === undefined ? '' : `: ${consequence}`}`;
    const remedy = `lower it, or raise ${larger}`;
    return [{ key: smaller, beside: larger, what, remedy, warning: consequence !== undefined }];
  });
}

/** Choices that are fine at home and doubtful in public. */
function exposure(config: Config): Finding[] {
  if (isLoopback(config.listen_address)) return [];
  const found: Finding[] = [];
  if (config.c2s.port !== 'off' && config.c2s.tls === 'optional')
    found.push({
      key: 'c2s.tls',
      what: `passwords may cross the network unencrypted (listen_address is ${config.listen_address})`,
      remedy: 'set c2s.tls: required',
      warning: true,
    });
  if (!config.limits.enabled)
    found.push({
      key: 'limits.enabled',
      what: `anyone who reaches ${config.listen_address} may flood the broker`,
      remedy: 'set limits.enabled: true unless the network is closed',
      warning: true,
    });
  return found;
}

function redis(config: Config): Finding[] {
  return checkRedis(config, !isLoopback(config.listen_address));
}

/** Whether an address or host name leads to this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host);
}
