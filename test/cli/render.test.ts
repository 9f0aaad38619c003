import { xml } from '@xmpp/client';
import { beforeAll, describe, expect, it } from 'vitest';
import { defaults } from '../../src/config/config.js';
import { banner, readyLine, type Started } from '../../src/cli/banner.js';
import { makeSensors } from '../../src/cli/client/fleet.js';
import { RandomWalk, readingElement, readingOf } from '../../src/cli/client/reading.js';
import { Fleet } from '../../src/cli/render/dashboard.js';
import { Screen } from '../../src/cli/render/screen.js';
import { sparkline } from '../../src/cli/render/spark.js';
import { milliseconds, Rate, Samples } from '../../src/cli/render/stats.js';
import { age, watchLine, WatchView } from '../../src/cli/render/watch-view.js';
import { fit, printable, table, width } from '../../src/cli/text.js';

beforeAll(() => void (process.env['NO_COLOR'] = '1'));

describe('text', () => {
  it('measures in columns: wide characters take two, colours and combining marks none', () => {
    expect(width('abc')).toBe(3);
    expect(width('日本')).toBe(4);
    expect(width('\x1b[31mred\x1b[0m')).toBe(3);
    expect(width('e\u0301')).toBe(1);
  });
  it('shows what others chose without letting it command the terminal', () => {
    expect(printable('a\x1b[2Jb\u0085\u202ec\n')).toBe('a\ufffd[2Jb\ufffd\ufffdc\ufffd');
  });
  it('cuts with an ellipsis, never through a character', () => {
    expect(fit('temperature', 6)).toBe('tempe…');
    expect(fit('日本語', 4)).toBe('日…');
    expect(fit('short', 5)).toBe('short');
  });
  it('aligns columns, numbers to the right', () => {
    const rows = [
      ['日本', '7'],
      ['kitchen', '12'],
    ];
    expect(table(['node', 'items'], rows, ['items'])).toBe('node     items\n日本         7\nkitchen     12');
  });
});

describe('figures', () => {
  it('gives percentiles of the last samples, and none before the first', () => {
    const samples = new Samples(100);
    expect(samples.percentile(0.5)).toBeUndefined();
    for (let n = 1; n <= 200; n++) samples.add(n);
    expect(samples.percentile(0.5)).toBe(150);
    expect(samples.percentile(0.99)).toBe(199);
    expect(samples.percentile(1)).toBe(200);
  });
  it('counts events per second of the last five seconds, and forgets the older', () => {
    const rate = new Rate();
    expect(rate.perSecond(0)).toBe(0);
    for (let at = 0; at <= 10_000; at += 100) rate.add(at);
    expect(rate.perSecond(10_000)).toBeCloseTo(10, 5);
    expect(rate.perSecond(60_000)).toBe(0);
  });
  it('writes times short', () => {
    expect([undefined, 0.424, 18.4].map(milliseconds)).toEqual(['–', '0.42 ms', '18 ms']);
    expect([400, 12_300, 180_000, 7_300_000].map(age)).toEqual(['0.4 s', '12 s', '3 min', '2 h']);
  });
  it('draws a line of bars between the least and the greatest', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([9, 9, 5, 5], 2)).toBe('▄▄');
    expect(sparkline([], 8)).toBe('');
  });
});

describe('readings', () => {
  it('are a small element that is read back, and nothing else is one', () => {
    const at = Date.UTC(2026, 0, 31, 12);
    const element = readingElement({ at, value: 21.404, unit: 'Cel' });
    expect(element.toString()).toBe(
      '<reading xmlns="urn:thrum:reading" at="2026-01-31T12:00:00.000Z" value="21.40" unit="Cel"/>',
    );
    expect(readingOf(element)).toEqual({ at, value: 21.4, unit: 'Cel' });
    expect(readingOf(xml('reading', { xmlns: 'urn:other' }))).toBeUndefined();
    expect(readingOf(xml('reading', { xmlns: 'urn:thrum:reading', value: 'hot' }))).toBeUndefined();
    expect(readingOf(undefined)).toBeUndefined();
  });
  it('walk around home without leaving it for good', () => {
    const walk = new RandomWalk(20, 0.3);
    const values = Array.from({ length: 5000 }, () => walk.next());
    expect(Math.min(...values)).toBeGreaterThan(5);
    expect(Math.max(...values)).toBeLessThan(35);
  });
});

describe('watching', () => {
  const item = { id: 'i\x1b1', payload: readingElement({ at: 0, value: 3, unit: 'Cel' }) };
  it('shows an item in one line, whatever its payload', () => {
    expect(watchLine({ item, received: 5, old: false })).toBe('1970-01-01T00:00:00.005Z  3.00 °C  i\ufffd1');
    const other = { id: 'x', payload: xml('note', { xmlns: 'urn:x' }, 'two\nlines') };
    expect(watchLine({ item: other, received: 0, old: true })).toBe(
      '1970-01-01T00:00:00.000Z  <note xmlns="urn:x">two\ufffdlines</note>  x  (kept)',
    );
    expect(watchLine({ item: { id: 'x', payload: undefined }, received: 0, old: false })).toContain('(no payload)');
  });
  it('draws the last value, and counts only what is new', () => {
    const view = new WatchView('kitchen', 'pubsub.localhost');
    expect(view.lines(0, 80, 24, '').join('\n')).toContain('waiting for the first item');
    view.add({ item, received: 0, old: true });
    view.add({ item, received: 1000, old: false });
    const lines = view.lines(2000, 60, 24, 'connection lost');
    expect(lines[0]).toBe('kitchen at pubsub.localhost');
    expect(lines[1]).toContain('1 item ');
    expect(lines[1]).toContain('last 1.0 s ago');
    expect(lines[1]).toContain('connection lost');
    expect(lines[3]).toMatch(/^3\.00 °C {2}▄▄$/);
    for (const line of lines) expect(width(line)).toBeLessThanOrEqual(60);
  });
});

describe('the dashboard', () => {
  it('shows each sensor with value, bars, rate and age, within the width of the terminal', () => {
    const sensors = makeSensors(14);
    expect(new Set(sensors.map((sensor) => sensor.node)).size).toBe(14);
    expect(sensors[12]).toMatchObject({ name: 'boiler 2', node: 'demo/boiler-2' });
    const fleet = new Fleet(sensors);
    for (let n = 0; n <= 20; n++) fleet.arrived('demo/boiler', 20 + n, n * 200, 1.5);
    fleet.arrived('demo/unknown', 1, 0, 1);
    for (const columns of [40, 80, 200]) {
      const lines = fleet.lines(4000, columns, 24, '14 sensors');
      for (const line of lines) expect(width(line)).toBeLessThanOrEqual(columns);
    }
    const lines = fleet.lines(4000, 100, 24, '14 sensors');
    expect(lines[1]).toContain('5.0 msg/s   published 0 received 21   latency p50 1.50 ms p99 1.50 ms');
    expect(lines.find((line) => line.startsWith('boiler '))).toMatch(/40\.00 °C {2}▁.*█ +5\.0\/s +0\.0 s$/);
    expect(fleet.lines(4000, 80, 10, '').at(-1)).toBe('… and 9 more');
  });
  it('takes the screen and gives it back', () => {
    let written = '';
    const screen = new Screen({ write: (text: string) => (written += text), columns: 20, rows: 2 });
    screen.open();
    screen.draw(['a', 'b', 'c']);
    screen.close();
    expect(screen.columns).toBe(20);
    expect(written).toBe('\x1b[?1049h\x1b[?25l\x1b[2J\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J\x1b[?25h\x1b[?1049l');
  });
});

describe('a start', () => {
  const started: Started = {
    version: '1.2.3',
    config: { ...defaults(), data_dir: "/tmp/it's here" },
    pid: 7,
    workers: [8, 9],
    c2s: 5222,
    c2s_tls: undefined,
    http: 5280,
    https: undefined,
    admin: { jid: 'admin@localhost', password: 's3cret' },
  };
  it('is one line of JSON for machines', () => {
    expect(readyLine(started)).toBe('{"ready":true,"pid":7,"workers":[8,9],"c2s":5222,"c2s_tls":null,"http":5280}');
    expect(readyLine({ ...started, https: 5443 })).toContain('"http":5280,"https":5443}');
  });
  it('says to people what listens, the password once, and what to paste', () => {
    const text = banner(started);
    expect(text).toContain('127.0.0.1:5222');
    expect(text).not.toContain('direct TLS');
    expect(text).toContain('ws://127.0.0.1:5280/xmpp-websocket');
    expect(text).toContain('Administrator admin@localhost has the password s3cret');
    expect(text).toContain(`npx thrum sensor --set data_dir='/tmp/it'\\''s here'`);
    expect(banner({ ...started, config: defaults(), admin: undefined })).toMatch(
      /^ {2}npx thrum demo {2,}a small fleet/m,
    );
    const six = banner({ ...started, config: { ...defaults(), listen_address: '::1' } });
    expect(six).toContain('[::1]:5222');
    const { redis, cluster } = defaults();
    const config = { ...defaults(), store: 'redis' as const, cluster: { ...cluster, host: 'north' } };
    const url = 'rediss://thrum:s3cret@10.0.0.9:6380/2';
    expect(banner({ ...started, admin: undefined, config: { ...config, redis: { ...redis, url } } })).toMatch(
      /^Thrum 1\.2\.3 serves localhost with 2 workers, data in Redis at 10\.0\.0\.9:6380\/2 under "thrum:"\nas host north of the cluster "thrum"\n\n/,
    );
  });
});
