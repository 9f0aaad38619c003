import { unlink } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { GREETING_BYTES, greeted } from './frames.js';

/** How long a connection may take to greet. */
const GREETING_MS = 5_000;

/** Where peers dial in: a Unix socket on which they greet, and then say nothing more. */
export class Door {
  private server: Server | undefined;
  private path = '';

  constructor(
    /** The peer of that number has greeted: answers with what is to be done when its connection ends, or not when it is not welcome. */
    private readonly greeted: (number: number, socket: Socket) => (() => void) | undefined,
  ) {}

  /** In a directory that only this user may enter. */
  async open(path: string): Promise<void> {
    this.path = path;
    this.server = createServer((socket) => this.accepted(socket));
    await new Promise<void>((resolve, reject) => {
      this.server!.on('error', reject).listen(path, resolve);
    });
  }

  private accepted(socket: Socket): void {
    let ended: (() => void) | undefined;
    const patience = setTimeout(() => socket.destroy(), GREETING_MS);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(patience);
      ended?.();
    });
    socket.on('readable', () => {
      const bytes = socket.read(ended ? 1 : GREETING_BYTES) as Buffer | null;
      if (bytes === null) return;
      const number = ended ? undefined : greeted(bytes);
      const welcome = number === undefined ? undefined : this.greeted(number, socket);
      if (!welcome) return void socket.destroy();
      clearTimeout(patience);
      ended = welcome;
    });
  }

  async close(): Promise<void> {
    const { server } = this;
    if (!server) return;
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await unlink(this.path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  }
}
