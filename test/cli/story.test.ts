import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ended, start, thrum as run } from './spawn.js';

/** A broker on free ports and the commands that find it by its data folder, as a person would type them. */
let folder: string;
let broker: ChildProcessWithoutNullStreams;
let ready: { ready: boolean; pid: number; workers: number[]; c2s: number; c2s_tls: number; http: number };
let stdout = '';
let stderr = '';

const PORTS = 'c2s.port=0,c2s_tls.port=0,http.port=0'.split(',').flatMap((setting) => ['--set', setting]);
const thrum = (args: string, more?: Parameters<typeof run>[2]) => run(folder, args.split(' ').filter(Boolean), more);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'thrum-story-'));
  broker = start(folder, ['start', '--json', '--set', 'workers=1', ...PORTS]);
  broker.stderr.on('data', (chunk) => (stderr += String(chunk)));
  ready = await new Promise((resolve, reject) => {
    broker.on('exit', (code) => reject(new Error(`the broker ended with ${code}: ${stderr}`)));
    broker.stdout.on('data', (chunk) => (stdout += String(chunk)));
    broker.stdout.on('data', () => stdout.includes('\n') && resolve(JSON.parse(stdout) as typeof ready));
  });
});
afterAll(async () => {
  const over = ended(broker);
  broker.kill('SIGTERM');
  expect((await over).code).toBe(0);
  rmSync(folder, { recursive: true, force: true });
});

describe('a running broker', () => {
  it('printed exactly one line, with its ports and processes', () => {
    expect(stdout.split('\n')).toHaveLength(2);
    expect(ready).toMatchObject({ ready: true, pid: broker.pid });
    expect(ready.workers).toHaveLength(1);
    for (const port of [ready.c2s, ready.c2s_tls, ready.http]) expect(port).toBeGreaterThan(0);
    expect(stderr).toMatch(/admin@localhost has the password \S+/);
  });
  it('keeps a second one off its data folder: the session tables, and the certificate', async () => {
    const table = join(folder, 'data/sessions/table');
    writeFileSync(table, '');
    const certificate = readFileSync(join(folder, 'data/tls/certificate.pem'), 'utf8');
    const second = await run(folder, ['start', '--set', 'domain=example.org', ...PORTS]);
    expect(second.code).toBe(1);
    expect(second.err).toContain('another broker is running');
    expect(existsSync(table)).toBe(true);
    expect(readFileSync(join(folder, 'data/tls/certificate.pem'), 'utf8')).toBe(certificate);
  });
  it('keeps its port from another one, which says what to do', async () => {
    const ports = PORTS.map((setting) => (setting === 'c2s.port=0' ? `c2s.port=${ready.c2s}` : setting));
    const { code, err } = await run(folder, ['start', '--set', 'data_dir=other', ...ports]);
    expect(code).toBe(1);
    expect(err).toContain('the port is in use\n    → another program listens there: stop it, or set another port');
    const lines = err.split('\n').filter((line) => line.startsWith('{'));
    // Some readers of logs refuse an object that names something twice.
    expect(lines.filter((line) => line.split('"worker":').length !== 2)).toEqual([]);
  });
  it('is told of new accounts, which can log in at once', async () => {
    expect((await thrum('user add ann --password-stdin', { input: 'secret\n' })).out).toBe('ann@localhost created\n');
    expect((await thrum('user list')).out).toMatch(/^admin@localhost .*\nann@localhost /m);
    const args = 'sensor --jid ann@localhost --count 1 --node of-ann --interval 0.01';
    expect((await thrum(args, { environment: { THRUM_PASSWORD: 'secret' } })).code).toBe(0);
    const refused = await thrum(args, { environment: { THRUM_PASSWORD: 'wrong' } });
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('ann@localhost is not let in: not-authorized');
  });
});

describe('sensor and watch', () => {
  it('publish and show readings, with a demo account of their own', async () => {
    const made = await thrum('sensor --count 3 --interval 0.01');
    expect(made.err).toBe('');
    expect(made.out).toMatch(/^made and publishing to sensors\/temperature at pubsub\.localhost as demo@localhost\//);
    expect(made.out.match(/\d+\.\d\d °C {2}kept after/g)).toHaveLength(3);

    const watching = start(folder, ['watch', 'sensors/temperature', '--count', '2']);
    const lines: string[] = [];
    const kept = new Promise<void>((resolve) =>
      createInterface({ input: watching.stdout }).on('line', (line) => {
        lines.push(line);
        resolve();
      }),
    );
    await kept;
    const over = ended(watching);
    const more = await thrum('sensor --count 5 --interval 0.05');
    expect(more.out).toMatch(/^publishing to sensors\/temperature/);
    expect((await over).code).toBe(0);
    expect(lines[0]).toMatch(/°C .*\(kept\)$/);
    expect(lines).toHaveLength(3);
    expect(lines[2]).not.toContain('(kept)');
  });
  it.each(['starttls', 'tls'])('reach the broker by %s', async (transport) => {
    expect((await thrum(`sensor --count 1 --transport ${transport}`)).code).toBe(0);
  });
  it('reach the broker by WebSocket', async () => {
    const more = { environment: 'WebSocket' in globalThis ? {} : { NODE_OPTIONS: '--experimental-websocket' } };
    const { code, out } = await thrum('sensor --count 1 --transport websocket', more as Parameters<typeof run>[2]);
    expect(out).toContain('kept after');
    expect(code).toBe(0);
  });
  it('give their account its password back when it has another one', async () => {
    expect((await thrum('user passwd demo --password-stdin', { input: 'another\n' })).code).toBe(0);
    expect((await thrum('sensor --count 1')).code).toBe(0);
  });
  it('explain a node that is not there, and one that is not theirs', async () => {
    const { code, err } = await thrum('watch sensors/temprature');
    expect(code).toBe(1);
    expect(err).toContain('there is no node sensors/temprature');
    expect(err).toContain('did you mean sensors/temperature?');
    expect((await thrum('sensor --node of-ann --count 1')).err).toContain('this account may not publish to of-ann');
  });
  it('stop at Ctrl-C with 0', async () => {
    const sensor = start(folder, ['sensor', '--interval', '0.05']);
    const out = createInterface({ input: sensor.stdout });
    let seen = 0;
    await new Promise<void>((resolve) => out.on('line', () => ++seen === 3 && resolve()));
    const over = ended(sensor);
    sensor.kill('SIGINT');
    expect((await over).code).toBe(0);
  });
});

describe('nodes', () => {
  it('are listed, shown and removed; who watches one is told', async () => {
    expect((await thrum('node list')).out).toMatch(/^sensors\/temperature +10 +0 +open +demo@localhost +\d/m);
    const shown = (await thrum('node show sensors/temperature')).out;
    expect(shown).toMatch(/^owner +demo@localhost$/m);
    // What differs from the defaults is shown.
    expect(shown).toMatch(/^title +Simulated temperature$/m);
    expect(JSON.parse((await thrum('node show of-ann --json')).out)).toMatchObject({
      name: 'of-ann',
      creator: 'ann@localhost',
    });

    const watching = start(folder, ['watch', 'of-ann']);
    await new Promise<void>((resolve) => createInterface({ input: watching.stdout }).on('line', () => resolve()));
    const over = ended(watching);
    // Shown is the kept item; the subscription follows it, and is visible when it is there.
    for (let subscribed = false; !subscribed;)
      subscribed = (await thrum('node show of-ann')).out.includes('demo@localhost');
    expect((await thrum('node remove of-ann --yes')).out).toBe('of-ann removed\n');
    const { code, err } = await over;
    expect(err).toContain('of-ann was deleted');
    expect(code).toBe(1);
    expect((await thrum('node show of-ann')).err).toContain('there is no node of-ann');
  });
});

describe('demo', () => {
  it('runs a fleet for a time, loses nothing and clears away', async () => {
    const { code, out, err } = await thrum('demo --sensors 5 --interval 0.05 --duration 1');
    expect(err).toBe('');
    const result = /^published (\d+) received (\d+) {3}latency p50 \S+ ms p99 \S+ ms$/m.exec(
      out.trimEnd().split('\n').at(-1)!,
    );
    expect(Number(result?.[1])).toBeGreaterThan(0);
    expect(result?.[2]).toBe(result?.[1]);
    expect(code).toBe(0);
    expect((await thrum('node list')).out).not.toContain('demo/');
  });
});

describe('accounts of a running broker', () => {
  it('are removed at once, with their sessions', async () => {
    const watching = start(folder, ['sensor', '--jid', 'ann@localhost', '--node', 'again', '--interval', '0.05'], {
      THRUM_PASSWORD: 'secret',
    });
    const out = createInterface({ input: watching.stdout });
    await new Promise<void>((resolve) => out.on('line', (line) => line.includes('kept after') && resolve()));
    const lost = new Promise<void>((resolve) => out.on('line', (line) => line.includes('unanswered') && resolve()));
    expect((await thrum('user remove ann --yes')).code).toBe(0);
    await lost;
    const over = ended(watching);
    watching.kill('SIGINT');
    await over;
    expect((await thrum('user list')).out).not.toContain('ann@');
  });
});
