import { bold, cyan, dim } from './screen.js';
import { sparkline } from './spark.js';
import { Rate } from './stats.js';
import { fit, printable } from '../text.js';
import { readingOf, readingText } from '../client/reading.js';
import type { Item } from '../client/pubsub.js';

/** One item as the watcher got it. */
export interface Seen {
  item: Item;
  /** Milliseconds since the epoch. */
  received: number;
  /** Kept from before the watch began. */
  old: boolean;
}

const KEPT_VALUES = 240;
const KEPT_ITEMS = 100;

/** What `thrum watch` knows of a node, and how it shows it. Time is passed in, so that drawing is a function of the state. */
export class WatchView {
  private readonly values: number[] = [];
  private readonly seen: Seen[] = [];
  private readonly rate = new Rate();
  private count = 0;

  constructor(
    private readonly node: string,
    private readonly service: string,
  ) {}

  add(seen: Seen): void {
    this.seen.unshift(seen);
    this.seen.length = Math.min(this.seen.length, KEPT_ITEMS);
    const reading = readingOf(seen.item.payload);
    if (reading && this.values.push(reading.value) > KEPT_VALUES) this.values.shift();
    if (seen.old) return;
    this.count++;
    this.rate.add(seen.received);
  }

  /** The screen's lines, each at most `columns` wide. */
  lines(now: number, columns: number, rows: number, note: string): string[] {
    const head = fit(`${printable(this.node)} at ${this.service}`, columns);
    const last = this.seen[0];
    const facts = [
      `${this.count} item${this.count === 1 ? '' : 's'}`,
      `${this.rate.perSecond(now).toFixed(1)}/s`,
      ...(last ? [`last ${age(now - last.received)} ago`] : ['waiting for the first item']),
      note,
    ];
    const lines = [bold(head), dim(fit(facts.filter(Boolean).join('   '), columns)), ''];
    const reading = readingOf(last?.item.payload);
    if (reading) lines.push(`${bold(readingText(reading))}  ${cyan(sparkline(this.values, columns - 16))}`, '');
    for (const seen of this.seen.slice(0, Math.max(1, rows - lines.length - 1)))
      lines.push(fit(watchLine(seen), columns));
    return lines;
  }
}

/** `12:00:01.123  21.40 °C  id`: an item in one line, for pipes and for the list on the screen. */
export function watchLine({ item, received, old }: Seen): string {
  const reading = readingOf(item.payload);
  const time = new Date(reading?.at || received).toISOString();
  const content = reading ? readingText(reading) : printable(item.payload?.toString() ?? '(no payload)');
  return `${time}  ${content}  ${printable(item.id)}${old ? '  (kept)' : ''}`;
}

/** `0.4 s`, `12 s`, `3 min`, `2 h`. */
export function age(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(0)} h`;
}
