/**
 * What a persistent publish costs the store: node bench/micro/store.mjs [--path folder] [--seconds 2] [--durability commit|flush]
 * CPU is that of the whole process, LMDB's writer threads and the kernel's work for it included.
 * Needs the built store (npm run build). A bigger young generation (node --min-semi-space-size=16) takes 10 to 20 % off.
 * With one node, items that a later publish of the same commit pushes out are never written: that is why it is so cheap.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openStore } from '../../dist/store/open.js';

const { values } = parseArgs({
  options: {
    path: { type: 'string' },
    seconds: { type: 'string', default: '2' },
    durability: { type: 'string', default: 'commit' },
    kind: { type: 'string', default: 'lmdb' },
    /** A regular expression: only the rows whose name it matches. */
    only: { type: 'string', default: '' },
    payload: { type: 'string', default: '1024' },
  },
});
const folder = values.path ?? mkdtempSync(join(tmpdir(), 'thrum-bench-'));
const { kind, durability } = values;
const store = await openStore({ kind, path: join(folder, 'store'), durability });
const payload = Buffer.alloc(Number(values.payload), 'x');
const seconds = Number(values.seconds);
let serial = 0;

async function nodes(prefix, count) {
  const names = Array.from({ length: count }, (_, n) => `${prefix}/device-${n}/temperature`);
  const record = { creator: 'bench@localhost', created: Date.now(), version: 0, config: {}, affiliations: {} };
  await Promise.all(names.map((name) => store.nodes.create({ ...record, name })));
  return names;
}

/** `inFlight` publishes are unanswered at any time, each on the next node. */
async function publishes(label, { count = 1, inFlight = 100, maxItems = 10, ids = 'unique', warm = 0 }) {
  if (!new RegExp(values.only).test(label)) return;
  const names = await nodes(label, count);
  const publish = (n) => {
    const id = ids === 'unique' ? `item-${(serial++).toString(36).padStart(16, '0')}` : 'current';
    return store.items.publish(
      names[n % count],
      { id, publisher: 'sensor@localhost', published: Date.now(), payload },
      maxItems,
    );
  };
  for (let n = 0; n < warm; n += 1000) await Promise.all(Array.from({ length: 1000 }, (_, i) => publish(n + i)));
  let done = 0;
  let running = true;
  let next = 0;
  const publisher = async () => {
    for (; running; done++) await publish(next++);
  };
  const publishers = Array.from({ length: inFlight }, publisher);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const before = { done, cpu: process.cpuUsage(), time: performance.now() };
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const cpu = process.cpuUsage(before.cpu);
  const published = done - before.done;
  const elapsed = (performance.now() - before.time) / 1000;
  running = false;
  await Promise.all(publishers);
  console.log(
    label.padEnd(46),
    `${((cpu.user + cpu.system) / published).toFixed(1)} µs CPU`.padStart(14),
    `(system ${(cpu.system / published).toFixed(1)})`,
    `${Math.round(published / elapsed).toLocaleString('en')}/s`.padStart(11),
    `  ${Math.round(process.memoryUsage().rss / 2 ** 20)} MB resident`,
  );
}

await publishes('one node, 1 at a time, max_items 10', { inFlight: 1 });
await publishes('one node, 8 in flight, max_items 10', { inFlight: 8 });
await publishes('one node, 100 in flight, max_items 10', { inFlight: 100 });
await publishes('500 nodes, 500 in flight, max_items 10', { count: 500, inFlight: 500, warm: 5000 });
await publishes('10,000 nodes, 500 in flight, max_items 10', { count: 10_000, inFlight: 500, warm: 100_000 });
await publishes('500 nodes, 500 in flight, max_items 1', { count: 500, inFlight: 500, maxItems: 1, ids: 'same' });
await publishes('one node, 100 in flight, max_items 100,000', { maxItems: 100_000, warm: 100_000 });
await publishes('500 nodes, 500 in flight, max_items 1000', {
  count: 500,
  inFlight: 500,
  maxItems: 1000,
  warm: 500_000,
});
await store.close();
if (values.path === undefined) rmSync(folder, { recursive: true, force: true });
