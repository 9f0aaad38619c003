import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BrokerRunning, ControlServer, controlRequest, type ControlHandler } from '../../src/cli/control.js';

let folder: string;
const servers: ControlServer[] = [];
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'thrum-control-'))));
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  rmSync(folder, { recursive: true, force: true });
});

async function serve(handlers: Record<string, ControlHandler>, dataDir = folder): Promise<void> {
  const server = new ControlServer(dataDir, handlers);
  await server.listen();
  servers.push(server);
}

describe('control socket', () => {
  it('answers by name, with arguments and results of JSON', async () => {
    await serve({
      sum: (args: { terms: number[] }) => args.terms.reduce((a, b) => a + b),
      late: async () => ({ ok: true }),
    });
    expect(await controlRequest(folder, 'sum', { terms: [1, 2, 3] })).toMatchObject({ result: 6 });
    expect(await controlRequest(folder, 'late', {})).toMatchObject({ result: { ok: true } });
  });
  it('says what failed: an unknown name, an inherited one, an error of the handler', async () => {
    await serve({
      fail: () => {
        throw new Error('the disk is full');
      },
    });
    expect(await controlRequest(folder, 'nothing', {})).toMatchObject({
      error: 'the running broker knows no "nothing"',
    });
    expect(await controlRequest(folder, 'toString', {})).toHaveProperty('error');
    expect(await controlRequest(folder, 'fail', {})).toMatchObject({ error: 'the disk is full' });
  });
  it('is undefined when no broker runs, also in a folder that is not there', async () => {
    expect(await controlRequest(folder, 'status', {})).toBeUndefined();
    expect(await controlRequest(join(folder, 'none'), 'status', {})).toBeUndefined();
    writeFileSync(join(folder, 'file'), '');
    expect(await controlRequest(join(folder, 'file'), 'status', {})).toBeUndefined();
  });
  it('may be opened by its owner only', async () => {
    await serve({});
    expect(statSync(join(folder, 'control.sock')).mode & 0o777).toBe(0o600);
  });
  it('replaces the file that a killed broker left, and refuses to stand beside a living one', async () => {
    const path = join(folder, 'control.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`;
    const dead = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(dead.stdout, 'data');
    dead.kill('SIGKILL');
    await once(dead, 'exit');
    expect(statSync(path).isSocket()).toBe(true);
    expect(await controlRequest(folder, 'status', {})).toBeUndefined();
    await serve({ status: () => 'new' });
    expect(await controlRequest(folder, 'status', {})).toMatchObject({ result: 'new' });
    await expect(new ControlServer(folder, {}).listen()).rejects.toThrow(BrokerRunning);
    expect(await controlRequest(folder, 'status', {})).toMatchObject({ result: 'new' });
  });
  it('works in a folder whose path is too long for a socket address', async () => {
    const deep = join(folder, 'x'.repeat(60), 'y'.repeat(60));
    mkdirSync(deep, { recursive: true });
    await serve({ status: () => 'deep' }, deep);
    expect(await controlRequest(deep, 'status', {})).toMatchObject({ result: 'deep' });
    await servers.pop()!.close();
    expect(await controlRequest(deep, 'status', {})).toBeUndefined();
  });
  it('reports a broker that goes away before it answers', async () => {
    const server = createServer((socket) => socket.once('data', () => socket.destroy()));
    await new Promise<void>((up) => server.listen(join(folder, 'control.sock'), up));
    expect(await controlRequest(folder, 'status', {})).toMatchObject({
      error: expect.stringContaining('went away') as string,
    });
    await new Promise((down) => server.close(down));
  });
  it('cuts off who sends an endless line, and answers nonsense with an error', async () => {
    await serve({ status: () => 'fine' });
    const flood = connect(join(folder, 'control.sock'));
    const cut = new Promise((resolve) => flood.on('error', () => undefined).on('close', resolve));
    flood.write('x'.repeat(200_000));
    await cut;
    const nonsense = connect(join(folder, 'control.sock'));
    nonsense.write('{"id":\n');
    const [answer] = (await once(nonsense, 'data')) as [Buffer];
    expect(JSON.parse(answer.toString())).toHaveProperty('error');
    nonsense.destroy();
    expect(await controlRequest(folder, 'status', {})).toMatchObject({ result: 'fine' });
  });
});
