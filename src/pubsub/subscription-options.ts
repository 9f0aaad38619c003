import type { SubscriptionRecord } from '../store/store.js';
import { type OptionKind, type Submitted, flag } from './options.js';

/** The options of a subscription (XEP-0060 §16.4.2), by their name without `pubsub#`. */
export const SUBSCRIPTION_OPTIONS = {
  deliver: flag('Whether notifications are wanted', true) as OptionKind<never>,
} as const;

export type SubscriptionOption = keyof typeof SUBSCRIPTION_OPTIONS;
/** In canonical form, as the store keeps them. */
export type SubscriptionOptions = Readonly<Record<SubscriptionOption, string>>;

const NO_LIMITS = { itemsPerNode: 0, payloadBytes: 0 };
const names = Object.keys(SUBSCRIPTION_OPTIONS) as SubscriptionOption[];

function kind(name: SubscriptionOption): OptionKind<unknown> {
  return SUBSCRIPTION_OPTIONS[name] as OptionKind<unknown>;
}

/** All options of the subscription; the defaults where there is none. */
export function expandOptions(subscription: SubscriptionRecord | undefined): SubscriptionOptions {
  const all: Record<string, string> = {};
  for (const name of names) {
    const stored = subscription?.options?.[name];
    all[name] = typeof stored === 'string' ? stored : kind(name).write(kind(name).default(NO_LIMITS))[0]!;
  }
  return all as SubscriptionOptions;
}

/** Undefined when a value is not valid (XEP-0060 §6.3.6.2); unknown options are ignored (XEP-0004 §3.2). */
export function changeOptions(base: SubscriptionOptions, submitted: Submitted): SubscriptionOptions | undefined {
  const changed: Record<string, string> = { ...base };
  for (const name of names) {
    const values = submitted.get(name);
    if (values === undefined) continue;
    const value = kind(name).read(values, NO_LIMITS);
    if (value === undefined) return undefined;
    changed[name] = kind(name).write(value)[0]!;
  }
  return changed as SubscriptionOptions;
}
