import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { thrum as run, type Ended } from './spawn.js';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'thrum-cli-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const thrum = (args: string, more?: Parameters<typeof run>[2]): Promise<Ended> =>
  run(folder, args.split(' ').filter(Boolean), more);

describe('help', () => {
  it.each([
    ...['--help', 'start --help', 'user --help', 'user add --help', 'user passwd --help', 'user remove --help'],
    ...[
      'user list --help',
      'node --help',
      'node list --help',
      'node show --help',
      'node remove --help',
      'sensor --help',
    ],
    ...[
      'watch --help',
      'demo --help',
      'migrate --help',
      'cluster --help',
      'cluster status --help',
      'check-config --help',
      'config-reference --help',
    ],
  ])('%s explains itself and ends with 0', async (args) => {
    const { code, out, err } = await thrum(args);
    expect(code).toBe(0);
    expect(err).toBe('');
    expect(out).toContain('Usage: thrum');
    expect(out).toContain('--set <key=value>');
    if (!/^(user|node|cluster) --help/.test(args)) expect(out).toContain('Examples:\n  thrum ');
  });
  it('--version prints the version of the package', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(await thrum('--version')).toEqual({ code: 0, out: `${version}\n`, err: '' });
  });
});

describe('wrong use', () => {
  it.each([
    ['strat', /unknown command 'strat'[^]*Did you mean start\?/],
    ['start --josn', /unknown option '--josn'[^]*Did you mean --json\?/],
    ['user ad ann', /unknown command 'ad'[^]*Did you mean add\?/],
    ['user add', /missing required argument 'name'/],
    ['watch', /missing required argument 'node'/],
    ['demo --sensors none', /It must be a whole number from 1 up/],
    ['sensor --interval 0', /It must be a number of seconds above 0/],
    ['sensor --port 99999', /It must be from 1 to 65535/],
    ['sensor --transport carrier-pigeon', /Allowed choices are starttls, tls, websocket/],
    ['user add ann', /no terminal to ask for the password[^]*--password-stdin or --generate/],
    ['user add ann --generate --password-stdin', /exclude each other/],
    ['user add a@b@c --generate', /"a@b@c" is not a user name/],
    ['user add ann@example.org --generate', /not an account here[^]*serves localhost/],
    ['user remove ann', /no terminal to ask on[^]*--yes/],
    ['sensor --host broker.example', /an account is needed[^]*--jid/],
    ['sensor --jid ann', /"ann" is not an account/],
    ['sensor --jid ann@localhost', /password of ann@localhost is missing/],
  ])('thrum %s: exit code 2 and what to do', async (args, expected) => {
    const { code, out, err } = await thrum(args);
    expect(err).toMatch(expected);
    expect(out).toBe('');
    expect(code).toBe(2);
  });
  it('a group without a command shows its help', async () => {
    const { code, err } = await thrum('user');
    expect(code).toBe(2);
    expect(err).toContain('add [options] <name>');
  });
});

describe('configuration', () => {
  it('check-config is content with the defaults', async () => {
    expect(await thrum('check-config')).toEqual({ code: 0, out: 'the configuration is good\n', err: '' });
  });
  it('check-config names file, line, key and remedy of every problem', async () => {
    writeFileSync(join(folder, 'bad.yaml'), 'c2s:\n  prot: 1\nworkers: many\n');
    const { code, err } = await thrum('check-config --config bad.yaml --set http.port=70000');
    expect(code).toBe(2);
    expect(err).toContain('3 problems in the configuration (read from bad.yaml)');
    expect(err).toContain('bad.yaml:2:3: c2s.prot: there is no such setting\n    → did you mean c2s.port?');
    expect(err).toContain('bad.yaml:3:10: workers: "many" cannot be used');
    expect(err).toContain('--set http.port: http.port: 70000 cannot be used');
  });
  it('reads thrum.yaml of the folder, THRUM_CONFIG, variables', async () => {
    writeFileSync(join(folder, 'other.yaml'), 'domian: x\n');
    const { err } = await thrum('check-config', { environment: { THRUM_CONFIG: 'other.yaml', THRUM_WORKERS: '-1' } });
    expect(err).toContain('other.yaml:1:1: domian');
    expect(err).toContain('THRUM_WORKERS: workers: -1 cannot be used');
  });
  it('start refuses a bad configuration before it touches anything', async () => {
    const { code, err } = await thrum('start --set store=memory --set workers=4');
    expect(code).toBe(2);
    expect(err).toContain('4 workers cannot share the memory store');
  });
  it('config-reference prints docs/configuration.md', async () => {
    expect((await thrum('config-reference')).out).toBe(readFileSync('docs/configuration.md', 'utf8'));
  });
});

describe('accounts without a running broker', () => {
  it('are made, listed, given a new password and removed in the store', async () => {
    const added = await thrum('user add Ann --password-stdin', { input: 'correct horse\n' });
    expect(added).toEqual({ code: 0, out: 'ann@localhost created\n', err: '' });
    const again = await thrum('user add ann --generate');
    expect(again.code).toBe(1);
    expect(again.err).toContain('ann@localhost exists already');
    const made = await thrum('user add bob@localhost --generate');
    expect(made.out).toMatch(/^bob@localhost [\w-]{20}\n$/);
    expect((await thrum('user list')).out).toMatch(
      /^account +created\nann@localhost +\d{4}-[^\n]*Z\nbob@localhost +\d{4}-[^\n]*Z\n$/,
    );
    expect(JSON.parse((await thrum('user list --json')).out)).toMatchObject([
      { jid: 'ann@localhost' },
      { jid: 'bob@localhost' },
    ]);
    expect((await thrum('user passwd bob --password-stdin', { input: 'another' })).out).toContain('is changed');
    expect((await thrum('user remove bob --yes')).out).toBe('bob@localhost removed\n');
    const gone = await thrum('user remove bob --yes');
    expect(gone.code).toBe(1);
    expect(gone.err).toContain('there is no account bob@localhost');
    expect((await thrum('user passwd bob --generate')).err).toContain('there is no account');
  });
  it('refuse an empty password and one with forbidden characters', async () => {
    expect((await thrum('user add eve --password-stdin', { input: '\n' })).err).toContain('the password is empty');
    const { code, err } = await thrum('user add eve --password-stdin', { input: 'a\u0007b\n' });
    expect(code).toBe(1);
    expect(err).toContain('characters that are not allowed');
  });
});

describe('what needs a store or a broker', () => {
  it('nodes of an untouched store are none; an unknown one is named', async () => {
    expect((await thrum('node list')).out).toContain('no nodes');
    expect(JSON.parse((await thrum('node list --json')).out)).toEqual([]);
    const { code, err } = await thrum('node show kitchen');
    expect(code).toBe(1);
    expect(err).toContain('there is no node kitchen');
    expect((await thrum('node remove kitchen --yes')).err).toContain('there is no node kitchen');
  });
  it('lists make no store where there is none', async () => {
    const { code, err } = await thrum('user list --set data_dir=nowhere');
    expect(code).toBe(1);
    expect(err).toContain('there is no store in nowhere');
    expect((await thrum('node list --set store=memory --set data_dir=x')).err).toContain(
      'memory store lives only in a running',
    );
  });
  it('says what the system refuses, without a stack trace', async () => {
    mkdirSync(join(folder, 'looped'));
    symlinkSync('control.sock', join(folder, 'looped/control.sock'));
    const { code, err } = await thrum('user list --set data_dir=looped');
    expect(code).toBe(1);
    expect(err).toBe('thrum: connect ELOOP looped/control.sock\n');
  });
  it.each(['sensor', 'watch kitchen', 'demo'])(
    'thrum %s says that no broker listens, and how to start one',
    async (args) => {
      const { code, err } = await thrum(`${args} --port 1`);
      expect(code).toBe(1);
      expect(err).toBe('thrum: no broker at 127.0.0.1:1: start one with npm start\n');
      const given = await thrum(`${args} --port 1 --jid ann@localhost`, { environment: { THRUM_PASSWORD: 'x' } });
      expect(given.err).toBe('thrum: no broker at 127.0.0.1:1: start one with npm start\n');
    },
  );
});
