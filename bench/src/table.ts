import type { Row } from './rows.js';
import type { Result } from './run.js';

const COLUMNS = [
  'load',
  'over',
  'workers',
  'done/s',
  'per server CPU s',
  'µs CPU each',
  'and Redis',
  'p50 ms',
  'p99 ms',
  'lost',
  'twice',
  'reordered',
  'errors',
  'server CPU',
  'generator CPU',
  '',
] as const;

/** One line, in the order of {@link COLUMNS}. */
function cells(row: Row, result: Result): string[] {
  const { done, seconds, serverCpu, storeCpu, generatorCpu, latencies } = result;
  const milliseconds = (share: number) => (latencies.percentile(share) / 1000).toFixed(2);
  return [
    row.variant === '' ? row.scenario : `${row.scenario} (${row.variant})`,
    row.transport,
    String(row.workers),
    whole(done / seconds),
    serverCpu === 0 ? '-' : whole(done / serverCpu),
    done === 0 ? '-' : ((serverCpu / done) * 1e6).toFixed(2),
    row.hosts === undefined || done === 0 ? '-' : ((storeCpu / done) * 1e6).toFixed(2),
    milliseconds(0.5),
    milliseconds(0.99),
    String(result.lost),
    String(result.duplicates),
    String(result.reordered),
    String(result.errors),
    `${((serverCpu / seconds) * 100).toFixed(0)} %`,
    `${((generatorCpu / seconds) * 100).toFixed(0)} %`,
    Object.entries(result.extra ?? {})
      .map(([name, value]) => `${value} ${name}`)
      .join(', '),
  ];
}

/** Prints lines as they come: the widths are those of the headings and of what rows may hold. */
export class Table {
  private readonly widths = COLUMNS.map((column, i) => Math.max(column.length, i === 0 ? 21 : 7));

  head(): void {
    console.log(this.line(COLUMNS));
  }

  row(row: Row, result: Result): void {
    console.log(this.line(cells(row, result)));
  }

  failed(row: Row, error: Error): void {
    const name = row.variant === '' ? row.scenario : `${row.scenario} (${row.variant})`;
    console.log(
      `${this.line([name, row.transport, String(row.workers)]).trimEnd()}  FAILED: ${error.message.slice(0, 500)}`,
    );
  }

  private line(values: readonly string[]): string {
    return values
      .map((value, i) => (i < 2 ? value.padEnd(this.widths[i]!) : value.padStart(this.widths[i]!)))
      .join('  ');
  }
}

/** A row as JSON, for keeping. */
export function record(row: Row, result: Result): Record<string, unknown> {
  const { latencies, ...rest } = result;
  const { scenario, variant, transport, workers } = row;
  const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => Math.round(latencies.percentile(share)));
  return { scenario, variant, transport, workers, ...rest, p50_us: p50, p99_us: p99, p999_us: p999 };
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}
