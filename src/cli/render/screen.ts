/** Style codes (ECMA-48 SGR); nothing is styled when NO_COLOR is set (no-color.org). */
const style = (code: string) => (text: string) => (process.env['NO_COLOR'] ? text : `\x1b[${code}m${text}\x1b[0m`);
export const bold = style('1');
export const dim = style('2');
export const cyan = style('36');
export const green = style('32');
export const yellow = style('33');

export interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
  rows?: number;
}

/** The whole terminal, drawn anew in place; what was there before comes back at the end. */
export class Screen {
  constructor(private readonly output: Output) {}

  get columns(): number {
    return this.output.columns ?? 80;
  }

  get rows(): number {
    return this.output.rows ?? 24;
  }

  open(): void {
    this.output.write('\x1b[?1049h\x1b[?25l\x1b[2J');
  }

  /** Lines longer than the screen is wide must be cut by the caller; those below its end are left out. */
  draw(lines: readonly string[]): void {
    const shown = lines.slice(0, this.rows);
    this.output.write(`\x1b[H${shown.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`);
  }

  close(): void {
    this.output.write('\x1b[?25h\x1b[?1049l');
  }
}
