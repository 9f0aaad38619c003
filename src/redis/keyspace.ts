import { randomBytes } from 'node:crypto';
import { type Redis, RedisRefused, type Script } from './redis.js';

/** Of the keys' names and contents; grows when an older Thrum could not read them. */
export const KEYSPACE_FORMAT = 1;

/** What all hosts of a cluster have in common, beside their data: made by the first of them, and kept in Redis. */
export interface ClusterSecrets {
  /** The server's lasting secret. */
  secret: Buffer;
  /** Key of the proofs that a password was right. */
  proofKey: Buffer;
  /** TLS session ticket keys, so that a client's ticket is good at every host. */
  ticketKeys: Buffer;
}

const SECRET_BYTES: Record<keyof ClusterSecrets, number> = { secret: 32, proofKey: 32, ticketKeys: 48 };

/** Writes the fields where there is no such hash; answers with what is there then. */
const CLAIM: Script = {
  name: 'keyspace-claim',
  source: `
    if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
    return redis.call('HGETALL', KEYS[1])`,
};

export function keyspaceKey(redis: Pick<Redis, 'prefix'>): string {
  return `${redis.prefix}:cluster:meta:{cluster}`;
}

/** STRING: the process that migrates from or to this Redis, which nobody else uses meanwhile. It ends by itself when that one dies. */
export function migrationKey(redis: Pick<Redis, 'prefix'>): string {
  return `${redis.prefix}:migration:{cluster}`;
}

/** Who is there under {@link migrationKey}, in words. */
export function migrating(holder: Buffer): string {
  const { host, pid } = JSON.parse(holder.toString()) as { host: string; pid: number };
  return `thrum migrate is at work on this Redis: process ${pid} on ${host}`;
}

/**
 * Makes the keyspace this cluster's where it is nobody's yet. `mine` are the secrets of a host that runs: a Redis that came back
 * empty gets them again.
 *
 * @throws RedisRefused when it is another cluster's, or of another format: with what to change
 */
export async function claimKeyspace(
  redis: Redis,
  cluster: { name: string; domain: string },
  mine: ClusterSecrets = fresh(),
): Promise<ClusterSecrets> {
  const own: Record<string, string | number | Buffer> = {
    format: KEYSPACE_FORMAT,
    cluster: cluster.name,
    domain: cluster.domain,
    ...mine,
  };
  const reply = (await redis.run(CLAIM, [keyspaceKey(redis)], Object.entries(own).flat())) as Buffer[];
  const kept = new Map<string, Buffer>();
  for (let i = 0; i + 1 < reply.length; i += 2) kept.set(reply[i]!.toString(), reply[i + 1]!);
  const text = (field: string): string => kept.get(field)?.toString() ?? '';
  const keys = keysOf(redis);
  refuseOtherFormat(redis, text('format'));
  for (const [field, option] of [
    ['cluster', 'cluster.name'],
    ['domain', 'domain'],
  ] as const) {
    if (text(field) === own[field]) continue;
    throw new RedisRefused(
      `${keys} belong to the cluster with ${option} "${text(field)}", and this host has "${String(own[field])}": ` +
        `set ${option} to the same to join it, or redis.prefix to another for a cluster of its own`,
    );
  }
  const secrets = fresh();
  for (const name of Object.keys(SECRET_BYTES) as (keyof ClusterSecrets)[]) {
    const value = kept.get(name);
    if (value?.length !== SECRET_BYTES[name]) {
      throw new RedisRefused(
        `${keys} are damaged: ${keyspaceKey(redis)} has no good "${name}"; restore it from a backup`,
      );
    }
    secrets[name] = value;
  }
  return secrets;
}

function keysOf({ prefix }: Pick<Redis, 'prefix'>): string {
  return `the keys under "${prefix}:" in this Redis`;
}

/** @throws RedisRefused where this version cannot read the keys */
export function refuseOtherFormat(redis: Pick<Redis, 'prefix'>, format: string): void {
  if (format === String(KEYSPACE_FORMAT)) return;
  throw new RedisRefused(
    `${keysOf(redis)} have format ${format || 'unknown'}, and this Thrum knows ${KEYSPACE_FORMAT}: ` +
      'run the version of Thrum that wrote them, or set another redis.prefix',
  );
}

function fresh(): ClusterSecrets {
  return {
    secret: randomBytes(SECRET_BYTES.secret),
    proofKey: randomBytes(SECRET_BYTES.proofKey),
    ticketKeys: randomBytes(SECRET_BYTES.ticketKeys),
  };
}
