// Runs one worker as a process of its own, without node:cluster: profilers such as clinic cannot look into forked workers.
// It plays the supervisor to itself; everything else is the broker as it is built.
//
//   node solo.mjs --set data_dir=… --set c2s.port=0 …
import cluster from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { POOL } from '../dist/cluster/pool-messages.js';
import { loadConfig } from '../dist/config/load.js';
import { findFreePort } from '../dist/http/server.js';

const set = process.argv.flatMap((argument, i, all) => (argument === '--set' ? [all[i + 1]] : []));
const { config, problems } = loadConfig({ set });
if (config === undefined) throw new Error(JSON.stringify(problems));
mkdirSync(config.data_dir, { recursive: true, mode: 0o700 });

const agreed = async (port) => (port === 'off' ? undefined : port === 0 ? findFreePort(config.listen_address) : port);
const key = (bytes) => randomBytes(bytes).toString('base64');
const settings = {
  config,
  version: 'bench',
  httpPort: await agreed(config.http.port),
  httpsPort: await agreed(config.https.port),
  secret: key(32),
  proofKey: key(32),
  ticketKeys: key(48),
};
const welcome = {
  number: 1,
  slot: 0,
  workers: 1,
  settings,
  socket: '',
  backlogBytes: config.limits.bus_backlog_bytes,
  graceSeconds: config.shutdown.grace_seconds,
};

/** What the worker hears from its supervisor. */
const tell = (message) => process.emit('message', message, undefined);
const answers = { [POOL.join]: () => welcome, [POOL.connect]: () => [], metrics: () => '' };
const news = {
  [POOL.ready]: (ready) => {
    const { c2s, c2s_tls } = ready;
    const ports = { c2s, c2s_tls, http: settings.httpPort };
    console.log(JSON.stringify({ ready: true, pid: process.pid, workers: [], ...ports }));
  },
  [POOL.failed]: ({ message }) => {
    console.error(message);
    process.exit(1);
  },
};

cluster.worker = { once: () => undefined };
Object.defineProperty(process, 'connected', { value: true });
process.send = (message, ...rest) => {
  const { thrum, id, name, body } = message;
  setImmediate(() => {
    if (thrum === 'ask') tell({ thrum: 'answer', id, body: answers[name]?.(body) });
    else if (thrum === 'tell') news[name]?.(body);
    else if (id === 1) finish();
    rest.find((argument) => typeof argument === 'function')?.(null);
  });
  return true;
};

const stop = () => tell({ thrum: 'ask', id: 1, name: POOL.drain });
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

/** The profiler writes what it has before the process ends. */
function finish() {
  process.emit('beforeExit', 0);
  setTimeout(() => process.exit(0), 2000);
}

await import('../dist/server/worker.js');
