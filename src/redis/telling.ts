import type { Logger } from 'pino';

/** So many lines are said in a span of that length, in milliseconds; what follows is said at its end. */
const MOST = 6;
const SPAN_MS = 60_000;

/** Says in the log whether Redis takes commands; of one that comes and goes all the time not each time. */
export class Telling {
  private began = -Infinity;
  private said = 0;
  private unsaid = 0;
  /** Undefined when it takes commands. */
  private trouble: string | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly log: Logger | undefined) {}

  up(): void {
    this.changed(undefined);
  }

  down(trouble: string): void {
    this.changed(trouble);
  }

  private changed(trouble: string | undefined): void {
    this.trouble = trouble;
    const now = Date.now();
    if (now - this.began >= SPAN_MS && this.timer === undefined) this.begin(now);
    if (this.said < MOST) return this.say();
    this.unsaid++;
    this.timer ??= setTimeout(() => this.late(), Math.max(0, this.began + SPAN_MS - now)).unref();
  }

  private begin(now: number): void {
    this.began = now;
    this.said = 0;
  }

  /** How it is by now. */
  private late(): void {
    this.timer = undefined;
    this.begin(Date.now());
    this.say();
  }

  private say(): void {
    const { trouble, unsaid } = this;
    const more = unsaid > 1 ? { unsaid: unsaid - 1 } : {};
    this.said++;
    this.unsaid = 0;
    if (trouble === undefined) this.log?.info(more, 'Redis takes commands');
    else this.log?.warn({ reason: trouble, ...more }, 'Redis does not take commands');
  }
}
