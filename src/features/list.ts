import type { Config } from '../config/config.js';
import type { Accounts } from '../stream/sasl/accounts.js';
import { core, legacySession, streamManagement } from './bound-stream.js';
import { contactAddresses } from './contact.js';
import { DECLARATIONS } from './declarations.js';
import { disco, type DiscoContext } from './disco.js';
import { entityTime } from './time.js';
import { lastActivity } from './last.js';
import { ping } from './ping.js';
import { register } from './register.js';
import { FeatureSet } from './registry.js';
import { softwareVersion } from './version.js';
import { streamLimits } from './stream-limits.js';

/** What the features need from the floors below. */
export interface FeatureContext {
  config: Config;
  /** Thrum's own. */
  version: string;
  accounts: Accounts;
  /** When the server started, in milliseconds since the epoch. */
  started: number;
  /** See {@link DiscoContext}; without it the pub-sub service answers disco#info by itself. */
  pubsubInfo?: DiscoContext['pubsubInfo'];
}

/** Everything that the broker speaks. The order is that of the stream features (RFC 6120 §4.3.2: bind first). */
export function features(context: FeatureContext): FeatureSet {
  const set: FeatureSet = new FeatureSet([
    core(),
    legacySession(),
    streamManagement(),
    streamLimits(),
    disco({ ...context, features: () => set }),
    ping(),
    softwareVersion(context),
    entityTime(),
    lastActivity(context),
    register(context),
    contactAddresses(),
    ...DECLARATIONS,
  ]);
  return set;
}
