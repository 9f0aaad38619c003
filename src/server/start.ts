import { createHmac, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { adminNotice, banner, readyLine, status, type Started } from '../cli/banner.js';
import { ControlServer } from '../cli/control.js';
import type { Operations } from '../cli/admin.js';
import { workerNumbers } from '../cluster/hosts/numbers.js';
import { Supervisor, type WorkerInfo } from '../cluster/supervisor.js';
import { wipeSessionTables } from '../cluster/session-table.js';
import type { Config } from '../config/config.js';
import { findFreePort } from '../http/server.js';
import { PoolMetrics } from '../metrics/aggregate.js';
import { serverSecret } from '../stream/sasl/secret.js';
import { CertificateStore } from '../stream/tls/certificates.js';
import { enterCluster, type ClusterEntry } from './cluster.js';
import { createLogger } from './log.js';
import { Openings } from './openings.js';
import type { WorkerReady, WorkerSettings } from './worker-settings.js';

const version = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

/**
 * Readings on their way to the store live too long for the little that V8 gives the young at first: growing from there cost
 * publishes to persistent nodes 11 to 18 % of their CPU. For logins no difference could be told from the noise.
 *
 * The young are collected by the worker's own thread: helpers gain nothing where every core has a worker already, and cost a
 * login 7 to 14 % more CPU; publishes were no dearer for it.
 */
const WORKER_FLAGS = [...process.execArgv, '--min-semi-space-size=16', '--no-parallel-scavenge'];

/** How long one of these may take, beside what is waited for Redis: many iterations take seconds. */
const ADMIN_MS = 30_000;

/** The operations of {@link Operations} that the control socket passes on to a worker. */
const OPERATIONS = [
  'user.add',
  'user.passwd',
  'user.remove',
  'user.list',
  'node.list',
  'node.show',
  'node.remove',
] as const satisfies (keyof Operations)[];

/**
 * Runs a broker until it is told to stop: the supervisor's side. Resolves when everything has been closed in order; rejects
 * with a sentence for people when it cannot start.
 */
export async function startServer(config: Config, options: { json: boolean }): Promise<void> {
  const log = createLogger(config.log.level, { worker: 'supervisor' });
  // Until there is something to read again: a reload that comes early must not end us.
  process.on('SIGHUP', () => undefined);
  mkdirSync(config.data_dir, { recursive: true, mode: 0o700 });
  const cluster = config.store === 'redis' ? await enterCluster(config, log) : undefined;
  try {
    await serve(config, options, log, cluster);
  } finally {
    await cluster?.redis.close();
  }
}

async function serve(
  config: Config,
  options: { json: boolean },
  log: Logger,
  cluster: ClusterEntry | undefined,
): Promise<void> {
  const secrets = cluster?.secrets ?? {
    secret: await serverSecret(config.data_dir),
    proofKey: randomBytes(32),
    ticketKeys: randomBytes(48),
  };
  const host = config.listen_address;
  const workers = config.workers || (config.store === 'memory' ? 1 : availableParallelism());
  const agreed = async (port: number | 'off') => (port === 'off' ? undefined : findFreePort(host, port));
  const settings: WorkerSettings = {
    config,
    version,
    httpPort: await agreed(config.http.port),
    httpsPort: await agreed(config.https.port),
    secret: secrets.secret.toString('base64'),
    proofKey: secrets.proofKey.toString('base64'),
    ticketKeys: secrets.ticketKeys.toString('base64'),
  };
  const supervisor = new Supervisor({
    workers,
    entry: fileURLToPath(new URL('./worker.js', import.meta.url)),
    settings,
    backlogBytes: config.limits.bus_backlog_bytes,
    graceSeconds: config.shutdown.grace_seconds,
    nodeFlags: WORKER_FLAGS,
    numbers: cluster && workerNumbers(cluster.redis),
    log,
  });
  const metrics = new PoolMetrics(() => supervisor.askAll('metrics', {}));
  supervisor.handle('metrics', () => metrics.text());
  const openings = new Openings(supervisor);
  supervisor.handle('opening', (_body, worker) => openings.begin(`worker ${worker.number}`));
  supervisor.handle('opened', (_body, worker) => openings.end(`worker ${worker.number}`));
  supervisor.on('exit', (worker: WorkerInfo, code: number | null) => {
    openings.gone(`worker ${worker.number}`);
    if (code !== 0) metrics.died();
  });

  const first = (): WorkerInfo => {
    const worker = supervisor.workers[0];
    if (worker === undefined) throw new Error('no worker is running at the moment; try again');
    return worker;
  };
  // Whatever it waits for says so first.
  const patience = ADMIN_MS + config.redis.patience_seconds * 1000;
  const ask = (name: keyof Operations, args: unknown): Promise<unknown> =>
    supervisor.ask(first(), 'admin', { name, args }, patience);
  let started: Started | undefined;
  const control = new ControlServer(config.data_dir, {
    ...Object.fromEntries(OPERATIONS.map((name) => [name, (args: never) => ask(name, args)])),
    status: () => started && status(started),
    // Of the account of `thrum sensor`, `watch` and `demo`: nothing to remember, and all hosts say the same.
    'demo.password': () => createHmac('sha256', secrets.secret).update('demo').digest('base64url'),
    // For whoever opens the store beside the workers, such as a backup.
    'store.opening': () => openings.begin('another process'),
    'store.opened': () => openings.end('another process'),
  });
  await control.listen();
  const stop = stopper(async () => {
    await supervisor.stop();
    await control.close();
    log.info('closed');
  });
  // From here on, so that a signal that answers the line of readiness, or comes before it, finds us.
  let asked = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      log.info({ signal }, 'closing');
      asked = true;
      void stop.now();
    });
  }
  try {
    // Not before the folder is ours: these may be the tables, and the certificate, of a broker that runs.
    wipeSessionTables(config.data_dir);
    // Made here once, so that workers that start together find it.
    await CertificateStore.open({ config, log });
    const ready = await supervisor.start();
    const listeners = ready[0]!.ready as WorkerReady;
    started = {
      version,
      config,
      pid: process.pid,
      workers: ready.map((worker) => worker.pid),
      c2s: listeners.c2s,
      c2s_tls: listeners.c2s_tls,
      http: settings.httpPort,
      https: settings.httpsPort,
      admin: await firstAdmin(config, ask),
    };
  } catch (error) {
    await stop.now();
    if (asked) return;
    throw error;
  }
  // Before the line that harnesses wait for, so that it is there when they look.
  if (options.json && started.admin !== undefined) process.stderr.write(`${adminNotice(started.admin)}\n`);
  process.stdout.write(`${options.json ? readyLine(started) : banner(started)}\n`);

  process.on('SIGHUP', () => {
    supervisor.reload().then(
      () => log.info('certificates were read again'),
      ({ message }: Error) =>
        log.error({ reason: message }, 'certificates could not be read again; the old ones stay in use'),
    );
  });
  await stop.done;
}

/** Runs `close` once, however often it is asked to. */
function stopper(close: () => Promise<void>): { now(): Promise<void>; done: Promise<void> } {
  let running: Promise<void> | undefined;
  let settle!: (value: Promise<void>) => void;
  const done = new Promise<void>((resolve) => (settle = resolve));
  return {
    now() {
      if (running === undefined) settle((running = close()));
      return running!;
    },
    done,
  };
}

/** Where nobody can administer a fresh broker, an account is made whose password is shown once. */
async function firstAdmin(
  config: Config,
  ask: (name: keyof Operations, args: unknown) => Promise<unknown>,
): Promise<Started['admin']> {
  if (config.admins.length > 0) return undefined;
  const users = (await ask('user.list', { limit: 1 })) as unknown[];
  if (users.length > 0) return undefined;
  const password = randomBytes(12).toString('base64url');
  const outcome = await ask('user.add', { user: 'admin', password });
  return outcome === 'created' ? { jid: `admin@${config.domain}`, password } : undefined;
}
