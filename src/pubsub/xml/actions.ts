import type { AffiliationChange } from '../affiliating.js';
import type { Submitted } from '../options.js';
import type { Publish } from '../publishing.js';
import type { Retract } from '../retracting.js';
import type { Retrieve } from '../retrieving.js';
import type { SubscriptionChange } from '../subscribers.js';
import type { Reference } from '../subscribing.js';

/** One request to the service, understood: what {@link execute} does, and nothing of how it was written. */
export type Action =
  | { kind: 'create'; node: string | undefined; config: Submitted | undefined }
  | { kind: 'configuration'; node: string }
  /** Without a configuration the form was cancelled, and nothing changes. */
  | { kind: 'configure'; node: string; config: Submitted | undefined }
  | { kind: 'default-configuration' }
  | { kind: 'delete'; node: string; redirect: string | undefined }
  | { kind: 'purge'; node: string }
  | ({ kind: 'publish' } & Publish)
  | ({ kind: 'retract' } & Retract)
  | ({ kind: 'retrieve' } & Retrieve)
  | { kind: 'subscribe'; node: string; jid: string | undefined; options: Submitted | undefined }
  | ({ kind: 'unsubscribe' } & Reference)
  | ({ kind: 'subscription-options' } & Reference)
  | ({ kind: 'configure-subscription'; options: Submitted | undefined } & Reference)
  | { kind: 'default-subscription-options'; node: string | undefined }
  | { kind: 'own-subscriptions'; node: string | undefined }
  | { kind: 'own-affiliations'; node: string | undefined }
  | { kind: 'subscribers'; node: string }
  | { kind: 'set-subscribers'; node: string; changes: readonly SubscriptionChange[] }
  | { kind: 'affiliated'; node: string }
  | { kind: 'set-affiliations'; node: string; changes: readonly AffiliationChange[] };

export type ActionOf<Kind extends Action['kind']> = Extract<Action, { kind: Kind }>;
