import type { Output } from './screen.js';

/** The rate is of the last so many milliseconds. */
const WINDOW_MS = 10_000;
/** A terminal shows a bar, drawn anew that often; elsewhere a line is written now and then. */
const BAR_MS = 100;
const LINE_MS = 5_000;
const BAR_COLUMNS = 24;
/** Of a terminal that is less wide, the bar takes half as much. */
const WIDE = 100;

export interface ProgressOptions {
  output: Output;
  /** Milliseconds that only grow. */
  now?: () => number;
}

/** What the work consists of. */
export interface Share {
  what: string;
  done: number;
  total: number;
}

/** How far long work has come: a bar on a terminal, lines elsewhere. */
export class ProgressBar {
  private title = '';
  private total: number | undefined;
  private done = 0;
  private shares: readonly Share[] = [];
  private began = 0;
  private samples: { at: number; done: number }[] = [];
  private shown = -Infinity;
  private readonly now: () => number;

  constructor(private readonly options: ProgressOptions) {
    this.now = options.now ?? (() => performance.now());
  }

  /** A step of that much work begins; undefined when nobody knows how much. */
  begin(title: string, total: number | undefined): void {
    this.end();
    this.title = title;
    this.total = total;
    this.done = 0;
    this.shares = [];
    this.began = this.now();
    this.samples = [];
    this.shown = -Infinity;
    if (total === undefined) this.show();
  }

  /** So much is done, of that. */
  at(done: number, shares: readonly Share[]): void {
    const now = this.now();
    this.done = done;
    this.shares = shares;
    this.samples.push({ at: now, done });
    while (this.samples.length > 2 && this.samples[1]!.at < now - WINDOW_MS) this.samples.shift();
    if (now - this.shown < (this.options.output.isTTY ? BAR_MS : LINE_MS)) return;
    this.show();
  }

  /** Leaves the last state on the terminal. */
  end(): void {
    if (this.title === '') return;
    if (this.samples.length > 0) this.show();
    if (this.options.output.isTTY) this.options.output.write('\n');
    this.title = '';
  }

  private show(): void {
    const { output } = this.options;
    this.shown = this.now();
    if (output.isTTY) output.write(`\r${this.line((output.columns ?? 80) - 1)}\x1b[K`);
    else output.write(`${this.line(Infinity)}\n`);
  }

  /** What does not fit is left out: how long it takes matters more than of what. */
  private line(columns: number): string {
    const { title, total, done } = this;
    if (total === undefined) return `${title}…`.slice(0, columns);
    const share = total === 0 ? 1 : Math.min(1, done / total);
    const width = columns < WIDE - 1 ? BAR_COLUMNS / 2 : BAR_COLUMNS;
    const filled = Math.floor(share * width);
    const bar = this.options.output.isTTY ? ` ${'█'.repeat(filled)}${'░'.repeat(width - filled)}` : ':';
    const rate = this.rate();
    const parts = [`${title}${bar}`, `${Math.floor(share * 100)} %`.padStart(5)];
    if (done >= total) parts.push(`in ${duration((this.now() - this.began) / 1000)}`);
    else if (rate > 0) parts.push(`${duration((total - done) / rate)} left`, `${grouped(Math.round(rate))}/s`);
    const line = parts.join('  ');
    const details = this.details(done >= total || columns === Infinity);
    while (details.length > 0 && line.length + 2 + details.join(', ').length > columns) details.shift();
    return details.length > 0 ? `${line}  ${details.join(', ')}` : line.slice(0, columns);
  }

  /** In words: all of it, or what is not done yet. */
  private details(all: boolean): string[] {
    return this.shares
      .filter(({ done, total }) => total > 0 && (all || done < total))
      .map(({ what, done, total }) =>
        done === total ? `${grouped(total)} ${what}` : `${grouped(done)}/${grouped(total)} ${what}`,
      );
  }

  private rate(): number {
    const first = this.samples[0];
    const last = this.samples.at(-1);
    if (first === undefined || last === undefined || last.at <= first.at) return 0;
    return ((last.done - first.done) * 1000) / (last.at - first.at);
  }
}

/** `1 234 567`: groups of three, a narrow space between them. */
export function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

/** `0:07`, `12:34`, `3:25:45`. */
export function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const [first, ...rest] = parts[0] === 0 ? parts.slice(1) : parts;
  return [String(first), ...rest.map((part) => String(part).padStart(2, '0'))].join(':');
}
