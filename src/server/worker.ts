import { operations, type Operations } from '../cli/admin.js';
import { joinHosts } from '../cluster/hosts/join.js';
import { connectionName } from '../cluster/hosts/keys.js';
import { joinPool, type Membership } from '../cluster/member.js';
import { openDirectory } from '../cluster/session-table.js';
import type { Config } from '../config/config.js';
import { paths } from '../config/paths.js';
import { features } from '../features/list.js';
import { limits as streamLimits } from '../features/stream-limits.js';
import { registration } from '../features/register.js';
import { WEBSOCKET_PATH, createHttp } from '../http/server.js';
import { JidCache } from '../jid/jid.js';
import { metricsRegistry } from '../metrics/registry.js';
import { publishToWrite } from '../metrics/histogram.js';
import { PubSub } from '../pubsub/pubsub.js';
import type { SessionContext } from '../session/context.js';
import { bindSession, displaced, endSessions, listenForKicks } from '../session/bind.js';
import { Destinations } from '../session/moving/destinations.js';
import { Moving } from '../session/moving/moving.js';
import { Registry } from '../session/registry.js';
import { Resumption } from '../session/resumption.js';
import { Router } from '../session/router.js';
import { SpoolCleaning } from '../session/spool-cleaning.js';
import { Spool } from '../session/spool.js';
import { Succession } from '../session/succession.js';
import { openRedis } from '../redis/open.js';
import { openStore } from '../store/open.js';
import { StoreError } from '../store/store.js';
import { Connection } from '../stream/connection.js';
import { flusher } from '../stream/flusher.js';
import { Gate } from '../stream/gate.js';
import type { StreamHost } from '../stream/host.js';
import { Relays } from '../stream/relay.js';
import { Accounts } from '../stream/sasl/accounts.js';
import { Authenticator } from '../stream/sasl/authenticator.js';
import { ProofCache } from '../stream/sasl/proofs.js';
import { CertificateStore } from '../stream/tls/certificates.js';
import { clientAddress } from '../stream/upgrade.js';
import { serveWebSocket } from '../stream/websocket.js';
import { Scanner } from '../xml/scanner.js';
import { TreeBuilder } from '../xml/tree.js';
import { hostOptions, restoreSecrets } from './cluster.js';
import { createLogger } from './log.js';
import { Drain } from './drain.js';
import { Listeners } from './listeners.js';
import { sweep } from './sweeper.js';

/** What the supervisor gives to every worker. */
export interface WorkerSettings {
  config: Config;
  version: string;
  /** Agreed before, since every worker listens on it itself. */
  httpPort: number | undefined;
  httpsPort: number | undefined;
  /** The server's lasting secret, the key of the pool's password proofs, and its TLS ticket keys: base64. */
  secret: string;
  proofKey: string;
  ticketKeys: string;
}

/** What a worker tells when it accepts connections. */
export interface WorkerReady {
  c2s: number | undefined;
  c2s_tls: number | undefined;
}

/** How long all who open the store before may take together, in milliseconds: workers that start with this one, a backup. */
const OPENING_MS = 600_000;
/** How long a worker that ends waits for a Redis that is away, in milliseconds; at most the grace. */
const AWAY_MS = 3_000;
/** Pool-wide memory of addresses that were parsed. */
const JID_CACHE = 50_000;

/** The composition root of a worker: every room is built here, from the ground floor up. */
async function run(pool: Membership): Promise<void> {
  const settings = pool.settings as WorkerSettings;
  const { config, version } = settings;
  const { limits } = config;
  const log = createLogger(config.log.level, { worker: pool.slot, pid: process.pid });
  const started = Date.now();

  // The other workers, and what lasts.
  const name = connectionName(config.redis, pool.number);
  const redis = config.store === 'redis' ? await openRedis(config.redis, { log, name }) : undefined;
  const hosts = redis && (await joinHosts({ pool, redis, ...hostOptions(config, version), log }));
  const bus = hosts?.bus ?? pool.bus;
  const registry = new Registry();
  await pool.ask('opening', undefined, OPENING_MS);
  const store = await openStore({
    kind: config.store,
    path: paths(config.data_dir).store,
    redis,
    durability: config.durability,
    // What it finds is the same for all workers.
    log: pool.slot === 0 ? log : undefined,
  });
  const directory = await openDirectory({
    pool,
    dataDir: config.data_dir,
    cluster: redis &&
      hosts && {
        redis,
        hosts,
        leaseSeconds: config.cluster.lease_seconds,
        onLost: (entry) => displaced(registry, entry),
        log,
      },
  });
  await pool.ask('opened');

  // Who may log in, and the certificates.
  const secrets = {
    secret: Buffer.from(settings.secret, 'base64'),
    proofKey: Buffer.from(settings.proofKey, 'base64'),
    ticketKeys: Buffer.from(settings.ticketKeys, 'base64'),
  };
  // A keyspace that was emptied under the running cluster is its own again before another host makes it its own.
  if (redis) hosts?.onRenewed(() => restoreSecrets(redis, config, secrets, log));
  const proofs = new ProofCache({
    key: secrets.proofKey,
    capacity: config.sasl.proof_capacity,
    bus,
  });
  const { iterations } = config.sasl;
  const accounts = new Accounts(store.accounts, { iterations, proofs });
  const authenticator = new Authenticator(accounts, store.accounts, {
    secret: secrets.secret,
    iterations,
    // That the store is away is said once, by whoever asks it.
    onError: (error) => {
      if (!(error instanceof StoreError && error.reason === 'unavailable'))
        log.error({ err: error }, 'a login could not be checked');
    },
  });
  const certificates = await CertificateStore.open({
    config,
    log,
    ticketKeys: secrets.ticketKeys,
  });

  // Sessions, the services beside them, and what both answer.
  const scanner = Scanner.create({ memoryBytes: limits.scanner_bytes });
  const tree = await TreeBuilder.create();
  const featureSet = features({
    config,
    version,
    accounts,
    started,
    pubsubInfo: (node, more) => pubsub.discoInfo(node, more),
  });
  const admins = new Set(config.admins.length > 0 ? config.admins : [`admin@${config.domain}`]);
  const base: Omit<SessionContext, 'router' | 'succession'> = {
    config,
    log,
    scanner,
    tree,
    jids: new JidCache(JID_CACHE),
    bus,
    directory,
    registry,
    services: new Map(),
    watchers: [],
    handler: (target, route) => featureSet.handler(target, route),
    isAdmin: (bare) => admins.has(bare),
  };
  const router = new Router(base);
  const succession = new Succession({ bus, registry, router, jids: base.jids });
  const spool = redis && hosts && new Spool({ redis, self: bus.self, epoch: () => hosts.epoch, registry });
  const context: SessionContext = { ...base, router, succession, spool };
  context.watchers.push(succession);
  listenForKicks(context);
  const host = `${config.pubsub.host_prefix}.${config.domain}`;
  const pubsub = new PubSub({ host, config, store, bus, router, log });
  context.services.set(host, pubsub);
  context.watchers.push(pubsub);
  await pubsub.start();
  accounts.leaving = (user) => pubsub.forgetAccount(`${user}@${config.domain}`);
  redis?.onState((up) => up && pubsub.recheck());
  redis?.onForsaken(() => void pubsub.stop());
  hosts?.onRenewed(async () => pubsub.recheck());
  if (redis && hosts && spool) {
    const isBack = (worker: number, epoch: number): boolean =>
      hosts.members().some((one) => one.number === worker && one.epoch > epoch);
    const cleaning = new SpoolCleaning({ redis, isBack, bus, jids: base.jids, router, log });
    hosts.onRenewed(() => spool.renewed());
    hosts.onLeave(() => spool.removed);
    hosts.onDeparted((worker, epoch) => cleaning.cleanUp(worker, epoch));
  }

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
