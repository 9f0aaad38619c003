import type { Histogram } from './histogram.js';

/** What the registry asks when it is scraped, beside the counters. */
export interface MetricSources {
  /** Place in the pool. */
  worker: number;
  version: string;
  /** Milliseconds since the epoch when the server's certificate expires. */
  certificates?: { readonly expires: number } | undefined;
  bus?: { readonly backlog: number; readonly congested: boolean } | undefined;
  /** Where there are several hosts. */
  hosts?: { status(): HostsState } | undefined;
}

export interface HostsState {
  /** Milliseconds since the lease was renewed. */
  leaseAge: number;
  /** How long it holds. */
  leaseSeconds: number;
  /** What each worker of another host has not acknowledged, and for how many milliseconds. */
  peers: readonly { batches: number; bytes: number; age: number }[];
}

/** One value and its labels. */
export type Sample = [labels: Record<string, string | number>, value: number];

export interface Definition {
  name: string;
  help: string;
  type: 'counter' | 'gauge' | 'histogram';
  labels: readonly string[];
  /** How the workers' values become one; series of single workers have a label `worker` instead. */
  aggregator: 'sum' | 'min' | 'max';
  read(sources: MetricSources): Sample[] | Histogram;
}

type Table = Readonly<Record<string, number>>;

export const one = (value: number): Sample[] => [[{}, value]];
const by = (label: string, table: Table): Sample[] =>
  Object.entries(table).map(([key, value]) => [{ [label]: key }, value]);

export function counter(name: string, help: string, read: () => number): Definition {
  return { name, help, type: 'counter', labels: [], aggregator: 'sum', read: () => one(read()) };
}

export function gauge(name: string, help: string, read: () => number): Definition {
  return { name, help, type: 'gauge', labels: [], aggregator: 'sum', read: () => one(read()) };
}

export function labelled(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  label: string,
  read: () => Table,
): Definition {
  return { name, help, type, labels: [label], aggregator: 'sum', read: () => by(label, read()) };
}

export function histogram(name: string, help: string, shown: Histogram): Definition {
  return { name, help, type: 'histogram', labels: [], aggregator: 'sum', read: () => shown };
}

/** A series for each worker. */
export function perWorker(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  read: (sources: MetricSources) => number,
): Definition {
  const labels = ['worker'];
  return { name, help, type, labels, aggregator: 'sum', read: (from) => [[{ worker: from.worker }, read(from)]] };
}

/** A series for each worker, where there are several hosts. */
export function perMember(name: string, help: string, read: (state: HostsState) => number): Definition {
  return {
    ...perWorker('gauge', name, help, () => 0),
    read: ({ worker, hosts }) => (hosts === undefined ? [] : [[{ worker }, read(hosts.status())]]),
  };
}

/** Of the peer that is worst off. */
export const worst = ({ peers }: HostsState, figure: 'batches' | 'bytes' | 'age'): number =>
  peers.reduce((most, peer) => Math.max(most, peer[figure]), 0);
