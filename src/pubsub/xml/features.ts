/**
 * What the service can do, by the names of XEP-0060 §10 without the namespace. Disco shows exactly these.
 */
export const PUBSUB_FEATURES = [
  'access-open',
  'auto-create',
  'config-node',
  'config-node-max',
  'create-and-configure',
  'create-nodes',
  'delete-items',
  'delete-nodes',
  'instant-nodes',
  'item-ids',
  'last-published',
  'manage-subscriptions',
  'member-affiliation',
  'meta-data',
  'modify-affiliations',
  'multi-items',
  'outcast-affiliation',
  'persistent-items',
  'publish',
  'publish-node-full',
  'publish-only-affiliation',
  'publish-options',
  'publisher-affiliation',
  'purge-nodes',
  'retract-items',
  'retrieve-affiliations',
  'retrieve-default',
  'retrieve-default-sub',
  'retrieve-items',
  'retrieve-subscriptions',
  'rsm',
  'subscribe',
  'subscription-notifications',
  'subscription-options',
] as const;

/** As service discovery lists them (XEP-0060 §5.1, §10). */
export const PUBSUB_DISCO: readonly string[] = [
  'http://jabber.org/protocol/pubsub',
  ...PUBSUB_FEATURES.map((name) => `http://jabber.org/protocol/pubsub#${name}`),
];
