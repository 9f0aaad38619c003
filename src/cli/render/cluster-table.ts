import { printable, table, width } from '../text.js';
import type { ClusterReading, WorkerReading } from '../cluster-reading.js';
import { duration, grouped } from './progress.js';

/** A cluster in the words of people, on a terminal that wide. */
export function clusterTable(reading: ClusterReading, columns = Infinity): string {
  const { cluster, domain, workers, departed, shards, redis } = reading;
  const parts = workers === null ? [] : [headline(cluster, domain, workers, shards)];
  if (workers !== null && workers.length > 0) parts.push(workersTable(workers, columns));
  if (shards !== null) {
    const known = shards.unknown > 0 ? `${shards.count - shards.unknown} of ${shards.count}` : String(shards.count);
    parts.push(
      `sessions in ${known} shards: at least ${grouped(shards.min)}, median ${grouped(shards.median)}, ` +
        `at most ${grouped(shards.max)} (shard ${shards.hottest})`,
    );
  }
  parts.push(`${KINDS[redis.kind]}\n${mastersTable(redis)}`);
  if (departed !== null && departed > 0) parts.push(`${many(departed, 'dead worker')} still to be cleaned up after`);
  return parts.join('\n\n');
}

function headline(
  cluster: string | null,
  domain: string | null,
  workers: readonly WorkerReading[],
  shards: ClusterReading['shards'],
): string {
  const hosts = new Set(workers.map(({ host }) => host)).size;
  const sessions = workers.reduce((sum, worker) => sum + (worker.sessions ?? 0), 0);
  const held =
    shards === null ? 'sessions not known' : `${shards.unknown > 0 ? 'at least ' : ''}${many(sessions, 'session')}`;
  const who = `${printable(cluster ?? UNKNOWN)} serves ${printable(domain ?? UNKNOWN)}`;
  return `${who}: ${many(hosts, 'host')}, ${many(workers.length, 'worker')}, ${held}`;
}

/** What cannot be read. */
const UNKNOWN = '?';

const KINDS: Record<ClusterReading['redis']['kind'], string> = {
  single: 'a single Redis',
  sentinel: 'Redis behind Sentinels',
  cluster: 'a Redis Cluster',
};

interface Column {
  head: string;
  cell: (worker: WorkerReading) => string;
  /** Words; numbers stand to the right. */
  words?: true;
}

const COLUMNS: readonly Column[] = [
  { head: 'host', cell: ({ host }) => printable(host), words: true },
  { head: 'worker', cell: ({ slot }) => String(slot) },
  { head: 'number', cell: ({ number }) => String(number) },
  { head: 'epoch', cell: ({ epoch }) => String(epoch) },
  { head: 'pid', cell: ({ pid }) => String(pid) },
  { head: 'version', cell: ({ version }) => printable(version), words: true },
  { head: 'up', cell: ({ started }) => duration(Math.max(0, Date.now() - started) / 1000) },
  { head: 'lease', cell: ({ leaseLeft }) => (leaseLeft > 0 ? `${(leaseLeft / 1000).toFixed(1)} s` : 'over') },
  { head: 'sessions', cell: ({ sessions }) => (sessions === null ? UNKNOWN : grouped(sessions)) },
  { head: 'inbox', cell: ({ inbox }) => (inbox ? grouped(inbox.entries) : UNKNOWN) },
  { head: 'oldest', cell: ({ inbox }) => (inbox ? `${grouped(inbox.age)} ms` : UNKNOWN) },
  { head: 'bytes', cell: ({ inbox }) => (inbox ? bytes(inbox.bytes) : UNKNOWN) },
  { head: 'state', cell: ({ state }) => state, words: true },
];
/** On a terminal that is too narrow these go first, in this order. */
const DISPENSABLE = ['bytes', 'number', 'pid', 'version', 'up', 'oldest'];

function workersTable(workers: readonly WorkerReading[], columns: number): string {
  for (let left = 0; ; left++) {
    const shown = COLUMNS.filter(({ head }) => !DISPENSABLE.slice(0, left).includes(head));
    const rows = workers.map((worker) => shown.map(({ cell }) => cell(worker)));
    const right = shown.filter(({ words }) => !words).map(({ head }) => head);
    const text = table(
      shown.map(({ head }) => head),
      rows,
      right,
    );
    if (left === DISPENSABLE.length || text.split('\n').every((line) => width(line) <= columns)) return text;
  }
}

function mastersTable({ masters, unreachable }: ClusterReading['redis']): string {
  const head = ['master', 'version', 'memory', 'of', 'replicas', 'commands/s'];
  const rows = masters.map(({ address, version, used, limit, replicas, commandsPerSecond }) => [
    printable(address),
    printable(version),
    bytes(used),
    limit === 0 ? 'all there is' : bytes(limit),
    String(replicas),
    grouped(commandsPerSecond),
  ]);
  for (const address of unreachable) rows.push([printable(address), 'cannot be reached']);
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
