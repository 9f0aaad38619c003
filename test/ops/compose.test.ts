import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { schema } from '../../src/config/config.js';
import { findFreePort } from '../../src/http/ports.js';
import { redisInstalled } from '../support/redis.js';

const folder = resolve('deploy/compose');
const read = (name: string) => readFileSync(join(folder, name), 'utf8');

interface Service {
  image: string;
  volumes?: string[];
  environment?: Record<string, string>;
  networks?: Record<string, { ipv4_address?: string } | null> | string[];
  stop_grace_period?: string;
  healthcheck?: unknown;
  deploy?: { resources: { limits: { cpus: string; memory: string } } };
  depends_on?: Record<string, { condition: string }> | string[];
}
const compose = parse(read('compose.yaml'), { merge: true }) as {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
  networks: { inside: { ipam: { config: { subnet: string }[] } } };
};
const services = Object.entries(compose.services);
const named = (pattern: RegExp) => services.filter(([name]) => pattern.test(name));
const address = (service: Service) =>
  (service.networks as Record<string, { ipv4_address?: string }>).inside?.ipv4_address;
const config = schema.parse(parse(read('thrum.yaml')));
const proxy = read('haproxy.cfg');

describe('deploy/compose', () => {
  test('has three hosts with names of their own, and six servers of Redis with addresses of their own', () => {
    const hosts = named(/^thrum-/);
    expect(hosts.map(([name, { environment }]) => [name, environment?.['THRUM_CLUSTER_HOST']])).toEqual(
      ['thrum-1', 'thrum-2', 'thrum-3'].map((name) => [name, name]),
    );
    const addresses = named(/^redis-\d$/).map(([, service]) => address(service)!);
    expect(new Set(addresses).size).toBe(6);
    for (const node of config.redis.nodes) expect(addresses).toContain(node.replace(/:6379$/, ''));
    const script = /NODES:-"([^"]*)"/.exec(read('create-cluster.sh'))?.[1];
    expect(script?.split(' ')).toEqual(addresses);
  });

  test('pins every image, bounds every service, and gives up no data', () => {
    for (const [name, { image, deploy }] of services) {
      if (image !== 'thrum') expect(image, name).toMatch(/^[a-z0-9./_-]+:v?\d+\.\d+\.\d+(-alpine)?$/);
      if (name !== 'redis-cluster') expect(deploy?.resources.limits.memory, name).toMatch(/^\d+[MG]$/);
    }
    const mounts = services.flatMap(([name, { volumes = [] }]) => volumes.map((mount) => [name, ...mount.split(':')]));
    for (const [name, from] of mounts as [string, string][]) {
      // Made by whoever follows the README.
      if (from === './tls') continue;
      if (from.startsWith('.')) expect(existsSync(join(folder, from)), `${name}: ${from}`).toBe(true);
      else expect(compose.volumes, name).toHaveProperty(from);
    }
    expect(mounts.filter(([name, , to]) => /^redis-\d$/.test(name!) && to === '/data')).toHaveLength(6);
    expect(read('redis.conf')).toMatch(/^appendonly yes$/m);
    expect(read('redis.conf')).toMatch(/^maxmemory-policy noeviction$/m);
  });

  test('waits for what is needed, and as long for the end as the hosts take', () => {
    for (const [name, service] of named(/^thrum-/)) {
      expect(service.depends_on, name).toEqual({ 'redis-cluster': { condition: 'service_completed_successfully' } });
      expect(Number.parseInt(service.stop_grace_period!), name).toBeGreaterThan(config.shutdown.grace_seconds + 5);
    }
    expect(config.shutdown.spread_seconds).toBeLessThanOrEqual(config.shutdown.grace_seconds);
    for (const [name, { healthcheck }] of named(/^(redis-\d|haproxy|prometheus|grafana)$/))
      expect(healthcheck, name).toBeDefined();
  });

  test('believes the load balancer, and nobody else', () => {
    expect(config.proxy_protocol).toEqual({
      mode: 'required',
      trusted: [`${address(compose.services['haproxy']!)}/32`],
    });
    const servers = [...proxy.matchAll(/^\s+server (thrum-\d) \1:(\d+)(.*)$/gm)];
    const ports = [config.c2s.port, config.c2s_tls.port, config.http.port];
    expect(servers.map(([, name, port]) => `${name}:${port}`)).toEqual(
      ports.flatMap((port) => [1, 2, 3].map((host) => `thrum-${host}:${port}`)),
    );
    // Of HTTP it says so in HTTP's own way.
    for (const [line, , port] of servers)
      expect(line).toMatch(Number(port) === config.http.port ? /:\d+$/ : / send-proxy-v2$/);
    expect(proxy).toMatch(/frontend http\n(?: {4}.*\n)* {4}option forwardfor\n/);
  });

  test('asks for secrets instead of shipping them', () => {
    const example = read('env.example');
    for (const name of ['REDIS_PASSWORD', 'GRAFANA_PASSWORD']) {
      expect(example).toMatch(new RegExp(`^${name}=$`, 'm'));
      expect(read('compose.yaml')).toContain(`\${${name}:?`);
    }
    expect(readFileSync('.gitignore', 'utf8').split('\n')).toEqual(
      expect.arrayContaining(['.env', 'deploy/compose/tls/']),
    );
  });

  test('has Prometheus look at every host and every server', () => {
    const { scrape_configs: jobs } = parse(read('prometheus.yml')) as {
      scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[];
    };
    const targets = (job: string) =>
      jobs.find(({ job_name }) => job_name === job)!.static_configs.flatMap(({ targets }) => targets);
    expect(targets('thrum')).toEqual(named(/^thrum-/).map(([name]) => `${name}:${config.http.port}`));
    expect(targets('redis')).toEqual(named(/^redis-\d$/).map(([name]) => `redis://${name}:6379`));
  });

  const haproxy = spawnSync('haproxy', ['-v']).status === 0;
  test.skipIf(!haproxy)('has a haproxy.cfg that HAProxy accepts', () => {
    const { status, stderr } = spawnSync('haproxy', ['-c', '-f', join(folder, 'haproxy.cfg')], { encoding: 'utf8' });
    const complaints = stderr.split('\n').filter((line) => /ALERT|WARNING/.test(line));
    // The hosts' names are only known inside.
    expect(complaints.filter((line) => !line.includes('could not resolve address'))).toEqual([]);
    expect(status).toBe(0);
  });
});

describe.skipIf(!redisInstalled || process.platform !== 'linux')('create-cluster.sh', () => {
  const children: ChildProcess[] = [];
  const data = mkdtempSync(join(tmpdir(), 'thrum-compose-'));
  afterAll(async () => {
    await Promise.all(children.map((child) => child.kill('SIGKILL') && once(child, 'exit')));
    rmSync(data, { recursive: true, force: true });
  });

  test('does not take a part of a cluster for the whole', () => {
    const own = mkdtempSync(join(data, 'part-'));
    const info = join(own, 'info');
    writeFileSync(info, 'cluster_state:ok\r\ncluster_slots_ok:5461\r\ncluster_known_nodes:1\r\n');
    const made = `case "$*" in *create*) echo cluster_slots_ok:16384 >${info};; *) cat ${info};; esac`;
    writeFileSync(join(own, 'redis-cli'), `#!/bin/sh\n${made}\n`, { mode: 0o755 });
    const environment = { ...process.env, PATH: `${own}:${process.env['PATH']}` };
    execFileSync('sh', [join(folder, 'create-cluster.sh')], { env: environment, stdio: 'pipe' });
    expect(readFileSync(info, 'utf8')).toBe('cluster_slots_ok:16384\n');
  });

  test('makes a cluster of six servers with the shipped redis.conf, and leaves one that is there alone', async () => {
    // As in the containers: six addresses, one port.
    const nodes = [1, 2, 3, 4, 5, 6].map((n) => `127.1.1.${n}`);
    const port = await findFreePort(nodes[0]!);
    const environment = { ...process.env, REDISCLI_AUTH: 'secret', PORT: String(port), NODES: nodes.join(' ') };
    const cli = (node: string, ...args: string[]) =>
      execFileSync('redis-cli', ['-h', node, '-p', String(port), ...args], { env: environment, encoding: 'utf8' });
    for (const node of nodes) {
      const own = mkdtempSync(join(data, 'node-'));
      const changed = ['--port', String(port), '--bind', node, '--dir', own, '--cluster-announce-ip', node];
      const secrets = ['--requirepass', 'secret', '--masterauth', 'secret'];
      const child = spawn('redis-server', [join(folder, 'redis.conf'), ...changed, ...secrets], { stdio: 'ignore' });
      children.push(child);
    }
    for (const node of nodes) {
      for (;;) {
        const { stdout } = spawnSync('redis-cli', ['-h', node, '-p', String(port), 'ping'], { env: environment });
        if (String(stdout).includes('PONG')) break;
        await pause(50);
      }
    }
    const create = () => execFileSync('sh', [join(folder, 'create-cluster.sh')], { env: environment, stdio: 'pipe' });
    create();
    // The replicas' news reaches the first one a little later.
    const roles = () =>
      cli(nodes[0]!, 'cluster', 'nodes')
        .match(/\b(master|slave)\b/g)!
        .sort()
        .join(' ');
    while (roles() !== 'master master master slave slave slave') await pause(50);
    expect(cli(nodes[0]!, '-c', 'set', 'kept', 'yes')).toContain('OK');
    create();
    expect(cli(nodes[0]!, '-c', 'get', 'kept')).toContain('yes');
  }, 90_000);
});
