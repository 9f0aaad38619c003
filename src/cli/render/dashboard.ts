import { readingText } from '../client/reading.js';
import { fit, padEnd, padStart, printable } from '../text.js';
import { bold, cyan, dim, green, yellow } from './screen.js';
import { sparkline } from './spark.js';
import { milliseconds, Rate, Samples } from './stats.js';
import { age } from './watch-view.js';

const KEPT_VALUES = 120;
const KEPT_LATENCIES = 4096;
/** A sensor that has been silent for so long shows in another colour. */
const STALE_MS = 5000;
/** Columns; on a terminal too narrow for all of them, bars and age are left out. */
const VALUE_WIDTH = 11;
const RATE_WIDTH = 7;
const AGE_WIDTH = 7;

interface Row {
  name: string;
  unit: string;
  values: number[];
  rate: Rate;
  last: number | undefined;
}

/** What the demo's dashboard knows. Times are milliseconds of one monotonic clock, passed in. */
export class Fleet {
  readonly latencies = new Samples(KEPT_LATENCIES);
  readonly rate = new Rate();
  published = 0;
  received = 0;
  failed = 0;
  private readonly rows = new Map<string, Row>();

  constructor(sensors: readonly { node: string; name: string; unit: string }[]) {
    for (const { node, name, unit } of sensors)
      this.rows.set(node, { name, unit, values: [], rate: new Rate(), last: undefined });
  }

  /** A notification arrived; `latency` from just before the publish was sent, in milliseconds. */
  arrived(node: string, value: number, now: number, latency: number | undefined): void {
    const row = this.rows.get(node);
    if (!row) return;
    this.received++;
    if (row.values.push(value) > KEPT_VALUES) row.values.shift();
    row.rate.add(now);
    row.last = now;
    this.rate.add(now);
    if (latency !== undefined) this.latencies.add(latency);
  }

  /** The screen's lines, each at most `columns` wide. */
  lines(now: number, columns: number, height: number, subtitle: string): string[] {
    const head = [bold(fit(`Thrum demo   ${subtitle}`, columns)), fit(this.summary(now), columns), ''];
    const rows = [...this.rows.values()];
    const narrow = Math.max(4, columns - VALUE_WIDTH - RATE_WIDTH - 4);
    const nameWidth = Math.min(20, narrow, Math.max(...rows.map((row) => row.name.length)));
    const room = Math.max(1, height - head.length - 2);
    const shown = rows.slice(0, room).map((row) => this.row(row, now, columns, nameWidth));
    const more = rows.length > room ? [dim(`… and ${rows.length - room} more`)] : [];
    return [...head, ...shown, ...more];
  }

  /** `60.0 msg/s   published 600 received 600   latency p50 0.42 ms p99 1.30 ms`. */
  summary(now: number): string {
    return `${this.rate.perSecond(now).toFixed(1)} msg/s   ${this.result()}`;
  }

  /** The summary without what is of the moment. */
  result(): string {
    const failed = this.failed > 0 ? ` failed ${this.failed}` : '';
    const latency = [0.5, 0.99].map((share) => milliseconds(this.latencies.percentile(share)));
    return `published ${this.published} received ${this.received}${failed}   latency p50 ${latency[0]} p99 ${latency[1]}`;
  }

  private row(row: Row, now: number, columns: number, nameWidth: number): string {
    const value = row.values.at(-1);
    const silent = row.last === undefined ? undefined : now - row.last;
    const text = padStart(value === undefined ? '–' : readingText({ value, unit: row.unit }), VALUE_WIDTH);
    const rate = padStart(`${row.rate.perSecond(now).toFixed(1)}/s`, RATE_WIDTH);
    const name = padEnd(fit(printable(row.name), nameWidth), nameWidth);
    const coloured = (silent !== undefined && silent < STALE_MS ? green : yellow)(text);
    const spark = Math.min(KEPT_VALUES, columns - nameWidth - VALUE_WIDTH - RATE_WIDTH - AGE_WIDTH - 7);
    if (spark < 1) return `${name}  ${coloured}  ${rate}`;
    const bars = cyan(padEnd(sparkline(row.values, spark), spark));
    return `${name}  ${coloured}  ${bars}  ${rate} ${dim(padStart(silent === undefined ? '' : age(silent), AGE_WIDTH))}`;
  }
}
