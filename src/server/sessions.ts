import type { Logger } from 'pino';
import type { FeatureSet } from '../features/registry.js';
import { features } from '../features/list.js';
import { JidCache } from '../jid/jid.js';
import { PubSub } from '../pubsub/pubsub.js';
import { listenForKicks } from '../session/bind.js';
import type { SessionContext } from '../session/context.js';
import { Router } from '../session/router.js';
import { SpoolCleaning } from '../session/spool-cleaning.js';
import { Spool } from '../session/spool.js';
import { Succession } from '../session/succession.js';
import type { Accounts } from '../stream/sasl/accounts.js';
import { Scanner } from '../xml/scanner.js';
import { TreeBuilder } from '../xml/tree.js';
import type { Foundations } from './foundations.js';
import type { WorkerSettings } from './worker-settings.js';

/** What the worker's sessions share, the services beside them, and what both answer. */
export interface Sessions {
  context: SessionContext;
  featureSet: FeatureSet;
  pubsub: PubSub;
}

/** Pool-wide memory of addresses that were parsed. */
const JID_CACHE = 50_000;

export async function openSessions(
  { redis, hosts, bus, store, directory, registry }: Foundations,
  { config, version }: WorkerSettings,
  accounts: Accounts,
  log: Logger,
): Promise<Sessions> {
  const scanner = Scanner.create({ memoryBytes: config.limits.scanner_bytes });
  const tree = await TreeBuilder.create();
  const featureSet = features({
    config,
    version,
    accounts,
    started: Date.now(),
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
  directory.onSwept?.((entry) => router.ghosts.died(entry));
  hosts?.onRenewed(async () => router.ghosts.showAgain());
  if (redis && hosts && spool) {
    const isBack = (worker: number, epoch: number): boolean =>
      hosts.members().some((one) => one.number === worker && one.epoch > epoch);
    const cleaning = new SpoolCleaning({ redis, isBack, bus, jids: base.jids, router, log });
    hosts.onRenewed(() => spool.renewed());
    hosts.onLeave(() => spool.removed);
    hosts.onDeparted((worker, epoch) => cleaning.cleanUp(worker, epoch));
  }
  return { context, featureSet, pubsub };
}
