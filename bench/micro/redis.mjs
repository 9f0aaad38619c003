/**
 * What docs/scaling.md counts with: node bench/micro/redis.mjs [--count 20000] [--seconds 3]
 * Bytes in Redis for each thing that is kept; CPU of publishes that are kept; CPU of Redis for batches between hosts that carry one
 * notification each, by how many there are a second and into how many inboxes; memory of a worker for each node that is read elsewhere.
 * Needs the built broker (npm run build) and redis-server.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Redis as Client } from 'ioredis';
import { defaults } from '../../dist/config/config.js';
import { Elsewhere } from '../../dist/pubsub/elsewhere.js';
import { openRedis } from '../../dist/redis/open.js';
import { openStore } from '../../dist/store/open.js';

const { values } = parseArgs({
  options: { count: { type: 'string', default: '20000' }, seconds: { type: 'string', default: '3' } },
});
const count = Number(values.count);
const seconds = Number(values.seconds);
const folder = mkdtempSync(join(tmpdir(), 'thrum-bench-redis-'));
const port = await new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
const options = ['--port', port, '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'];
const server = spawn('redis-server', options.map(String), { stdio: 'ignore' });
server.once('error', () => {
  console.error('redis-server cannot be started: is it installed?');
  process.exit(1);
});
const connect = () => new Client({ port, host: '127.0.0.1' });
const admin = connect();
const told = async (section, ...fields) => {
  const info = await admin.info(section);
  return fields.reduce((sum, field) => sum + Number(new RegExp(`^${field}:([\\d.]+)`, 'm').exec(info)[1]), 0);
};
const memory = () => told('memory', 'used_memory');
/** Microseconds. */
const cpu = async () => 1e6 * (await told('cpu', 'used_cpu_user', 'used_cpu_sys'));
const own = () => process.cpuUsage().user + process.cpuUsage().system;

const link = await openRedis({ ...defaults().redis, url: `redis://127.0.0.1:${port}` });
const store = await openStore({ kind: 'redis', path: '', redis: link, durability: 'commit' });
const device = (i) => `device${String(i).padStart(6, '0')}`;
const owner = (i) => `${device(i)}@example.org`;
const node = (i) => `sensors/floor12/${device(i)}`;
const created = Date.now();
const payload = Buffer.alloc(200, 'x');
const keys = () => ({
  salt: Buffer.alloc(16),
  iterations: 4096,
  storedKey: Buffer.alloc(32),
  serverKey: Buffer.alloc(32),
});
const item = (i, id) => store.items.publish(node(i), { id, publisher: owner(i), published: created, payload }, 10);
const subscribe = (i, jid) =>
  store.nodes.addSubscription({
    node: node(i),
    jid,
    bare: jid,
    subid: '0123456789abcdef',
    state: 'subscribed',
    created,
  });

console.log(`\nbytes in Redis, ${count} of each`);
const kept = {
  account: (i) => store.accounts.create(device(i), { sha1: keys(), sha256: keys(), created }),
  'node with its owner': (i) =>
    store.nodes.create({
      ...{ name: node(i), creator: owner(i), created, version: 0, config: { persist_items: '1' } },
      affiliations: { [owner(i)]: 'owner' },
    }),
  'first item of a node': (i) => item(i, 'a'),
  'one more': (i) => item(i, 'b'),
  'first reader of a node, who reads no other': (i) => subscribe(i, owner(i)),
  'one more, who reads all': (i) => subscribe(i, 'first@example.org'),
  'one more of these': (i) => subscribe(i, 'second@example.org'),
};
for (const [what, keep] of Object.entries(kept)) {
  const before = await memory();
  for (let i = 0; i < count; i += 500) await Promise.all(Array.from({ length: 500 }, (_, k) => keep(i + k)));
  line(what, Math.round(((await memory()) - before) / count), 'B');
}

console.log('\npublishes that are kept, 100 open: CPU of Redis and of this process');
for (const [what, nodes] of Object.entries({ 'to 100 nodes': 100, 'to one node': 1 })) {
  const end = performance.now() + seconds * 1000;
  const [redis, here] = [await cpu(), own()];
  let done = 0;
  const publisher = async () => {
    for (; performance.now() < end; done++) await item(done % nodes, 'current');
  };
  await Promise.all(Array.from({ length: 100 }, publisher));
  line(what, (((await cpu()) - redis) / done).toFixed(1), 'µs and', ((own() - here) / done).toFixed(1), 'µs');
}
await store.close();
await link.close();

console.log('\nbatches of one notification from 50 workers in turns: CPU of Redis for each');
const workers = Array.from({ length: 50 }, connect);
await Promise.all(workers.map((worker) => worker.ping()));
for (const inboxes of [1, 20]) for (const rate of [100, 1000, 10_000]) await batches(inboxes, rate);
for (const client of [...workers, admin]) client.disconnect();
server.kill();
rmSync(folder, { recursive: true, force: true });

/** So many a second; a worker whose last one is not confirmed is left out, as in the broker. */
async function batches(inboxes, rate) {
  const names = Array.from({ length: inboxes }, (_, i) => `inbox${i}`);
  const readers = names.map(connect);
  let [read, calls, sent] = [0, 0, 0];
  const readings = names.map(async (name, i) => {
    let last = String(await admin.xadd(name, '*', '', ''));
    for (;;) {
      const reading = readers[i].xreadBuffer('COUNT', 128, 'BLOCK', 0, 'STREAMS', name, last);
      const reply = await reading.catch(() => undefined);
      if (reply === undefined) return;
      const entries = reply[0][1];
      [last, read, calls] = [String(entries.at(-1)[0]), read + entries.length, calls + 1];
    }
  });
  const [from, before] = [performance.now(), await cpu()];
  const busy = new Set();
  for (let due = 0; performance.now() - from < seconds * 1000; await new Promise(setImmediate))
    for (const now = ((performance.now() - from) / 1000) * rate; due < now; due++) {
      const worker = workers[Math.floor(Math.random() * workers.length)];
      if (busy.has(worker)) continue;
      busy.add(worker);
      const name = names[sent++ % inboxes];
      const args = [name, 'NOMKSTREAM', 'MAXLEN', '~', 10_000, '*', Buffer.alloc(40), Buffer.alloc(300)];
      void worker.xadd(...args).then(() => busy.delete(worker));
    }
  const after = await cpu();
  const taken = (performance.now() - from) / 1000;
  line(
    `${Math.round(sent / taken)} a second into ${inboxes}`,
    ((after - before) / sent).toFixed(0),
    `µs; ${(read / calls).toFixed(1)} in one read`,
  );
  for (const reader of readers) reader.disconnect();
  await Promise.all(readings);
}

console.log('\nmemory of a worker for nodes that are read elsewhere');
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
collect();
const heap = process.memoryUsage().heapUsed;
const elsewhere = new Elsewhere();
const [many, start] = [500_000, own()];
for (let i = 0; i < many; i++) elsewhere.gain(i % 799, node(i));
const spent = own() - start;
collect();
line(
  'each',
  ((process.memoryUsage().heapUsed - heap) / elsewhere.size).toFixed(0),
  `B, ${(spent / many).toFixed(1)} µs`,
);

function line(what, ...figures) {
  console.log(`  ${what.padEnd(46)} ${figures.join(' ')}`);
}
