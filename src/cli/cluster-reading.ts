import { DirectoryKeys, SHARDS } from '../cluster/directory-rows.js';
import { inboxKey } from '../cluster/hosts/keys.js';
import type { Member } from '../cluster/hosts/hosts.js';
import { keyspaceKey } from '../redis/keyspace.js';
import type { Redis, RedisNode, Script } from '../redis/redis.js';
import { roster } from './roster.js';

/** A cluster as Redis shows it, in the units of JSON: milliseconds and bytes. */
export interface ClusterReading {
  cluster: string;
  domain: string;
  workers: WorkerReading[];
  /** Dead workers that nobody has cleaned up after yet. */
  departed: number;
  shards: { count: number; min: number; median: number; max: number; hottest: number };
  redis: { kind: Redis['kind']; masters: MasterReading[] };
}

export interface WorkerReading extends Member {
  /** Below 0 when it is over. */
  leaseLeft: number;
  sessions: number;
  /** What waits for it in its inbox. */
  inbox: { entries: number; age: number; bytes: number };
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

/** Undefined when there is no cluster under the prefix. */
export async function readCluster(redis: Redis): Promise<ClusterReading | undefined> {
  const meta = (await redis.call('HMGET', [keyspaceKey(redis), 'cluster', 'domain'])) as (Buffer | null)[];
  if (!meta[0] || !meta[1]) return undefined;
  const { now, workers, departed } = await roster(redis);
  const held = await sessions(
    redis,
    workers.map(({ member }) => member.number),
  );
  const [inboxes, masters] = await Promise.all([
    Promise.all(workers.map(({ member }) => inbox(redis, member, now))),
    redis.masters().then((nodes) => Promise.all(nodes.map(master))),
  ]);
  return {
    cluster: String(meta[0]),
    domain: String(meta[1]),
    workers: workers
      .map(({ member, leaseEnds }, i) => ({
        ...member,
        leaseLeft: leaseEnds - now,
        sessions: held.reduce((sum, shard) => sum + shard[i]!, 0),
        inbox: inboxes[i]!,
      }))
      .sort((a, b) => (a.host < b.host ? -1 : a.host > b.host ? 1 : a.slot - b.slot || a.number - b.number)),
    departed,
    shards: balance(held.map((shard) => shard.reduce((sum, count) => sum + count, 0))),
    redis: { kind: redis.kind, masters },
  };
}

function balance(shards: readonly number[]): ClusterReading['shards'] {
  const sorted = [...shards].sort((a, b) => a - b);
  const max = sorted.at(-1)!;
  return {
    count: shards.length,
    min: sorted[0]!,
    median: sorted[shards.length >> 1]!,
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
function sessions(redis: Redis, workers: readonly number[]): Promise<number[][]> {
  const names = new DirectoryKeys(redis.prefix);
  return Promise.all(
    Array.from({ length: SHARDS }, async (_, shard) => {
      const keys = workers.map((worker) => names.held(shard, worker));
      return keys.length === 0 ? [] : ((await redis.run(SIZES, keys, [])) as number[]);
    }),
  );
}

const INBOX: Script = {
  name: 'status-inbox',
  source: `
    local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
    return {redis.call('XLEN', KEYS[1]), first[1] and first[1][1] or '', redis.call('MEMORY', 'USAGE', KEYS[1]) or 0}`,
};

async function inbox(redis: Redis, { number, epoch }: Member, now: number): Promise<WorkerReading['inbox']> {
  const [entries, first, bytes] = (await redis.run(INBOX, [inboxKey(redis, number, epoch)], [])) as [
    number,
    Buffer,
    number,
  ];
  const made = Number.parseInt(String(first));
  return { entries, age: entries === 0 ? 0 : Math.max(0, now - made), bytes: entries === 0 ? 0 : bytes };
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
