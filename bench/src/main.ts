import { mkdirSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { Accounts, startBroker } from './broker.js';
import { startHosts } from './hosts.js';
import { http } from './http.js';
import { Rounds } from './rounds.js';
import { allRows, type Row } from './rows.js';
import { record, Table } from './table.js';

const USAGE = `Load on a broker that this starts itself, one fresh one for each line of the table.

  npm run bench -- [scenarios] [options]

  --only a,b          scenarios: fanout, many, chat, connect, storm, hosts, http (default: all)
  --variant a,b       of the scenarios: plain, acknowledged, persistent, 20/s, first, again
  --transport a,b     tcp, tls, ws
  --workers n         as many workers in every line
  --seconds n         measured time of each line (default 5)
  --rounds n          every line so many times, in turns, and medians (default 1)
  --connections n     of the connect and storm lines (default 2000)
  --payload n         bytes of a reading (default 230)
  --set key=value     a setting of the broker; may be repeated
  --list              only say what would run

Deliveries are counted by the generator, one process; server CPU is that of all its processes. "lost", "twice" and "reordered" must
be 0. Lines are also written as JSON to bench/results/.
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    variant: { type: 'string' },
    transport: { type: 'string' },
    workers: { type: 'string' },
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '1' },
    connections: { type: 'string', default: '2000' },
    payload: { type: 'string', default: '230' },
    set: { type: 'string', multiple: true, default: [] },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

if (positionals.length > 0) values.only = [values.only, ...positionals].filter(Boolean).join();
if (values.help) process.stdout.write(USAGE);
else process.exitCode = await main();

async function main(): Promise<number> {
  const rows = chosen();
  if (values.list) {
    for (const { scenario, variant, transport, workers } of rows) {
      console.log(`${scenario} ${variant || 'plain'} ${transport}, workers: ${workers}`);
    }
    return 0;
  }
  console.log(
    `${cpus().length} cores (${cpus()[0]?.model}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`,
  );
  const accounts = new Accounts();
  const table = new Table();
  const results: Record<string, unknown>[] = [];
  const rounds = new Rounds();
  const count = Math.max(1, Math.trunc(Number(values.rounds)) || 1);
  let failures = 0;
  if (rows.length > 0) table.head();
  try {
    for (const row of Array.from({ length: count }, () => rows).flat()) {
      const outcome = await runRow(row, accounts).catch((error: Error) => error);
      if (outcome instanceof Error) {
        failures++;
        table.failed(row, outcome);
        continue;
      }
      table.row(row, outcome);
      if (outcome.lost + outcome.duplicates + outcome.reordered + outcome.errors > 0) failures++;
      results.push(record(row, outcome));
      rounds.add(row, outcome);
    }
    if (count > 1) rounds.print();
    if (wanted('only', 'http') && values.variant === undefined) results.push(...(await http(settings())));
  } finally {
    await accounts.remove();
  }
  keep(results);
  return failures === 0 ? 0 : 1;
}

async function runRow(row: Row, accounts: Accounts) {
  if (row.hosts !== undefined) {
    const cluster = await startHosts(row.hosts, row.accounts, { ...row.settings, ...settings() });
    try {
      return await row.run(cluster, Number(values.seconds));
    } finally {
      await cluster.stop();
    }
  }
  const dataDir = await accounts.copy(row.accounts);
  try {
    const broker = await startBroker(dataDir, { workers: row.workers, ...row.settings, ...settings() });
    try {
      return await row.run(broker, Number(values.seconds));
    } finally {
      await broker.stop();
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

function chosen(): Row[] {
  const workers = values.workers === undefined ? undefined : Number(values.workers);
  const rows = allRows({ connections: Number(values.connections), payloadBytes: Number(values.payload) }).filter(
    (row) =>
      wanted('only', row.scenario) && wanted('variant', row.variant || 'plain') && wanted('transport', row.transport),
  );
  if (workers === undefined) return rows;
  return rows.filter((row) => row.workers === 1).map((row) => ({ ...row, workers }));
}

function wanted(option: 'only' | 'variant' | 'transport', value: string): boolean {
  return values[option] === undefined || values[option].split(',').includes(value);
}

function settings(): Record<string, string> {
  return Object.fromEntries(
    values.set.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
  );
}

function keep(results: Record<string, unknown>[]): void {
  const folder = new URL('../results/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  const name = new Date().toISOString().replace(/[:.]/g, '-');
  writeFileSync(new URL(`${name}.json`, folder), `${JSON.stringify({ node: process.version, results }, null, 2)}\n`);
}
