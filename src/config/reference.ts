import { options, sections, type Option } from './options.js';

/** docs/configuration.md: every setting, from the schema. */
export function reference(): string {
  const top = options.filter((option) => option.path.length === 1);
  const parts = [INTRODUCTION, '## General', table(top)];
  for (const section of sections) {
    const inner = options.filter((option) => option.key.startsWith(`${section.key}.`));
    parts.push(`## ${section.key}`, section.meaning, table(inner));
  }
  return `${parts.join('\n\n')}\n`;
}

const INTRODUCTION = `# Configuration

<!-- Generated from src/config/config.ts by \`thrum config-reference\`; change it there. -->

Thrum starts without any configuration. What should differ comes from three sources, each overriding the one before:

1. one YAML file: \`--config FILE\`, else the file that \`THRUM_CONFIG\` names, else \`thrum.yaml\` where the broker is started;
2. environment variables, \`THRUM_\` and the key in capitals with \`_\` for \`.\`: \`THRUM_C2S_PORT=15222\`;
3. \`--set key=value\` on the command line, as often as needed: \`--set c2s.port=15222 --set admins=ann@example.org\`.

Values of variables and of \`--set\` are read as YAML; lists may also be given with commas. \`thrum check-config\` says what is
wrong, where, and what to do about it. A file for a public broker:

\`\`\`yaml
domain: example.org
data_dir: /var/lib/thrum
listen_address: 0.0.0.0
tls:
  certificate: /etc/thrum/fullchain.pem
  key: /etc/thrum/privkey.pem
https:
  port: 5443
admins:
  - ann@example.org
\`\`\`

Limits on size, depth and memory always hold; \`limits.enabled: false\` lifts rates, counts, quotas and the time allowed before
authentication (for test harnesses and closed networks).`;

/** Columns padded as prettier pads them, so that the file is well-formatted as it is generated. */
function table(rows: readonly Option[]): string {
  const cells = [
    ['key', 'default', 'allowed', 'meaning', 'variable'],
    ...rows.map((row) => [`\`${row.key}\``, shown(row.default), row.allowed, row.meaning, `\`${row.variable}\``]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const rule = widths.map((width) => '-'.repeat(width));
  const [head, ...body] = cells;
  return [head!, rule, ...body]
    .map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`)
    .join('\n');
}

function shown(value: unknown): string {
  return value === '' ? '(empty)' : `\`${Array.isArray(value) ? JSON.stringify(value) : String(value)}\``;
}
