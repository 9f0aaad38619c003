import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generate } from 'selfsigned';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { defaults } from '../../src/config/config.js';
import { loadConfig } from '../../src/config/load.js';
import { options } from '../../src/config/options.js';
import { formatProblem } from '../../src/config/problem.js';
import { describeMetrics } from '../../src/metrics/registry.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const filesIn = (folder: string) =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length));

const shipped = [...filesIn('deploy'), ...filesIn('grafana')];
const manual = read('docs/operations.md');

/** GitHub's anchors of a Markdown text. */
const anchorsOf = (text: string) =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );

describe('the configurations that are shown', () => {
  let folder: string;
  const certified: string[] = [];
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'thrum-ops-'));
    const pair = await generate([{ name: 'commonName', value: 'example.org' }], {
      keyType: 'ec',
      extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: 'example.org' }] }],
    });
    const [certificate, key] = [join(folder, 'certificate.pem'), join(folder, 'key.pem')];
    writeFileSync(certificate, pair.cert);
    writeFileSync(key, pair.private);
    certified.push(`tls.certificate=${certificate}`, `tls.key=${key}`);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** What the loader says of it, given a certificate for its domain. */
  const said = (text: string) => {
    const file = join(folder, 'thrum.yaml');
    // What shows one section only is of the broker that the others show.
    writeFileSync(file, /^domain:/m.test(text) ? text : `domain: example.org\n${text}`);
    return loadConfig({ file, environment: {}, set: certified }).problems.map(formatProblem);
  };

  test('deploy/thrum.yaml is accepted without a warning', () => {
    expect(said(read('deploy/thrum.yaml'))).toEqual([]);
  });

  test('so is what it says of several hosts, when that is no comment any more', () => {
    const text = read('deploy/thrum.yaml')
      .replace(/^# (?=(store|redis|cluster|proxy_protocol|shutdown):|  )/gm, '')
      .replace('port: 5443', 'port: off');
    expect(text).toMatch(/^store: redis$/m);
    expect(text).toMatch(/^  advertise: /m);
    expect(said(text)).toEqual([]);
  });

  test('so is each one in the manual', () => {
    const shown = [...manual.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text]) => text!);
    expect(shown.length).toBeGreaterThan(0);
    for (const text of shown) expect(said(text)).toEqual([]);
  });

  test('no file sets a variable that the broker does not read', () => {
    const known = new Set([...options.map(({ variable }) => variable), 'THRUM_CONFIG']);
    const used = shipped.flatMap((file) => read(file).match(/\bTHRUM_[A-Z0-9_]+/g) ?? []);
    expect(used).toContain('THRUM_LISTEN_ADDRESS');
    for (const name of used) expect(known).toContain(name);
  });

  test('the manual names no setting that there is not', () => {
    const sections = [...new Set(options.flatMap(({ path }) => (path.length > 1 ? [path[0]!] : [])))];
    // The last is a file in data_dir.
    const keys = new Set([...options.map(({ key }) => key), 'sasl.secret']);
    const named = [...manual.matchAll(new RegExp(`\`((?:${sections.join('|')})\\.[a-z_]+)[\`:]`, 'g'))];
    expect(named.length).toBeGreaterThan(20);
    for (const [, key] of named) expect(keys).toContain(key);
  });
});

describe('what is shipped', () => {
  test('parses', () => {
    for (const file of shipped.filter((name) => /\.ya?ml$/.test(name) && !name.includes('/templates/'))) {
      for (const document of parseAllDocuments(read(file))) {
        expect('errors' in document ? document.errors : [], file).toEqual([]);
      }
    }
  });

  test('is given more time to stop than the broker takes', () => {
    const grace = defaults().shutdown.grace_seconds;
    const { services } = parse(read('deploy/compose.yaml')) as { services: { thrum: { stop_grace_period: string } } };
    expect(Number.parseInt(services.thrum.stop_grace_period)).toBeGreaterThan(grace + 5);
    const unit = /^TimeoutStopSec=(\d+)s$/m.exec(read('deploy/thrum.service'));
    expect(Number(unit?.[1])).toBeGreaterThan(grace + 5);
  });

  test('opens the ports that the broker listens on by default', () => {
    const config = defaults();
    const ports = [config.c2s.port, config.c2s_tls.port, config.http.port];
    expect(/^EXPOSE (.*)$/m.exec(read('deploy/Dockerfile'))?.[1]).toBe(ports.join(' '));
    const { services } = parse(read('deploy/compose.yaml')) as { services: { thrum: { ports: string[] } } };
    expect(services.thrum.ports.map((mapped) => Number(mapped.split(':').at(-1)))).toEqual(ports);
  });

  test('keeps V8 able to make machine code, and reloads by SIGHUP', () => {
    const unit = read('deploy/thrum.service');
    expect(unit).not.toMatch(/^MemoryDenyWriteExecute=(yes|true|1|on)/m);
    expect(unit).toMatch(/^ExecReload=\/bin\/kill -HUP \$MAINPID$/m);
  });

  test('keeps secrets out of the image, too, for builders that only know a .dockerignore at the root', () => {
    expect(read('.dockerignore')).toBe(read('deploy/Dockerfile.dockerignore'));
  });

  test('builds the image from files that there are', () => {
    for (const [, sources] of read('deploy/Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)) {
      for (const source of sources!.split(' ')) expect(existsSync(join(root, source)), source).toBe(true);
    }
  });

  test('mounts only files that there are', () => {
    const { services } = parse(read('deploy/compose.yaml')) as { services: Record<string, { volumes?: string[] }> };
    const mounted = Object.values(services)
      .flatMap(({ volumes = [] }) => volumes)
      .filter((volume) => volume.startsWith('.'));
    expect(mounted.length).toBeGreaterThan(0);
    for (const volume of mounted) expect(existsSync(join(root, 'deploy', volume.split(':')[0]!)), volume).toBe(true);
  });
});

describe('queries', () => {
  interface Panel {
    id: number;
    targets?: { expr: string }[];
    panels?: Panel[];
  }
  const panels = (JSON.parse(read('grafana/dashboards/thrum.json')) as { panels: Panel[] }).panels.flatMap((panel) => [
    panel,
    ...(panel.panels ?? []),
  ]);
  const { groups } = parse(read('deploy/alerts.yml')) as {
    groups: { rules: { alert: string; expr: string; labels: { severity: string } }[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  const inManual = [...manual.matchAll(/`([^`]*thrum_[^`]*)`/g)].map(([, query]) => query!.replaceAll('\\|', '|'));
  const queries = [
    ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    ...rules.map(({ expr }) => expr),
    ...inManual,
  ];

  test('select and group by labels that their metrics have', () => {
    const labels = new Map(describeMetrics().map(({ name, labels }) => [name, labels]));
    // What Prometheus adds, and the bounds of histograms.
    const common = ['job', 'instance', 'le'];
    let seen = 0;
    for (const query of queries) {
      const metrics = (query.match(/\bthrum_[a-z_]+/g) ?? []).map((name) =>
        labels.has(name) ? name : name.replace(/_(bucket|sum|count)$/, ''),
      );
      const allowed = [...common, ...metrics.flatMap((name) => labels.get(name) ?? [])];
      const grouped = [...query.matchAll(/\b(?:by|without) *\(([^)]*)\)/g)].flatMap(([, list]) => list!.split(/, */));
      const selected = [...query.matchAll(/([a-z_]+) *(?:=~|!~|!=|=) *"/g)].map(([, name]) => name!);
      for (const label of [...grouped, ...selected]) {
        expect(allowed, query).toContain(label);
        seen++;
      }
    }
    expect(seen).toBeGreaterThan(50);
  });

  test('tell the workers of one host from those of another, and one cluster from another', () => {
    for (const { expr } of [...panels.flatMap(({ targets = [] }) => targets), ...rules])
      for (const [, list] of expr.matchAll(/\bby *\(([^)]*)\)/g))
        if (list!.includes('worker')) expect(list!.split(/, */), expr).toContain('instance');
    for (const { alert, expr } of rules)
      expect(expr, alert).not.toMatch(/\b(?:sum|min|max|avg|count) *\((?!.*\) *by\b)/);
  });

  test('have their brackets in pairs', () => {
    for (const query of queries) {
      const open: string[] = [];
      for (const [sign] of query.replace(/"[^"]*"/g, '""').matchAll(/[()[\]{}]/g)) {
        const partner = { ')': '(', ']': '[', '}': '{' }[sign];
        if (partner === undefined) open.push(sign);
        else expect(open.pop(), query).toBe(partner);
      }
      expect(open, query).toEqual([]);
    }
  });

  test('panels have identifiers of their own, alerts names of their own and a severity', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const { alert, labels } of rules) expect(['page', 'warn'], alert).toContain(labels.severity);
  });
});

test('every link in the manual leads somewhere', () => {
  for (const [, target] of manual.matchAll(/\]\(([^)\s]+)\)/g)) {
    const [file, anchor] = target!.split('#');
    if (/^https?:/.test(target!)) continue;
    const path = file === '' ? 'docs/operations.md' : join('docs', file!);
    expect(existsSync(join(root, path)), target).toBe(true);
    if (anchor !== undefined) expect(anchorsOf(read(path)), target).toContain(anchor);
  }
  for (const [file] of manual.matchAll(/(?<=`)(?:deploy|grafana)\/[\w./-]+/g)) {
    expect(existsSync(join(root, file)), file).toBe(true);
  }
});
