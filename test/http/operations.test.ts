import { readFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { options as settings } from '../../src/config/options.js';
import { dropReasons } from '../../src/metrics/drops.js';
import { describeMetrics } from '../../src/metrics/registry.js';

const root = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');
const names = new Set(describeMetrics().map(({ name }) => name));

const REASONS = /thrum_drops_total\{reason=~?"([^"]*)"/g;

/** Metrics that a text speaks of, without the suffixes of histograms. */
function mentioned(text: string): Set<string> {
  const found = text.match(/\bthrum_[a-z_]+/g) ?? [];
  return new Set(found.map((name) => (names.has(name) ? name : name.replace(/_(bucket|sum|count)$/, ''))));
}

/** Each part of such a pattern matches a reason that there is. */
function expectReasons(pattern: string): void {
  for (const part of pattern.split(/\\?\|/)) {
    expect(
      Object.keys(dropReasons).some((reason) => new RegExp(`^(?:${part})$`).test(reason)),
      part,
    ).toBe(true);
  }
}

test('documents that derive from the code are up to date', () => {
  const checked = spawnSync(process.execPath, ['scripts/generate-docs.mjs', '--check'], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(checked.stderr).toBe('');
  expect(checked.status).toBe(0);
});

describe('docs/operations.md', () => {
  const path = 'docs/operations.md';

  test('speaks of no metric that there is not', () => {
    for (const name of mentioned(read(path))) expect(names).toContain(name);
  });

  test('speaks of no limit that there is not', () => {
    const known = new Set(settings.map(({ key }) => key));
    for (const [, name] of read(path).matchAll(/`(limits\.[a-z_]+)/g)) expect(known).toContain(name);
  });

  test('speaks of no reason for a drop that there is not', () => {
    for (const [, asked] of read(path).matchAll(REASONS)) expectReasons(asked!);
  });
});

describe('the dashboard', () => {
  interface Panel {
    title: string;
    type: string;
    gridPos: { h: number; w: number; x: number; y: number };
    description?: string;
    targets?: { expr: string }[];
  }
  const text = read('grafana/dashboards/thrum.json');
  const { panels } = JSON.parse(text) as { panels: Panel[] };

  test('asks only for metrics that there are, and for each of them', () => {
    const asked = mentioned(text);
    for (const name of asked) expect(names).toContain(name);
    const unseen = [...names].filter((name) => !asked.has(name) && name !== 'thrum_worker_info');
    expect(unseen).toEqual([]);
  });

  test('takes rates of counters and percentiles of histograms', () => {
    const types = new Map(describeMetrics().map(({ name, type }) => [name, type]));
    for (const { expr } of panels.flatMap(({ targets = [] }) => targets)) {
      for (const [, name] of expr.matchAll(/(?:rate|increase)\((thrum_[a-z_]+)/g)) {
        const metric = name!.replace(/_(bucket|sum|count)$/, '');
        expect(types.get(name!) ?? types.get(metric)).not.toBe('gauge');
      }
      for (const name of mentioned(expr)) {
        if (types.get(name) === 'counter') expect(expr).toMatch(/rate\(|increase\(/);
      }
    }
  });

  test('has panels that say what they show and do not overlap', () => {
    const taken = new Set<string>();
    for (const { title, type, gridPos, description } of panels) {
      if (type !== 'row') expect(description, title).toBeTruthy();
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x},${y}`), title).toBe(false);
          taken.add(`${x},${y}`);
        }
      }
    }
  });

  test('is provisioned where compose puts it, with the data source it is told of', () => {
    const compose = parse(read('deploy/compose.yaml')) as { services: Record<string, { volumes: string[] }> };
    const provider = parse(read('grafana/provisioning/dashboards/thrum.yaml')) as {
      providers: { options: { path: string } }[];
    };
    const folder = provider.providers[0]!.options.path;
    expect(compose.services.grafana!.volumes).toContain(`../grafana/dashboards:${folder}:ro`);
    expect(compose.services.grafana!.volumes).toContain('../grafana/provisioning:/etc/grafana/provisioning:ro');
    const source = parse(read('grafana/provisioning/datasources/prometheus.yaml')) as {
      datasources: { url: string }[];
    };
    expect(source.datasources[0]!.url).toBe('http://prometheus:9090');
  });
});

describe('the deployment', () => {
  test('scrapes the broker that compose starts, with the alerts it mounts', () => {
    const compose = parse(read('deploy/compose.yaml')) as { services: Record<string, { volumes?: string[] }> };
    const prometheus = parse(read('deploy/prometheus.yml')) as {
      rule_files: string[];
      scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[];
    };
    expect(prometheus.scrape_configs[0]!.static_configs[0]!.targets).toEqual(['thrum:5280']);
    expect(Object.keys(compose.services)).toEqual(['thrum', 'prometheus', 'grafana']);
    for (const file of prometheus.rule_files) {
      expect(compose.services.prometheus!.volumes!.some((volume) => volume.includes(`:${file}:`))).toBe(true);
    }
  });

  test('alerts on metrics that there are, and tells where to read on', () => {
    const text = read('deploy/alerts.yml');
    for (const name of mentioned(text)) expect(names).toContain(name);
    for (const [, asked] of text.matchAll(REASONS)) expectReasons(asked!);
    const { groups } = parse(text) as { groups: { rules: { alert: string; annotations: { runbook: string } }[] }[] };
    const headings = [...read('docs/operations.md').matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
      title!.toLowerCase().replaceAll(' ', '-'),
    );
    for (const { alert, annotations } of groups.flatMap(({ rules }) => rules)) {
      expect(headings, alert).toContain(annotations.runbook.split('#')[1]);
    }
  });

  test('builds the image from what is there, and lets nothing else in', () => {
    const dockerfile = read('deploy/Dockerfile');
    expect(dockerfile).toMatch(/^USER node$/m);
    expect(dockerfile).toMatch(/^HEALTHCHECK /m);
    const ignored = read('deploy/Dockerfile.dockerignore').split('\n');
    expect(ignored).toContain('*');
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, files]) => files!.split(' '));
    for (const file of copied) expect(ignored).toContain(`!${file.replace('./', '')}`);
  });

  const systemd = spawnSync('systemd-analyze', ['--version']).status === 0;
  test.skipIf(!systemd)('runs as a unit that systemd understands and that gives little away', () => {
    const unit = new URL('deploy/thrum.service', root).pathname;
    const verified = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' });
    // Where Node is installed elsewhere, systemd says so; everything else is ours.
    const complaints = verified.stderr
      .split('\n')
      .filter((line) => line.includes('thrum.service') && !line.includes('/usr/bin/node'));
    expect(complaints).toEqual([]);
    const rated = spawnSync('systemd-analyze', ['security', '--offline=yes', unit], { encoding: 'utf8' });
    const exposure = /exposure level for thrum.service: ([\d.]+)/.exec(rated.stdout)?.[1];
    if (exposure !== undefined) expect(Number(exposure)).toBeLessThan(2);
  });
});
