import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { options } from '../../src/config/options.js';
import { loadConfig } from '../../src/config/load.js';
import { formatProblem } from '../../src/config/problem.js';
import { describeMetrics } from '../../src/metrics/registry.js';

const chart = resolve('deploy/kubernetes/thrum');
const read = (path: string) => readFileSync(join(chart, path), 'utf8');

interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels: Record<string, string> };
  // What a test looks at differs from kind to kind.
  spec: any;
  data: Record<string, string>;
}
const manifests = (text: string): Manifest[] =>
  parseAllDocuments(text)
    .map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null);
const plain = readFileSync(resolve('deploy/kubernetes/manifests.yaml'), 'utf8');

/** helm is no package of Debian's: the checks of the templates themselves run where it is installed. */
const helm = spawnSync('helm', ['version', '--short'], { encoding: 'utf8' });
const render = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(
    'helm',
    ['template', 'thrum', chart, '--kube-version', '1.30.0', ...args],
    { encoding: 'utf8' },
  );
  return { status, stderr, all: status === 0 ? manifests(stdout) : [] };
};

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'thrum-chart-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What holds for every way to install it. */
function sound(all: readonly Manifest[]): void {
  const one = (kind: string, name = 'thrum') => {
    const found = all.filter(({ kind: k, metadata }) => k === kind && metadata.name === name);
    expect(found, `${kind} ${name}`).toHaveLength(1);
    return found[0]!;
  };
  const set = one('StatefulSet').spec;
  const { metadata, spec: pod } = set.template;
  const [container] = pod.containers;
  const given = (container.env as { name: string; value?: string }[]).map(({ name, value }) => [name, value ?? 'x']);
  const config = loaded(one('ConfigMap').data['thrum.yaml']!, Object.fromEntries(given) as Record<string, string>);

  // Everything that selects pods selects these.
  const labels = Object.entries(metadata.labels as Record<string, string>);
  const selectors = [
    set.selector.matchLabels,
    ...all.flatMap(({ kind, spec }) => (kind === 'Service' ? [spec.selector] : [])),
  ];
  selectors.push(
    ...all.filter(({ kind }) => kind === 'PodDisruptionBudget').map(({ spec }) => spec.selector.matchLabels),
  );
  for (const selector of selectors) for (const entry of Object.entries(selector)) expect(labels).toContainEqual(entry);
  expect(one('Service', set.serviceName).spec.clusterIP).toBe('None');

  // Ports lead somewhere.
  const ports = new Map(container.ports.map(({ name, containerPort }: any) => [name, containerPort]));
  expect([...ports.values()]).toEqual([config.c2s.port, config.c2s_tls.port, config.http.port]);
  for (const { kind, spec } of all)
    if (kind === 'Service') for (const { targetPort } of spec.ports) expect([...ports.keys()]).toContain(targetPort);
  expect(container.readinessProbe.httpGet).toEqual({ path: '/readyz', port: 'http' });
  expect(container.livenessProbe.httpGet).toEqual({ path: '/healthz', port: 'http' });

  // The end takes as long as the configuration says.
  const paused = Number(container.lifecycle.preStop.exec.command[1]);
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(paused + config.shutdown.grace_seconds + 5);
  expect(config.shutdown.spread_seconds).toBeLessThanOrEqual(config.shutdown.grace_seconds);

  // As hardened as the systemd unit.
  expect(pod.automountServiceAccountToken).toBe(false);
  expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
  expect(container.securityContext).toEqual({
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  });

  // What is mounted is there, and what the configuration names is mounted; no mount lies in another, read-only one.
  const volumes = pod.volumes.map(({ name }: any) => name);
  const places: string[] = container.volumeMounts.map(({ mountPath }: any) => mountPath);
  for (const { name } of container.volumeMounts) expect(volumes).toContain(name);
  for (const place of places) for (const other of places) expect(place.startsWith(`${other}/`)).toBe(false);
  expect(places).toContain(config.data_dir);
  const variables = options.map(({ variable }) => variable);
  for (const { name } of container.env) expect(variables).toContain(name);
  const secrets = all.filter(({ kind }) => kind === 'Secret').map(({ metadata: { name } }) => name);
  for (const { valueFrom } of container.env) {
    const wanted = valueFrom?.secretKeyRef?.name;
    if (wanted !== undefined && secrets.length > 0) expect(secrets).toContain(wanted);
  }
}

/** The configuration as the broker takes it, from the file and the container's variables. */
function loaded(text: string, environment: Record<string, string>) {
  const file = join(folder, 'thrum.yaml');
  // The files that it names are in the pod only.
  const { tls: _, ...settings } = parse(text) as { tls?: unknown; redis: Record<string, unknown> };
  for (const name of ['ca', 'certificate', 'key']) delete settings.redis[name];
  writeFileSync(file, JSON.stringify(settings));
  const { config, problems } = loadConfig({ file, environment, set: [] });
  expect(problems.filter(({ warning }) => !warning).map(formatProblem)).toEqual([]);
  expect(config!.store).toBe('redis');
  return config!;
}

describe('deploy/kubernetes', () => {
  test('manifests.yaml is sound, and has all that three hosts need', () => {
    const all = manifests(plain);
    sound(all);
    expect(all.map(({ kind }) => kind).sort()).toEqual(
      ['ConfigMap', 'PodDisruptionBudget', 'Service', 'Service', 'Service', 'ServiceAccount', 'StatefulSet'].sort(),
    );
    expect(all.find(({ kind }) => kind === 'StatefulSet')!.spec.replicas).toBe(3);
  });

  test('every value is described by the schema, and every value that a template asks for is there', () => {
    const values = parse(read('values.yaml')) as Record<string, unknown>;
    const { properties } = JSON.parse(read('values.schema.json')) as { properties: object };
    const paths = (node: unknown, prefix = ''): string[] =>
      node !== null && typeof node === 'object' && !Array.isArray(node)
        ? Object.entries(node).flatMap(([key, value]) => [`${prefix}${key}`, ...paths(value, `${prefix}${key}.`)])
        : [];
    const described = (schema: any, prefix = ''): string[] =>
      Object.entries(schema ?? {}).flatMap(([key, value]: [string, any]) => [
        `${prefix}${key}`,
        ...described(value.properties, `${prefix}${key}.`),
      ]);
    // Resources are Kubernetes' own; global is Helm's.
    const own = (list: string[]) => list.filter((path) => !/^(resources\.|global$)/.test(path)).sort();
    expect(own(described(properties))).toEqual(own(paths(values)));
    const templates = readdirSync(join(chart, 'templates')).map((name) => read(`templates/${name}`));
    const asked = templates.flatMap((text) =>
      [...text.matchAll(/\.Values\.([A-Za-z0-9.]+)/g)].map(([, path]) => path!),
    );
    expect(asked.length).toBeGreaterThan(50);
    for (const path of asked) expect(paths(values)).toContain(path);
  });

  test('scales on a metric that there is', () => {
    const { autoscaling } = parse(read('values.yaml')) as { autoscaling: { metric: string } };
    expect(describeMetrics().map(({ name }) => name)).toContain(autoscaling.metric);
    const adapter = readFileSync(resolve('deploy/kubernetes/prometheus-adapter.yaml'), 'utf8');
    expect(adapter).toContain(`matches: ${autoscaling.metric}`);
  });

  test('the chart is of the broker in the package', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect((parse(read('Chart.yaml')) as { appVersion: string }).appVersion).toBe(version);
  });

  describe.skipIf(helm.status !== 0)('with helm', () => {
    test('the chart passes its linter', () => {
      const { status, stdout, stderr } = spawnSync('helm', ['lint', '--strict', chart], { encoding: 'utf8' });
      expect(status, stdout + stderr).toBe(0);
    });

    test('manifests.yaml is what the chart makes', () => {
      expect(manifests(plain)).toEqual(render().all);
    });

    const ways: Record<string, string[]> = {
      everything: [
        '--set=autoscaling.enabled=true,metrics.serviceMonitor.enabled=true,networkPolicy.enabled=true',
        '--set=redis.password=x,tls.certificate=c,tls.key=k,redis.ca=pem,proxyProtocol.enabled=true',
        '--set=redis.nodes={a:1,b:2},advertise=$(THRUM_CLUSTER_HOST).example.org:5222',
      ],
      'secrets from elsewhere': ['--set=redis.existingSecret=mine,tls.existingSecret=mine'],
      'a Redis that asks for certificates': [
        '--set=redis.url=rediss://10.0.0.9:6379/0,redis.ca=pem,redis.serverName=redis.example,redis.clientSecret=mine',
      ],
      'a setting of its own': [
        '--set=config.sm.resume_seconds=600,config.redis.patience_seconds=9,service.type=NodePort',
      ],
      sentinels: ['--set=redis.sentinels={a:1},redis.sentinelMaster=m,redis.username=u,redis.existingSecret=s'],
    };
    test.each(Object.entries(ways))('is sound with %s', (_name, args) => {
      const { all, stderr } = render(...args);
      expect(stderr).toBe('');
      sound(all);
    });

    test.each<[string, number[], string]>([
      ['a plain url', [6379], 'redis.url=redis://redis/0'],
      ['TLS', [6380], 'redis.url=rediss://user:12@redis:6380'],
      ['a setting of its own', [6390], 'config.redis.url=redis://[::1]:6390/1'],
      ['a cluster', [7000, 7001], 'redis.nodes={a:7000,b:7001,c:7000}'],
      ['Sentinels', [26379, 6380], 'redis.sentinels={a:26379,b:26379},redis.url=rediss://redis:6380'],
      ['others', [7000, 7005], 'redis.nodes={a:7000},networkPolicy.redisPorts={7000,7005}'],
    ])('the way out to Redis is open: %s', (_name, ports, values) => {
      const { all, stderr } = render(`--set=networkPolicy.enabled=true,${values}`);
      expect(stderr).toBe('');
      const { egress } = all.find(({ kind }) => kind === 'NetworkPolicy')!.spec;
      expect(egress[1].ports).toEqual(ports.map((port) => ({ port, protocol: 'TCP' })));
    });

    test('an autoscaler and a number of replicas do not fight', () => {
      const { all } = render('--set=autoscaling.enabled=true');
      const set = all.find(({ kind }) => kind === 'StatefulSet')!;
      expect(set.spec).not.toHaveProperty('replicas');
      const scaler = all.find(({ kind }) => kind === 'HorizontalPodAutoscaler')!;
      expect(scaler.apiVersion).toBe('autoscaling/v2');
      expect(scaler.spec.scaleTargetRef).toMatchObject({ kind: 'StatefulSet', name: set.metadata.name });
    });

    test.each([
      ['--set=replica=3', /replica/],
      ['--set=redis.url=localhost', /url/],
      ['--set=service.type=Balancer', /type/],
      ['--set=config.shutdown.grace_seconds=9', /set shutdown.graceSeconds/],
      ['--set=tls.certificate=c', /tls.key is missing/],
      ['--set=config.store=lmdb', /leave config.store out/],
      ['--set=config.c2s.port=6222', /leave config.c2s.port out/],
      ['--set=config.redis.password=secret', /it belongs into a Secret/],
    ])('%s is refused', (arg, message) => {
      const { status, stderr } = render(arg);
      expect(status).not.toBe(0);
      expect(stderr).toMatch(message);
    });
  });
});
