import { DirectoryKeys, SHARDS } from '../cluster/directory-rows.js';
import { inboxKey } from '../cluster/hosts/keys.js';
import type { Member } from '../cluster/hosts/hosts.js';
import { keyspaceKey, refuseOtherFormat } from '../redis/keyspace.js';
import { type Redis, type RedisNode, RedisUnavailable, type Script } from '../redis/redis.js';
import { Missing } from './missing.js';
import { roster, type Roster } from './roster.js';

/** A cluster as Redis shows it, in the units of JSON: milliseconds and bytes. What cannot be read is null. */
export interface ClusterReading {
  cluster: string | null;
  domain: string | null;
  workers: WorkerReading[] | null;
  /** Dead workers that nobody has cleaned up after yet. */
  departed: number | null;
  /** Of those that can be read. */
  shards: ShardsReading | null;
  redis: { kind: Redis['kind']; masters: MasterReading[]; unreachable: string[] };
  /** What cannot be read, in sentences. */
  missing: string[];
}

export interface ShardsReading {
  count: number;
  /** So many cannot be read. */
  unknown: number;
  min: number;
  median: number;
  max: number;
  hottest: number;
}

export interface WorkerReading extends Member {
  /** Below 0 when it is over. */
  leaseLeft: number;
  /** `silent`: it has not renewed its lease in time. */
  state: 'serves' | 'drains' | 'silent' | 'dead';
  /** Of the shards that can be read. */
  sessions: number | null;
  /** What waits for it in its inbox. */
  inbox: { entries: number; age: number; bytes: number } | null;
}

export interface MasterReading {
  address: string;
  version: string;
  used: number;
  /** 0: no limit. */
  limit: number;
  replicas: number;
  commandsPerSecond: number;
}

/** How long each part is waited for, in milliseconds: what is away is said to be. */
const PATIENCE = { patienceMs: 1_000 };

/**
 * Undefined when there is no cluster under the prefix.
 *
 * @throws RedisRefused where it is one of another version
 */
export async function readCluster(redis: Redis): Promise<ClusterReading | undefined> {
  const missing = new Missing(redis);
  const about = keyspaceKey(redis);
  const fields = redis.call('HMGET', [about, 'cluster', 'domain', 'format'], PATIENCE);
  const meta = (await missing.unless('workers', about, fields)) as Meta;
  if (meta !== undefined) {
    if (!meta[0] || !meta[1]) return undefined;
    refuseOtherFormat(redis, String(meta[2] ?? ''));
  }
  const [found, nodes] = await Promise.all([
    meta && missing.unless('workers', about, roster(redis, PATIENCE)),
    redis.masters(),
  ]);
  const [masters, workers] = await Promise.all([
    Promise.all(nodes.map((node) => master(node).catch(away))),
    found === undefined ? undefined : workersOf(redis, found, missing),
  ]);
  const unreachable = nodes.filter((_, i) => masters[i] === undefined).map(({ address }) => address);
  return {
    cluster: meta === undefined ? null : String(meta[0]),
    domain: meta === undefined ? null : String(meta[1]),
    workers: workers?.workers ?? null,
    departed: found?.departed ?? null,
    shards: workers?.shards ?? null,
    redis: { kind: redis.kind, masters: masters.filter((one) => one !== undefined), unreachable },
    missing: missing.sentences(unreachable),
  };
}

type Meta = (Buffer | null)[] | undefined;

async function workersOf(
  redis: Redis,
  { now, workers }: Roster,
  missing: Missing,
): Promise<{ workers: WorkerReading[]; shards: ShardsReading | null }> {
  const numbers = workers.map(({ member }) => member.number);
  const [held, inboxes] = await Promise.all([
    sessions(redis, numbers, missing),
    Promise.all(workers.map(({ member }) => inbox(redis, member, now, missing))),
  ]);
  const longest = Math.max(...workers.map(({ leaseEnds }) => leaseEnds - now));
  return {
    workers: workers
      .map(({ member, leaseEnds }, i) => ({
        ...member,
        leaseLeft: leaseEnds - now,
        state: stateOf(member, leaseEnds - now, longest),
        sessions: held.some((shard) => shard) ? held.reduce((sum, shard) => sum + (shard?.[i] ?? 0), 0) : null,
        inbox: inboxes[i]!,
      }))
      .sort((a, b) => (a.host < b.host ? -1 : a.host > b.host ? 1 : a.slot - b.slot || a.number - b.number)),
    shards: balance(held.map((shard) => shard?.reduce((sum, count) => sum + count, 0))),
  };
}

/** All renew their leases at the same pace: who has much less left than others is not heard of. */
function stateOf({ draining }: Member, left: number, longest: number): WorkerReading['state'] {
  if (left <= 0) return 'dead';
  if (left < longest / 2) return 'silent';
  return draining ? 'drains' : 'serves';
}

function balance(shards: readonly (number | undefined)[]): ShardsReading | null {
  const sorted = shards.filter((count) => count !== undefined).sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  const max = sorted.at(-1)!;
  return {
    count: shards.length,
    unknown: shards.length - sorted.length,
    min: sorted[0]!,
    median: sorted[sorted.length >> 1]!,
    max,
    hottest: shards.indexOf(max),
  };
}

/** How large the sets are. */
const SIZES: Script = {
  name: 'status-sizes',
  source: `
    local sizes = {}
    for i = 1, #KEYS do sizes[i] = redis.call('SCARD', KEYS[i]) end
    return sizes`,
};

/** By shard of the session directory, and then by worker. */
function sessions(redis: Redis, workers: readonly number[], missing: Missing): Promise<(number[] | undefined)[]> {
  const names = new DirectoryKeys(redis.prefix);
  return Promise.all(
    Array.from({ length: SHARDS }, async (_, shard) => {
      const held = workers.map((worker) => names.held(shard, worker));
      if (held.length === 0) return [];
      const sizes = await missing.unless('shards', held[0]!, redis.run(SIZES, held, [], PATIENCE));
      return sizes as number[] | undefined;
    }),
  );
}

const INBOX: Script = {
  name: 'status-inbox',
  source: `
    local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
    return {redis.call('XLEN', KEYS[1]), first[1] and first[1][1] or '', redis.call('MEMORY', 'USAGE', KEYS[1]) or 0}`,
};

async function inbox(
  redis: Redis,
  { number, epoch }: Member,
  now: number,
  missing: Missing,
): Promise<WorkerReading['inbox']> {
  const key = inboxKey(redis, number, epoch);
  const reply = await missing.unless('inboxes', key, redis.run(INBOX, [key], [], PATIENCE));
  if (reply === undefined) return null;
  const [entries, first, bytes] = reply as [number, Buffer, number];
  const made = Number.parseInt(String(first));
  return { entries, age: entries === 0 ? 0 : Math.max(0, now - made), bytes: entries === 0 ? 0 : bytes };
}

/** Undefined in place of a server that does not answer. */
function away(error: unknown): undefined {
  if (!(error instanceof RedisUnavailable)) throw error;
}

async function master(node: RedisNode): Promise<MasterReading> {
  const info = new Map(
    String(await node.call('INFO', []))
      .split('\r\n')
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)] as const),
  );
  const number = (name: string): number => Number(info.get(name) ?? 0);
  return {
    address: node.address,
    version: info.get('valkey_version') ?? info.get('redis_version') ?? '',
    used: number('used_memory'),
    limit: number('maxmemory'),
    replicas: number('connected_slaves'),
    commandsPerSecond: number('instantaneous_ops_per_sec'),
  };
}
