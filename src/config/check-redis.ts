import { readFileSync } from 'node:fs';
import type { Finding } from './checks.js';
import type { Config } from './config.js';
import { findOption, options, valueOf } from './options.js';
import { parseAddress, parseRedisUrl } from './redis-address.js';

/** Whether the settings of Redis fit together; whether a Redis is there is seen at the start. */
export function checkRedis(config: Config, exposed: boolean): Finding[] {
  if (config.store !== 'redis') return withoutRedis(config);
  const { redis } = config;
  const found: Finding[] = [];
  const url = parseRedisUrl(redis.url);
  if (!url)
    found.push({
      key: 'redis.url',
      what: 'is not an address of Redis',
      remedy: 'write redis://host:6379, or rediss:// for TLS, and /number for a database; in a password, % is %25',
    });
  for (const key of ['nodes', 'sentinels'] as const)
    for (const address of redis[key])
      if (!parseAddress(address))
        found.push({
          key: `redis.${key}`,
          what: `"${address}" is not an address`,
          remedy: `write host:port, such as 10.0.0.1:${key === 'nodes' ? 6379 : 26379}`,
        });
  if (redis.nodes.length > 0 && redis.sentinels.length > 0)
    found.push({
      key: 'redis.sentinels',
      beside: 'redis.nodes',
      what: 'are given beside redis.nodes, and a Redis Cluster has none',
      remedy: 'leave one of both empty',
    });
  if (redis.nodes.length > 0 && Number(url?.pathname.slice(1) || 0) > 0)
    found.push({
      key: 'redis.url',
      what: 'names a database, and a Redis Cluster has only one',
      remedy: 'leave the number out; redis.prefix tells several uses apart',
    });
  if (redis.username !== '' && redis.password === '' && !url?.password)
    found.push({
      key: 'redis.password',
      beside: 'redis.username',
      what: 'is missing for redis.username',
      remedy: 'set it, best as THRUM_REDIS_PASSWORD',
    });
  found.push(...secured(redis, url));
  if (exposed) found.push(...exposure(config, url));
  return found;
}

/** Settings that do nothing with another store. */
function withoutRedis(config: Config): Finding[] {
  return options
    .filter(({ key }) => key.startsWith('cluster.') && key !== 'cluster.advertise')
    .filter((option) => valueOf(config, option) !== option.default)
    .map(({ key }) => ({
      key,
      beside: 'store',
      what: `does nothing with store: ${config.store}`,
      remedy: 'set store: redis for many hosts, or leave it out',
      warning: true,
    }));
}

/** The files that TLS needs, and no others. */
function secured(redis: Config['redis'], url: URL | undefined): Finding[] {
  const given = (['ca', 'certificate', 'key'] as const).filter((name) => redis[name] !== '');
  const found: Finding[] = [];
  if (url?.protocol === 'redis:')
    for (const name of redis.server_name === '' ? given : [...given, 'server_name'])
      found.push({
        key: `redis.${name}`,
        beside: 'redis.url',
        what: 'is given, and redis.url asks for no TLS',
        remedy: `write rediss:// in redis.url, or leave redis.${name} empty`,
      });
  if (found.length > 0) return found;
  const [there, missing] = redis.key === '' ? ['certificate', 'key'] : ['key', 'certificate'];
  if ((redis.certificate === '') !== (redis.key === ''))
    found.push({
      key: `redis.${missing}`,
      beside: `redis.${there}`,
      what: `is missing for redis.${there}`,
      remedy: 'give both, or neither',
    });
  for (const name of given) {
    const what = unusable(redis[name], name === 'key' ? 'PRIVATE KEY' : 'CERTIFICATE');
    if (what) found.push({ key: `redis.${name}`, ...what });
  }
  return found;
}

function unusable(file: string, label: string): Pick<Finding, 'what' | 'remedy'> | undefined {
  try {
    if (new RegExp(`-----BEGIN ([A-Z]+ )?${label}-----`).test(readFileSync(file, 'utf8'))) return undefined;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    return { what: `"${file}" cannot be read: ${code}`, remedy: 'name a file that the broker may read' };
  }
  const what = label === 'CERTIFICATE' ? 'certificate' : 'key';
  return { what: `"${file}" holds no ${what}`, remedy: 'name a PEM file (-----BEGIN …-----)' };
}

/** A broker that others reach should not have its secrets in a file that is copied about. */
function exposure({ redis }: Config, url: URL | undefined): Finding[] {
  const found: Finding[] = [];
  const remedy = `give it as ${findOption('redis.password')!.variable}`;
  for (const [key, given] of [
    ['redis.password', redis.password !== ''],
    ['redis.url', Boolean(url?.password)],
  ] as const)
    if (given) found.push({ key, what: 'holds a password, readable in the file', remedy, warning: true, inFile: true });
  return found;
}
