const BARS = '▁▂▃▄▅▆▇█';

/** The last `columns` values as a line of bars between the least and the greatest of them. */
export function sparkline(values: readonly number[], columns: number): string {
  const shown = values.slice(-columns);
  const least = Math.min(...shown);
  const span = Math.max(...shown) - least;
  const bar = (value: number) => BARS[span === 0 ? 3 : Math.min(7, Math.floor(((value - least) / span) * 8))]!;
  return shown.map(bar).join('');
}
