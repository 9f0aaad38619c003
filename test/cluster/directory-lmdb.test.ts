import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { LmdbDirectory } from '../../src/cluster/lmdb-directory.js';
import { directoryConforms } from './directory-conformance.js';
import { mesh } from './mesh.js';

directoryConforms('the directory of a pool', async (size) => {
  const path = await mkdtemp(join(tmpdir(), 'directory-'));
  onTestFinished(() => rm(path, { recursive: true }));
  const { buses } = await mesh(size);
  const directories = buses.map((bus) => new LmdbDirectory({ bus, path, shards: 4 }));
  onTestFinished(async () => {
    for (const directory of directories) await directory.close();
  });
  return {
    directories,
    kill: async (worker) => {
      await buses[worker - 1]!.close();
      const left = buses.filter((bus) => bus.self !== worker);
      // Those that are left hear of it by the sockets.
      for (const bus of left) while (bus.peers.has(worker)) await new Promise(setImmediate);
      await directories[left[0]!.self - 1]!.sweep(worker);
    },
  };
});
