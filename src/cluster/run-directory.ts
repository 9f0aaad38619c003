import { chmod, lstat, mkdir, mkdtemp, readdir, rmdir, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The shortest bound of `sun_path` on the systems we know (macOS: 104), less the terminating zero. */
const SOCKET_PATH_MAX = 103;
/** Longest name of a socket: a worker's number and `.sock`. */
const NAME_MAX = '/4294967295.sock'.length;

/**
 * Makes the private directory (0700) of the pool's sockets: `wanted` when it is given and short enough for
 * the path of a Unix socket, else a fresh one among the temporary files. A wanted one loses the sockets that a killed pool left.
 */
export async function makeRunDirectory(wanted: string | undefined): Promise<string> {
  const path = wanted === undefined ? undefined : resolve(wanted);
  if (path === undefined || Buffer.byteLength(path) + NAME_MAX > SOCKET_PATH_MAX) {
    return mkdtemp(join(Buffer.byteLength(tmpdir()) < SOCKET_PATH_MAX / 2 ? tmpdir() : '/tmp', 'thrum-'));
  }
  await mkdir(path, { recursive: true, mode: 0o700 });
  await chmod(path, 0o700);
  const { uid } = await lstat(path);
  if (process.getuid && uid !== process.getuid()) throw new Error(`${path} belongs to another user`);
  await removeSockets(path);
  return path;
}

export function socketPath(directory: string, number: number): string {
  return join(directory, `${number}.sock`);
}

/** Removes the sockets, and the directory when nothing else lies in it. */
export async function removeRunDirectory(path: string): Promise<void> {
  await removeSockets(path);
  await rmdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error;
  });
}

async function removeSockets(path: string): Promise<void> {
  for (const name of await readdir(path)) if (/^\d+\.sock$/.test(name)) await unlink(join(path, name));
}
