import { dropReasons } from './drops.js';
import { describeMetrics } from './registry.js';

/** The table of all metrics in docs/operations.md, as Markdown. */
export function metricsReference(): string {
  const rows = describeMetrics().map(
    ({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.join(', ') || '-'} | ${help} |`,
  );
  return ['| metric | type | labels | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

/** The table of all reasons for drops in docs/operations.md, as Markdown. */
export function dropsReference(): string {
  const rows = Object.entries(dropReasons).map(([reason, what]) => `| \`${reason}\` | ${what} |`);
  return ['| reason | what it was |', '| --- | --- |', ...rows].join('\n');
}
