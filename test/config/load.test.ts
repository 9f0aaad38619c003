import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generate } from 'selfsigned';
import { defaults } from '../../src/config/config.js';
import { loadConfig } from '../../src/config/load.js';
import { formatProblem } from '../../src/config/problem.js';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'thrum-config-'))));
afterAll(() => rmSync(folder, { recursive: true }));

function file(text: string): string {
  const path = join(folder, 'thrum.yaml');
  writeFileSync(path, text);
  return path;
}
function load(sources: { yaml?: string; set?: string[]; environment?: Record<string, string> }) {
  const path = sources.yaml === undefined ? undefined : file(sources.yaml);
  const loaded = loadConfig({ file: path, set: sources.set ?? [], environment: sources.environment ?? {} });
  return { ...loaded, said: loaded.problems.map(formatProblem).join('\n').replaceAll(`${folder}/`, '') };
}

describe('sources', () => {
  it('starts with the defaults when nothing is said', () => {
    expect(load({}).config).toEqual(defaults());
  });
  it('lets variables override the file, and --set both', () => {
    const { config } = load({
      yaml: 'domain: file.example\nc2s:\n  port: 1\n  tls: optional\nworkers: 3\n',
      environment: { THRUM_C2S_PORT: '2', THRUM_WORKERS: '2' },
      set: ['c2s.port=0'],
    });
    expect(config?.domain).toBe('file.example');
    expect(config?.c2s).toEqual({ port: 0, tls: 'optional' });
    expect(config?.workers).toBe(2);
  });
  it('derives variable names from the schema, also where a key holds an underscore', () => {
    const { config } = load({ environment: { THRUM_C2S_TLS: 'optional', THRUM_C2S_TLS_PORT: 'off' } });
    expect(config?.c2s.tls).toBe('optional');
    expect(config?.c2s_tls.port).toBe('off');
  });
  it('reads lists as YAML or with commas, and text as it stands', () => {
    const { config } = load({
      environment: { THRUM_ADMINS: 'ann@localhost, bob@localhost' },
      set: ['contact.abuse=["mailto:a@x"]', 'data_dir=123', 'limits.enabled=false'],
    });
    expect(config?.admins).toEqual(['ann@localhost', 'bob@localhost']);
    expect(config?.contact.abuse).toEqual(['mailto:a@x']);
    expect(config?.data_dir).toBe('123');
    expect(config?.limits.enabled).toBe(false);
  });
  it('reads lists with commas also where they are no YAML, and says so where they are no list', () => {
    const { config } = load({
      environment: { THRUM_REDIS_NODES: '[::1]:7000, [::2]:7001', THRUM_STORE: 'redis', THRUM_REDIS_SENTINELS: '' },
    });
    expect(config?.redis.nodes).toEqual(['[::1]:7000', '[::2]:7001']);
    expect(load({ environment: { THRUM_ADMINS: '[ann@localhost' } }).said).toContain('admins: is not valid YAML');
    expect(load({ environment: { THRUM_ADMINS: '@x' } }).said).toContain('admins: "@x" is not a bare JID');
    expect(load({ environment: { THRUM_WORKERS: '[' } }).said).toContain('THRUM_WORKERS: workers: is not valid YAML');
  });
  it('follows anchors', () => {
    const yaml = 'workers: &n 3\nc2s: &s\n  port: *n\nhttp: *s\nadmins: [&a ann@localhost, *a]\n';
    const { config } = load({ yaml, set: ['http.port=4'] });
    expect(config?.c2s.port).toBe(3);
    expect(config?.http.port).toBe(4);
    expect(config?.admins).toEqual(['ann@localhost', 'ann@localhost']);
  });
  it('takes an empty section, an empty file and a setting without a value as left out', () => {
    expect(load({ yaml: 'http:\nc2s:\n  # port: 1\ndomain:\n' }).config).toEqual(defaults());
    expect(load({ yaml: '' }).config).toEqual(defaults());
  });
  it('passes over variables of others, and warns of one that is nearly ours', () => {
    const loaded = load({ environment: { THRUM_SERVICE_HOST_NAME_OF_KUBERNETES: '10.0.0.1', THRUM_WORKRES: '2' } });
    expect(loaded.config).toBeDefined();
    expect(loaded.said).toBe(
      'warning: THRUM_WORKRES: the variable names no setting and is ignored\n    → did you mean THRUM_WORKERS?',
    );
  });
});

describe('errors', () => {
  it('names file, line, column, key and remedy, all problems at once', () => {
    const { config, said } = load({
      yaml: 'domian: x\nc2s:\n  port: 70000\n  tsl: required\nstore: mysql\nadmins: ann\nlimits: 3\n',
      set: ['wrokers=2', 'c2s=3', 'nonsense'],
    });
    expect(config).toBeUndefined();
    expect(said).toContain('thrum.yaml:1:1: domian: there is no such setting\n    → did you mean domain?');
    expect(said).toContain(
      'thrum.yaml:3:9: c2s.port: 70000 cannot be used\n    → write a whole number from 0 to 65535, or off (default: 5222)',
    );
    expect(said).toContain('thrum.yaml:4:3: c2s.tsl: there is no such setting\n    → did you mean c2s.tls?');
    expect(said).toContain('thrum.yaml:5:8: store: "mysql" cannot be used\n    → write lmdb, redis or memory');
    expect(said).toContain('thrum.yaml:6:9: admins: "ann" cannot be used\n    → write a list');
    expect(said).toContain('thrum.yaml:7:1: limits: 3 is not a section');
    expect(said).toContain('--set wrokers=2: wrokers: there is no such setting\n    → did you mean workers?');
    expect(said).toContain('--set c2s=3: c2s: is a section, not a setting\n    → set one of c2s.port, c2s.tls');
    expect(said).toContain('--set nonsense: there is no value');
  });
  it('finds the place of an entry of a list, of broken YAML and of a repeated key', () => {
    expect(load({ yaml: 'admins:\n  - 3\n' }).said).toContain('thrum.yaml:2:3: admins: 3 cannot be used');
    expect(load({ yaml: 'c2s: {port: 1\n' }).said).toMatch(/^thrum\.yaml:2:1: .*\n {4}→ correct the YAML/);
    expect(load({ yaml: 'workers: 1\nworkers: 2\n' }).said).toMatch(/^thrum\.yaml:2:1: .*unique/);
    expect(load({ yaml: '- a\n' }).said).toContain('the file must hold settings');
  });
  it('suggests the section of a setting that was written without it', () => {
    expect(load({ set: ['outbox_bytes=1'] }).said).toContain('did you mean limits.outbox_bytes?');
  });
  it('says how a key in one piece is written in a file, and that a variable names a section', () => {
    const { config, said } = load({ yaml: 'workers: 2\nc2s.port: 5\n' });
    expect(config).toBeUndefined();
    expect(said).toBe(
      'thrum.yaml:2:1: c2s.port: is no setting of this level\n    → write "c2s:" in a line, and "port: …" indented below it',
    );
    const variable = load({ environment: { THRUM_REDIS: 'redis://a' } });
    expect(variable.config).toBeDefined();
    expect(variable.said).toContain('warning: THRUM_REDIS: names a section and is ignored');
  });
  it('says which file cannot be read', () => {
    const { config, problems } = loadConfig({ file: join(folder, 'none.yaml'), environment: {} });
    expect(config).toBeUndefined();
    expect(problems[0]?.what).toContain('ENOENT');
  });
});

describe('settings that do not fit together', () => {
  it.each([
    [['store=memory', 'workers=2'], '--set workers: workers: 2 workers cannot share the memory store'],
    [['http.port=5222'], '--set http.port: http.port: 5222 is already the port of c2s.port'],
    [['c2s.port=off', 'c2s_tls.port=off', 'http.port=off'], 'every listener is off'],
    [['tls.certificate=/nowhere/c.pem'], 'tls.certificate: "/nowhere/c.pem" cannot be read: ENOENT'],
    [['tls.key=/nowhere/k.pem'], '--set tls.key: tls.certificate: is missing for tls.key'],
    [['tls.client_ca=/nowhere/ca.pem'], 'tls.client_ca: "/nowhere/ca.pem" cannot be read: ENOENT'],
    [['admins=ann@exmaple.org', 'domain=example.org'], 'admins: "ann@exmaple.org" is not an account here'],
    [['admins=ann'], 'admins: "ann" is not a bare JID'],
    [['data_dir=/dev/null'], 'data_dir: "/dev/null" is not a folder'],
    [['data_dir=/dev/null/thrum'], 'data_dir: "/dev/null/thrum" lies below a file'],
    [['domain=a@b'], 'domain: "a@b" is not a domain'],
    [['listen_address=*'], 'listen_address: "*" is not an address'],
    [['proxy_protocol.trusted=10.0.0.0/8,lb'], 'proxy_protocol.trusted: "lb" is neither an address nor a network'],
    [['proxy_protocol.mode=required', 'proxy_protocol.trusted=[]'], 'proxy_protocol.trusted: nobody may connect'],
    [['limits.stanza_bytes=16777216', 'limits.scanner_bytes=16777215'], 'limits.scanner_bytes'],
    [['store=redis', 'redis.url=localhost'], '--set redis.url: redis.url: is not an address of Redis'],
    ...['redis:6379', 'redis://a/0?password=x', 'redis://:100%@a'].map((url): [string[], string] => [
      ['store=redis', `redis.url=${url}`],
      '--set redis.url: redis.url: is not an address of Redis',
    ]),
    ...['a b:5222', 'a:0', 'xmpp://a:5222', '::1', '[::1]:70000'].map((place): [string[], string] => [
      ['store=redis', `cluster.advertise=${place}`],
      `cluster.advertise: "${place}" is not an address that clients can be sent to`,
    ]),
    [['store=redis', 'redis.nodes=a:1,b'], 'redis.nodes: "b" is not an address'],
    [['store=redis', 'redis.sentinels=b'], 'redis.sentinels: "b" is not an address'],
    [['store=redis', 'redis.nodes=a:1', 'redis.sentinels=b:1'], 'redis.sentinels: are given beside redis.nodes'],
    [['store=redis', 'redis.nodes=a:1', 'redis.url=redis://a/1'], 'redis.url: names a database'],
    [['store=redis', 'redis.username=ann'], '--set redis.username: redis.password: is missing for redis.username'],
    [['store=redis', 'redis.ca=/nowhere/ca.pem'], 'redis.ca: is given, and redis.url asks for no TLS'],
    [
      ['store=redis', 'redis.url=rediss://a', 'redis.ca=/nowhere/ca.pem'],
      'redis.ca: "/nowhere/ca.pem" cannot be read: ENOENT',
    ],
    [['store=redis', 'redis.server_name=r'], 'redis.server_name: is given, and redis.url asks for no TLS'],
    [
      ['store=redis', 'redis.url=rediss://a', 'redis.certificate=/dev/null'],
      '--set redis.certificate: redis.key: is missing for redis.certificate',
    ],
    [['store=redis', 'redis.url=rediss://a', 'redis.key=/dev/null'], 'redis.key: "/dev/null" holds no key'],
    [['store=redis', 'redis.url=rediss://a', 'redis.ca=/dev/null'], 'redis.ca: "/dev/null" holds no certificate'],
  ])('%j', (set, expected) => {
    const { config, said } = load({ set });
    expect(config).toBeUndefined();
    expect(said).toContain(expected);
  });
  it.each(['north.example.org:5222', 'north', '192.0.2.1:5222', '[2001:db8::1]:5222', 'bücher.example:5222'])(
    'clients can be sent to %s',
    (place) => expect(load({ set: ['store=redis', `cluster.advertise=${place}`] }).said).toBe(''),
  );
  it('allows free ports and off more than once', () => {
    expect(load({ set: ['c2s.port=0', 'c2s_tls.port=0', 'http.port=off'] }).config).toBeDefined();
  });
  it('warns of settings of a cluster that do nothing, and of a password that lies in a file of a public broker', () => {
    const alone = load({ set: ['cluster.host=a'] });
    expect(alone.config).toBeDefined();
    expect(alone.said).toContain('warning: --set cluster.host: cluster.host: does nothing with store: lmdb');
    const yaml = 'store: redis\nlisten_address: 0.0.0.0\nredis:\n  url: redis://:secret@a\n  password: secret\n';
    const { config, said } = load({ yaml });
    expect(config).toBeDefined();
    expect(said).toContain('warning: thrum.yaml:4:8: redis.url: holds a password, readable in the file');
    expect(said).toContain('warning: thrum.yaml:5:13: redis.password: holds a password, readable in the file');
    expect(said).toContain('give it as THRUM_REDIS_PASSWORD');
    const environment = { THRUM_REDIS_PASSWORD: 'secret' };
    expect(load({ yaml: 'store: redis\nlisten_address: 0.0.0.0\n', environment }).said).toBe('');
    expect(load({ yaml: 'store: redis\nredis:\n  password: secret\n' }).said).toBe('');
  });
  it('only warns of what is doubtful: no limits in public, an outbox smaller than a stanza', () => {
    const { config, said } = load({ set: ['listen_address=0.0.0.0', 'limits.enabled=false', 'c2s.tls=optional'] });
    expect(config).toBeDefined();
    expect(said.match(/^warning: /gm)).toHaveLength(2);
    expect(load({ set: ['limits.outbox_bytes=65536'] }).said).toContain('a stanza of that size reaches nobody');
    const large = load({ set: ['pubsub.max_payload_bytes=1000000'] });
    expect(large.config).toBeDefined();
    expect(large.said).toMatch(
      /^warning: .*limits\.stanza_bytes \(262144\): an item of that size cannot be published\n/,
    );
  });
});

describe('certificates', () => {
  async function pair(name: string) {
    const made = await generate([{ name: 'commonName', value: name }], {
      keyType: 'ec',
      extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: name }] }],
    });
    const paths = { certificate: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
    writeFileSync(paths.certificate, made.cert);
    writeFileSync(paths.key, made.private);
    return paths;
  }
  it('accepts a certificate with its key, warns when it names another host, refuses a foreign key', async () => {
    const [ours, other] = [await pair('localhost'), await pair('elsewhere.example')];
    const good = load({ set: [`tls.certificate=${ours.certificate}`, `tls.key=${ours.key}`] });
    expect(good.said).toBe('');
    const alone = load({ set: [`tls.certificate=${ours.certificate}`] });
    expect(alone.said).toContain('--set tls.certificate: tls.key: is missing for tls.certificate');
    writeFileSync(
      join(folder, 'both.pem'),
      `${readFileSync(ours.certificate, 'utf8')}\n${readFileSync(ours.key, 'utf8')}`,
    );
    expect(load({ set: [`tls.certificate=${join(folder, 'both.pem')}`] }).said).toBe('');
    const elsewhere = load({ set: [`tls.certificate=${other.certificate}`, `tls.key=${other.key}`] });
    expect(elsewhere.config).toBeDefined();
    expect(elsewhere.said).toContain('tls.certificate: is not valid for localhost');
    const mixed = load({ set: [`tls.certificate=${ours.certificate}`, `tls.key=${other.key}`] });
    expect(mixed.said).toContain('tls.key: does not belong to tls.certificate');
    const swapped = load({ set: [`tls.certificate=${ours.key}`, `tls.key=${ours.key}`] });
    expect(swapped.said).toContain('is not usable');
  });
});
