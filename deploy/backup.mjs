// A consistent copy of a broker's data while it runs: one read transaction of LMDB, so publishing goes on meanwhile.
//
//   node deploy/backup.mjs <data_dir> <folder that is not there yet>
//
// To go back to it, stop the broker and put the folder in the place of data_dir.
import { cp, mkdir, rename } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { open } from 'lmdb';

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined || existsSync(to) || !existsSync(join(from, 'store'))) {
  console.error('usage: node deploy/backup.mjs <data_dir> <folder that is not there yet>');
  process.exit(2);
}

const draft = `${resolve(to)}.unfinished`;
await mkdir(join(draft, 'store'), { recursive: true, mode: 0o700 });
// A running broker holds its writes while its files are opened by another process (src/server/openings.ts).
await tell('store.opening');
const store = open({ path: join(from, 'store'), readOnly: true });
await tell('store.opened');
await store.backup(join(draft, 'store'), true);
await store.close();
// Beside the store: the secret that challenges are made with, the self-signed certificate. Never a socket or a lock.
for (const name of ['sasl.secret', 'tls']) {
  if (existsSync(join(from, name))) await cp(join(from, name), join(draft, name), { recursive: true });
}
// The name appears when the copy is whole.
await rename(draft, to);

/** Asks the broker that runs on `from`, if there is one. */
function tell(name) {
  return new Promise((done) => {
    const socket = connect(join(from, 'control.sock'));
    socket.on('error', () => done());
    socket.on('data', () => {
      socket.destroy();
      done();
    });
    socket.write(`${JSON.stringify({ id: 1, name, args: {} })}\n`);
  });
}
