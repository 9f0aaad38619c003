import { chmodSync, closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { paths } from '../config/paths.js';

/**
 * Administration of a running broker over a Unix socket in data_dir that only its owner may open (0600). JSON lines:
 * `{"id":1,"name":"user.list","args":{…}}` is answered with `{"id":1,"result":…}` or `{"id":1,"error":"…"}`.
 */
export type ControlHandler = (args: never) => unknown;
export type ControlAnswer = { result: unknown } | { error: string };

/** Of one request; a password and a node's name are far smaller. */
const MAX_REQUEST_BYTES = 64 * 1024;

export class ControlServer {
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private readonly path: string;

  constructor(
    dataDir: string,
    private readonly handlers: Readonly<Record<string, ControlHandler>>,
  ) {
    this.path = paths(dataDir).control;
    this.server = createServer((socket) => this.serve(socket));
  }

  /** Rejects with {@link BrokerRunning} when another broker serves this folder; a socket file left by a dead one is replaced. */
  async listen(): Promise<void> {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    if (await this.bind()) return;
    const living = await open(this.path);
    living?.destroy();
    if (living) throw new BrokerRunning(dirname(this.path));
    rmSync(this.path, { force: true });
    if (!(await this.bind())) throw new BrokerRunning(dirname(this.path));
  }

  /** False when the path is taken. */
  private bind(): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const short = shortened(this.path);
      // The socket is never open to others, not even between bind and chmod.
      const mask = process.umask(0o177);
      try {
        this.server.once('error', (error: NodeJS.ErrnoException) => {
          this.server.removeAllListeners('listening');
          short.release();
          if (error.code === 'EADDRINUSE') resolve(false);
          else reject(error);
        });
        this.server.listen(short.path, () => {
          this.server.removeAllListeners('error');
          short.release();
          chmodSync(this.path, 0o600);
          resolve(true);
        });
      } finally {
        process.umask(mask);
      }
    });
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((done) => this.server.close(() => done()));
    for (const socket of this.sockets) socket.destroy();
    await closed;
    rmSync(this.path, { force: true });
  }

  private serve(socket: Socket): void {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    readLines(socket, MAX_REQUEST_BYTES, (line) => {
      void this.answer(line).then((answer) => {
        if (socket.writable) socket.write(`${JSON.stringify(answer)}\n`);
      });
    });
  }

  private async answer(line: string): Promise<ControlAnswer & { id: unknown }> {
    let request: { id?: unknown; name?: unknown; args?: unknown };
    try {
      request = JSON.parse(line) as typeof request;
    } catch {
      return { id: null, error: 'not a JSON object in one line' };
    }
    const id = request?.id ?? null;
    const name = String(request?.name);
    const handler = Object.hasOwn(this.handlers, name) ? this.handlers[name] : undefined;
    if (!handler) return { id, error: `the running broker knows no "${name}"` };
    try {
      return { id, result: (await handler((request.args ?? {}) as never)) ?? null };
    } catch (error) {
      return { id, error: error instanceof Error ? error.message : String(error) };
    }
  }
}

export class BrokerRunning extends Error {
  constructor(dataDir: string) {
    super(`another broker is running on ${dataDir}`);
    this.name = 'BrokerRunning';
  }
}

/** Asks the broker that runs on `dataDir`; undefined when none does. An answer that does not come is an `error`. */
export async function controlRequest(dataDir: string, name: string, args: unknown): Promise<ControlAnswer | undefined> {
  const socket = await open(paths(dataDir).control);
  if (!socket) return undefined;
  try {
    return await new Promise<ControlAnswer>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('close', () => resolve({ error: 'the broker went away before it answered' }));
      createInterface({ input: socket }).once('line', (line) => resolve(JSON.parse(line) as ControlAnswer));
      socket.write(`${JSON.stringify({ id: 1, name, args })}\n`);
    });
  } finally {
    socket.destroy();
  }
}

/** A connection, or undefined when nobody listens there. */
async function open(path: string): Promise<Socket | undefined> {
  let short: ReturnType<typeof shortened>;
  try {
    short = shortened(path);
  } catch (error) {
    if (nobody(error)) return undefined;
    throw error;
  }
  try {
    return await new Promise<Socket>((resolve, reject) => {
      const socket = connect(short.path);
      socket.once('connect', () => resolve(socket));
      socket.once('error', reject);
    });
  } catch (error) {
    if (nobody(error)) return undefined;
    throw error;
  } finally {
    short.release();
  }
}

/** No file, a file whose owner died, or a folder that is none. */
function nobody(error: unknown): boolean {
  return ['ENOENT', 'ECONNREFUSED', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** A socket's path may have about a hundred bytes (sun_path); Linux lets a deep folder be named by its descriptor. */
const MAX_PATH_BYTES = process.platform === 'linux' ? 107 : 103;

function shortened(path: string): { path: string; release(): void } {
  const absolute = resolve(path);
  const near = relative(process.cwd(), absolute);
  const shortest = near.length < absolute.length ? near : absolute;
  if (Buffer.byteLength(shortest) <= MAX_PATH_BYTES || process.platform !== 'linux')
    return { path: shortest, release: () => undefined };
  const folder = openSync(dirname(absolute), 'r');
  return { path: `/proc/self/fd/${folder}/${basename(absolute)}`, release: () => closeSync(folder) };
}

/** Calls back with each line; a peer that sends a longer one is cut off. */
function readLines(socket: Socket, limit: number, onLine: (line: string) => void): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') onLine(line);
    if (rest.length > limit) socket.destroy();
  });
}
