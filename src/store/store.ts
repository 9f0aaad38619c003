/**
 * What must last. One interface, passed by every implementation with the same conformance suite.
 *
 * The store knows nothing of protocols: payloads are bytes, addresses and node names are strings, node options
 * and affiliations are plain values that the pub-sub engine gives meaning to.
 *
 * Every write resolves when the store has accepted it (`durability: commit`) or has it on disk (`flush`); what was
 * acknowledged survives `kill -9` of the process. Writes by one process are applied in the order of the calls.
 * A write that cannot be done rejects with {@link StoreError}; nothing is half done.
 */
export interface Store {
  readonly accounts: AccountStore;
  readonly nodes: NodeStore;
  readonly items: ItemStore;
  /** Resolves when all that was accepted is on disk. */
  flush(): Promise<void>;
  /** Resolves when no write is under way; those that come wait for {@link release}. For another process that opens the same files. */
  hold?(): Promise<void>;
  release?(): void;
  /** Flushes and lets go of every resource; the store must not be used afterwards. */
  close(): Promise<void>;
}

/** Why a store refused: `full` (disk or quota), `unavailable` (try later), `corrupt`. */
export class StoreError extends Error {
  constructor(
    readonly reason: 'full' | 'unavailable' | 'corrupt',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'StoreError';
  }
}

/** About what a write that waits takes of memory beside what it writes, in bytes. */
export const WAITING_BYTES = 500;

/** SCRAM keys of one hash (RFC 5802 §3); passwords themselves are never stored. */
export interface ScramKeys {
  salt: Uint8Array;
  iterations: number;
  storedKey: Uint8Array;
  serverKey: Uint8Array;
}

export interface Account {
  sha1: ScramKeys;
  sha256: ScramKeys;
  /** Milliseconds since the epoch. */
  created: number;
}

/** Accounts by prepared localpart. */
export interface AccountStore {
  get(user: string): Promise<Account | undefined>;
  /** False when the account exists already; nothing is written then. */
  create(user: string, account: Account): Promise<boolean>;
  /** Replaces the keys; false when there is no such account. */
  update(user: string, account: Account): Promise<boolean>;
  remove(user: string): Promise<boolean>;
  /** Localparts in order, after `after`. */
  list(after: string | undefined, limit: number): Promise<string[]>;
  count(): Promise<number>;
}

export type Affiliation = 'owner' | 'publisher' | 'publish-only' | 'member' | 'none' | 'outcast';
export type SubscriptionState = 'subscribed' | 'pending' | 'unconfigured' | 'none';

/** A node's durable facts without its items and subscriptions. */
export interface NodeRecord {
  name: string;
  /** Bare JID. */
  creator: string;
  /** Milliseconds since the epoch. */
  created: number;
  /** Grows by one with each change of configuration or affiliations. */
  version: number;
  /** Option name (without `pubsub#`) to value, as the engine defined them. */
  config: Record<string, string | string[]>;
  /** Bare JID to affiliation; `none` is never kept. */
  affiliations: Record<string, Affiliation>;
}

export interface SubscriptionRecord {
  node: string;
  /** The subscribed JID, bare or full, prepared. */
  jid: string;
  /** Bare JID of `jid`. */
  bare: string;
  subid: string;
  state: SubscriptionState;
  options?: Record<string, string | string[]>;
  /** Milliseconds since the epoch. */
  created: number;
}

export interface NodeStore {
  /** False when a node of that name exists; nothing is written then. */
  create(node: NodeRecord): Promise<boolean>;
  get(name: string): Promise<NodeRecord | undefined>;
  /**
   * Reads, changes and writes one node atomically, also against other processes. `change` gets a copy and
   * returns the new record, or undefined to leave all as it is. It may be called again after a conflict, so it must be
   * pure. Resolves to the record as it is now, or undefined when there is no such node. `version` is kept by the store.
   */
  update(name: string, change: (node: NodeRecord) => NodeRecord | undefined): Promise<NodeRecord | undefined>;
  /** Removes the node, its subscriptions and its items; false when there was none. */
  remove(name: string): Promise<boolean>;
  /** Names in order, after `after`. */
  list(after: string | undefined, limit: number): Promise<string[]>;
  count(): Promise<number>;
  /** How many nodes the bare JID created. */
  countByCreator(bare: string): Promise<number>;
  /** Every affiliation of a bare JID over all nodes. */
  affiliationsOf(bare: string): Promise<{ node: string; affiliation: Affiliation }[]>;

  /**
   * Adds the subscription of `jid` at `node` unless there is one, whoever else adds at the same time. Resolves to the one that is there
   * now; undefined when the node is gone.
   */
  addSubscription(subscription: SubscriptionRecord): Promise<SubscriptionRecord | undefined>;
  /** Replaces it; false, and nothing is written, when the one with its `subid` is not there any more. */
  replaceSubscription(subscription: SubscriptionRecord): Promise<boolean>;
  removeSubscription(node: string, jid: string): Promise<boolean>;
  subscription(node: string, jid: string): Promise<SubscriptionRecord | undefined>;
  /** Those that are there all the while. They may be very many: {@link countSubscriptions} reads none. */
  subscriptionsOfNode(node: string): Promise<SubscriptionRecord[]>;
  /** How many the node has, in whatever state; of very many, how many there were a moment ago. */
  countSubscriptions(node: string): Promise<number>;
  /** Of a bare JID and all its full JIDs, over all nodes. */
  subscriptionsOf(bare: string): Promise<SubscriptionRecord[]>;
  /** How many those are; those of a node that was just deleted may still count. */
  countSubscriptionsOf(bare: string): Promise<number>;
}

export interface ItemRecord {
  id: string;
  /** JID of the publisher: bare, as it is shown when the node says so. */
  publisher: string;
  /** Milliseconds since the epoch. */
  published: number;
  /** The payload element's bytes, self-contained XML in UTF-8; empty where the item has none. */
  payload: Uint8Array;
}

/** What came of adding an item: whether it is kept, or there was no room, or no node. */
export type Addition = 'kept' | 'full' | 'gone';

/** A slice of a node's items, oldest first. */
export interface ItemPage {
  items: ItemRecord[];
  /** Of the whole result set, not of this page (XEP-0059 §2.6). */
  count: number;
  /** Index of the first item of the page in the result set, oldest = 0; 0 for an empty page. */
  index: number;
}

export interface ItemQuery {
  /** At most that many. */
  limit: number;
  /** Items published after (newer than) the item with this id. */
  after?: string;
  /** Items published before (older than) the item with this id; the empty string asks for the last page. */
  before?: string;
  /**
   * Items published before this many milliseconds since the epoch are as if they were not there. Expiry follows the order
   * of the items: where clocks disagree, an item does not expire before those that precede it.
   */
  notBefore?: number;
}

export interface ItemStore {
  /**
   * Writes one item and trims the node to `maxItems` (the oldest go; an item of the same id is replaced and
   * becomes the newest). `item.payload` is copied before the call returns. Called for every persistent publish: implementations
   * group what arrives in one tick into one commit. Resolves to false when the node is gone.
   */
  publish(node: string, item: ItemRecord, maxItems: number): Promise<boolean>;
  /**
   * Writes one item where none has to go for it: one of the same id is replaced, and another comes in addition while fewer than
   * `maxItems` are there (see {@link ItemQuery.notBefore}), whoever else adds at the same time.
   */
  add(node: string, item: ItemRecord, maxItems: number, notBefore?: number): Promise<Addition>;
  /** Resolves to the ids that were there. */
  retract(node: string, ids: readonly string[]): Promise<string[]>;
  /** Removes all items; resolves to how many there were. */
  purge(node: string): Promise<number>;
  /** Those of the ids that are there, in the order asked for. */
  get(node: string, ids: readonly string[], notBefore?: number): Promise<ItemRecord[]>;
  /**
   * A page in chronological order, oldest first (XEP-0060 §6.5.4, XEP-0059): the first items after `after`, or the last ones
   * before `before`, also between both. Undefined when `after` or `before` names no item. Empty when there is no such node.
   */
  page(node: string, query: ItemQuery): Promise<ItemPage | undefined>;
  /** The newest `limit` items, newest first. */
  latest(node: string, limit: number, notBefore?: number): Promise<ItemRecord[]>;
  count(node: string, notBefore?: number): Promise<number>;
  /** Removes the items published before `notBefore` (see {@link ItemQuery.notBefore}); resolves to how many. */
  expire(node: string, notBefore: number): Promise<number>;
}
