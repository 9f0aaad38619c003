import { printable, table } from '../text.js';
import type { ClusterReading, MasterReading, WorkerReading } from '../cluster-reading.js';
import { duration, grouped } from './progress.js';

/** A cluster in the words of people. */
export function clusterTable(reading: ClusterReading): string {
  const { cluster, domain, workers, departed, shards, redis } = reading;
  const hosts = new Set(workers.map(({ host }) => host)).size;
  const sessions = workers.reduce((sum, worker) => sum + worker.sessions, 0);
  const parts = [
    `${printable(cluster)} serves ${printable(domain)}: ${many(hosts, 'host')}, ${many(workers.length, 'worker')}, ` +
      many(sessions, 'session'),
  ];
  if (workers.length > 0) parts.push(workersTable(workers));
  parts.push(
    `sessions in ${shards.count} shards: at least ${grouped(shards.min)}, median ${grouped(shards.median)}, ` +
      `at most ${grouped(shards.max)} (shard ${shards.hottest})`,
  );
  parts.push(`${KINDS[redis.kind]}\n${mastersTable(redis.masters)}`);
  if (departed > 0) parts.push(`${many(departed, 'dead worker')} still to be cleaned up after`);
  return parts.join('\n\n');
}

const KINDS: Record<ClusterReading['redis']['kind'], string> = {
  single: 'a single Redis',
  sentinel: 'Redis behind Sentinels',
  cluster: 'a Redis Cluster',
};

function workersTable(workers: readonly WorkerReading[]): string {
  const head = [
    'host',
    'worker',
    'number',
    'epoch',
    'pid',
    'version',
    'up',
    'lease',
    'sessions',
    'inbox',
    'oldest',
    'bytes',
  ];
  const rows = workers.map((worker) => [
    printable(worker.host),
    ...[worker.slot, worker.number, worker.epoch, worker.pid].map(String),
    printable(worker.version),
    duration(Math.max(0, Date.now() - worker.started) / 1000),
    worker.leaseLeft > 0 ? `${(worker.leaseLeft / 1000).toFixed(1)} s` : 'over',
    grouped(worker.sessions),
    grouped(worker.inbox.entries),
    `${grouped(worker.inbox.age)} ms`,
    bytes(worker.inbox.bytes),
    worker.leaseLeft <= 0 ? 'dead' : worker.draining ? 'drains' : 'serves',
  ]);
  return table(
    [...head, 'state'],
    rows,
    head.slice(1).filter((title) => title !== 'version'),
  );
}

function mastersTable(masters: readonly MasterReading[]): string {
  const head = ['master', 'version', 'memory', 'of', 'replicas', 'commands/s'];
  const rows = masters.map(({ address, version, used, limit, replicas, commandsPerSecond }) => [
    printable(address),
    printable(version),
    bytes(used),
    limit === 0 ? 'all there is' : bytes(limit),
    String(replicas),
    grouped(commandsPerSecond),
  ]);
  return table(head, rows, ['memory', 'of', 'replicas', 'commands/s']);
}

function many(count: number, what: string): string {
  return `${grouped(count)} ${what}${count === 1 ? '' : 's'}`;
}

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/** `0 B`, `12 KB`, `3.4 GB`. */
export function bytes(value: number): string {
  let unit = 0;
  for (; value >= 1000 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}
