import { operations, type Operations } from '../cli/admin.js';
import { joinPool, type Membership } from '../cluster/member.js';
import { limits as streamLimits } from '../features/stream-limits.js';
import { registration } from '../features/register.js';
import { WEBSOCKET_PATH, createHttp } from '../http/server.js';
import { publishToWrite } from '../metrics/histogram.js';
import { metricsRegistry } from '../metrics/registry.js';
import type { ClusterSecrets } from '../redis/keyspace.js';
import { bindSession, endSessions } from '../session/bind.js';
import { Destinations } from '../session/moving/destinations.js';
import { Moving } from '../session/moving/moving.js';
import { Resumption } from '../session/resumption.js';
import { Connection } from '../stream/connection.js';
import { flusher } from '../stream/flusher.js';
import { Gate } from '../stream/gate.js';
import type { StreamHost } from '../stream/host.js';
import { Relays } from '../stream/relay.js';
import { CertificateStore } from '../stream/tls/certificates.js';
import { clientAddress } from '../stream/upgrade.js';
import { serveWebSocket } from '../stream/websocket.js';
import { restoreSecrets } from './cluster.js';
import { Drain } from './drain.js';
import { layFoundations } from './foundations.js';
import { Listeners } from './listeners.js';
import { createLogger } from './log.js';
import { openLogins } from './logins.js';
import { openSessions } from './sessions.js';
import { sweep } from './sweeper.js';
import type { WorkerReady, WorkerSettings } from './worker-settings.js';

/** How long a worker that ends waits for a Redis that is away, in milliseconds; at most the grace. */
const AWAY_MS = 3_000;

/** The composition root of a worker: every room is built here, from the ground floor up. */
async function run(pool: Membership): Promise<void> {
  const settings = pool.settings as WorkerSettings;
  const { config, version } = settings;
  const { limits } = config;
  const log = createLogger(config.log.level, { worker: pool.slot, pid: process.pid });
  const secrets: ClusterSecrets = {
    secret: Buffer.from(settings.secret, 'base64'),
    proofKey: Buffer.from(settings.proofKey, 'base64'),
    ticketKeys: Buffer.from(settings.ticketKeys, 'base64'),
  };

  const foundations = await layFoundations(pool, log);
  const { redis, hosts, bus, store, directory, registry } = foundations;
  // A keyspace that was emptied under the running cluster is its own again before another host makes it its own.
  if (redis) hosts?.onRenewed(() => restoreSecrets(redis, config, secrets, log));
  const { accounts, authenticator } = openLogins(foundations, config, secrets, log);
  const certificates = await CertificateStore.open({ config, log, ticketKeys: secrets.ticketKeys });
  const { context, featureSet, pubsub } = await openSessions(foundations, settings, accounts, log);
  const { scanner, tree, spool } = context;

  // Streams.
  const gate = new Gate(limits);
  const connections = new Set<Connection>();
  const state = { draining: false };
  const streams: StreamHost = {
    config,
    log,
    scanner,
    tree,
    gate,
    connections,
    authenticator,
    certificates,
    loginFeatures: streamLimits(config, false).serialize('jabber:client'),
    offers: new Map(),
    boundFeatures: featureSet.streamFeatures(config),
    get draining() {
      return state.draining;
    },
    bind: (connection, user, resource) => bindSession(context, connection, user, resource),
    resume: (connection, user, previd, h) => resumption.resume(connection, user, previd, h),
    register: (type, query, address) => registration(config, accounts, type, query, address),
  };
  const moving = new Moving(context);
  const destinations = new Destinations(
    bus,
    () => hosts?.members() ?? [],
    () => redis?.forsaken === true,
  );
  const resumption: Resumption = new Resumption(
    context,
    streams,
    new Relays(bus),
    moving,
    destinations.sameHost,
    (transport) => {
      gate.join(transport.remoteAddress);
      return new Connection(streams, transport);
    },
  );

  // Listeners.
  const listeners = new Listeners(streams);
  const http = createHttp({
    config,
    log,
    port: settings.httpPort,
    httpsPort: settings.httpsPort,
    certificates,
    metricsText: async () => (await pool.ask('metrics')) as string,
    mayRequest: (response, request) => gate.mayRequest(clientAddress(response, request, listeners.balancers)),
    readiness: () => [
      ...(state.draining ? ['draining'] : []),
      ...(redis !== undefined && !redis.up ? ['redis is away'] : []),
    ],
  });
  http.attach((app, secure) =>
    serveWebSocket(app, {
      path: WEBSOCKET_PATH,
      maxMessageBytes: limits.stanza_bytes,
      maxBacklogBytes: limits.outbox_bytes * 2,
      secure,
      gate,
      admission: listeners.admission(),
      balancers: listeners.balancers,
      draining: () => state.draining,
      connected: (transport) => new Connection(streams, transport),
    }),
  );
  await (hosts ?? pool).connect();
  const ready: WorkerReady = {
    c2s: await listeners.open(config.c2s.port, false),
    c2s_tls: await listeners.open(config.c2s_tls.port, true),
  };
  await http.listen();
  const stopSweeping = sweep(connections, config);

  // Operations.
  const metrics = metricsRegistry({ worker: pool.slot, version, certificates, bus, hosts });
  flusher.observe = (seconds) => publishToWrite.observe(seconds);
  pool.handle('metrics', () => metrics.getMetricsAsJSON());
  const admin = operations({
    store,
    accounts,
    removeNode: (name) => pubsub.removeNode(name),
    revoked: (user) => endSessions(context, `${user}@${config.domain}`, 'the account has changed'),
  });
  pool.handle('admin', ({ name, args }: { name: keyof Operations; args: never }) => admin[name](args));
  pool.handle('hold', () => Promise.all([store.hold?.(), directory.hold?.()]).then(() => true));
  pool.handle('release', () => {
    store.release?.();
    directory.release?.();
  });
  pool.onReload(async () => {
    if (!(await certificates.reload())) throw new Error('the certificate was not reloaded; see the log');
  });
  pool.onDrain(async (whole) => {
    state.draining = true;
    redis?.hasten(Math.min(AWAY_MS, config.shutdown.grace_seconds * 1000));
    // Those who cannot be told find out.
    hosts?.announce({ draining: true }).catch(() => undefined);
    moving.refuse();
    destinations.leave(whole);
    // Others of this host answer where it stays; where it goes, load balancers and Prometheus ask until the end.
    if (!whole) http.stopListening();
    listeners.close();
    await new Drain({
      connections,
      registry,
      moving,
      graceMilliseconds: config.shutdown.grace_seconds * 1000,
      spreadMilliseconds: config.shutdown.spread_seconds * 1000,
      destinations,
    }).run();
    stopSweeping();
    await pubsub.stop();
    await directory.close();
    // What could not go to other hosts is theirs to send on.
    await spool?.close(redis?.forsaken);
    await store.close();
    await hosts?.leave();
    await redis?.close();
    http.close();
  });
  pool.ready(ready);
  log.info(ready, 'worker is ready');
}

const pool = await joinPool();
run(pool).catch((error: unknown) => {
  pool.failed(error instanceof Error ? error.message : String(error));
});
