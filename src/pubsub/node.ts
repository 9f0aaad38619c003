import type { Affiliation, NodeRecord } from '../store/store.js';
import { escapeAttr } from '../xml/escape.js';
import { CAPABILITIES } from './capability.js';
import type { Departure } from './departures.js';
import type { Audience } from './elsewhere.js';
import type { Recipient } from './interest.js';
import { type NodeConfig, type NodeLimits, type Sparse, expand } from './options.js';

/** Message types of notifications, by the number that travels between workers. */
export const MESSAGE_TYPES = ['headline', 'normal'] as const;

const SPACE = 0x20;
const COLON = 0x3a;
const TAG_END = 0x3e;

/** A configuration with what the hot path asks of it worked out. Nodes with equal configurations share one. */
export class Policy {
  readonly persist: boolean;
  readonly maxItems: number;
  readonly payloadLimit: number;
  /** Index into {@link MESSAGE_TYPES}. */
  readonly type: number;
  /** The last item is kept in memory, since the store does not have it (XEP-0060 §12.10). */
  readonly keepsLast: boolean;
  /** A publish of an item with one payload needs nothing but the affiliation to be checked. */
  readonly plain: boolean;
  readonly openToPublish: boolean;
  readonly delivers: boolean;
  readonly payloads: boolean;
  readonly namesPublisher: boolean;
  readonly expires: boolean;
  private readonly declarations: readonly Buffer[] | undefined;

  constructor(
    readonly config: NodeConfig,
    limits: NodeLimits,
  ) {
    this.persist = config.persist_items;
    this.maxItems = config.max_items === 'max' ? limits.itemsPerNode : config.max_items;
    this.payloadLimit = config.max_payload_size;
    this.type = MESSAGE_TYPES.indexOf(config.notification_type);
    this.delivers = config.deliver_notifications;
    this.payloads = config.deliver_payloads;
    this.keepsLast = !this.persist && this.payloads && this.delivers && config.send_last_published_item !== 'never';
    this.openToPublish = config.publish_model === 'open';
    this.namesPublisher = config.itemreply === 'publisher';
    this.expires = config.item_expire !== 'max';
    this.plain = this.persist ? config.publish_node_full !== 'reject' : this.payloads;
    const type = escapeAttr(config.type);
    this.declarations = type === '' ? undefined : [Buffer.from(`xmlns='${type}'`), Buffer.from(`xmlns="${type}"`)];
  }

  /**
   * Whether the payload's root is of the configured namespace (XEP-0060 §7.1.3.6), as far as a glance can tell: no prefix, and
   * the declaration comes first. Otherwise one has to look closely.
   */
  fits(payload: Buffer): boolean {
    const { declarations } = this;
    if (declarations === undefined) return true;
    const space = payload.indexOf(SPACE);
    const colon = payload.indexOf(COLON);
    if (space < 0 || space > payload.indexOf(TAG_END) || (colon >= 0 && colon < space)) return false;
    for (const declared of declarations) {
      if (payload.compare(declared, 0, declared.length, space + 1, space + 1 + declared.length) === 0) return true;
    }
    return false;
  }

  /** Items published before this (milliseconds since the epoch) are gone; undefined when they last. */
  notBefore(now: number): number | undefined {
    const { item_expire: expire } = this.config;
    return expire === 'max' ? undefined : now - expire * 1000;
  }
}

/** Most configurations that are shared, and the longest, in characters: all are kept for good. Other nodes have their own. */
const POLICIES = 4096;
const SHARED_LENGTH = 1024;

/** Makes policies, one for all nodes of the same configuration. */
export class Policies {
  private readonly known = new Map<string, Policy>();

  constructor(readonly limits: NodeLimits) {}

  of(sparse: Sparse): Policy {
    const key = JSON.stringify(sparse);
    let policy = this.known.get(key);
    if (policy === undefined) {
      policy = new Policy(expand(sparse, this.limits), this.limits);
      if (this.known.size < POLICIES && key.length <= SHARED_LENGTH) this.known.set(key, policy);
    }
    return policy;
  }
}

/** What the store says of a node, ready for use. Replaced as a whole, so its identity stands for one state of the facts. */
export class NodeFacts {
  readonly creator: string;
  readonly created: number;
  readonly version: number;
  /** The creator while it is an owner: by far the usual publisher. */
  private readonly first: string;
  private readonly others: ReadonlyMap<string, Affiliation> | undefined;

  constructor(
    record: NodeRecord,
    readonly policy: Policy,
  ) {
    this.creator = record.creator;
    this.created = record.created;
    this.version = record.version;
    let others: Map<string, Affiliation> | undefined;
    let first = '';
    for (const [bare, affiliation] of Object.entries(record.affiliations)) {
      if (bare === record.creator && affiliation === 'owner') first = record.creator;
      else (others ??= new Map()).set(bare, affiliation);
    }
    this.first = first;
    this.others = others;
  }

  affiliation(bare: string): Affiliation {
    if (bare === this.first) return 'owner';
    return this.others === undefined ? 'none' : (this.others.get(bare) ?? 'none');
  }

  /** All affiliated entities, by bare JID. */
  *affiliations(): Generator<[string, Affiliation]> {
    if (this.first !== '') yield [this.first, 'owner'];
    if (this.others !== undefined) yield* this.others;
  }

  owners(): string[] {
    return this.holding('owner');
  }

  holding(wanted: Affiliation): string[] {
    const found: string[] = [];
    for (const [bare, affiliation] of this.affiliations()) if (affiliation === wanted) found.push(bare);
    return found;
  }

  /** By affiliation or an open publish model; the model `subscribers` needs to know more (XEP-0060 §4.1, §16.4.4). */
  mayPublish(bare: string): boolean {
    const affiliation = this.affiliation(bare);
    return CAPABILITIES[affiliation].publish || (this.policy.openToPublish && affiliation !== 'outcast');
  }

  /** Whether the node's access model lets the entity subscribe, or only with an owner's approval (XEP-0060 §4.1, §4.5). */
  maySubscribe(bare: string): 'yes' | 'ask' | 'no' {
    const affiliation = this.affiliation(bare);
    if (!CAPABILITIES[affiliation].subscribe) return 'no';
    if (affiliation !== 'none') return 'yes';
    const { access_model: model } = this.policy.config;
    return model === 'open' ? 'yes' : model === 'authorize' ? 'ask' : 'no';
  }
}

/** The last item of a node that does not persist; its buffer is used again. */
export interface LastItem {
  id: string;
  publisher: string;
  /** Milliseconds since the epoch. */
  published: number;
  buffer: Buffer;
  length: number;
}

export const NO_RECIPIENTS: Recipient[] = [];

/** All that one worker knows of a node. There may be very many, so fields are few and what is empty is shared. */
export class NodeState {
  /** Undefined while unknown: never asked for, or changed since. */
  facts: NodeFacts | undefined;
  /** Those here who get the node's notifications: dense, in no order. Written by {@link Interest} alone. */
  recipients: Recipient[] = NO_RECIPIENTS;
  /** Message type of the recipients' heads. */
  headType = 0;
  /** The last departure that has not left. */
  tail: Departure | undefined;
  last: LastItem | undefined;
  /** Constant bytes of item notifications, made by the first one: from the message's id to the item's. */
  prefix: Buffer | undefined;
  /** Head of the frames to other workers. */
  frame: Buffer | undefined;
  /** Notifications that passed here, so that one can tell whether something newer was sent. */
  activity = 0;
  /** When the kept item was published (stamp.ts) of which the recipients here were notified last; 0: of none yet. */
  seen = 0;
  /** Since when there have been recipients here; what was published before is not for them. */
  readSince = 0;

  constructor(
    readonly name: string,
    /** Written by {@link Interest} alone. */
    public elsewhere: Audience,
  ) {}

  /** Other workers with recipients. */
  get workers(): readonly number[] {
    return this.elsewhere.workers;
  }

  /** Nothing is known but what {@link Elsewhere} keeps. */
  get idle(): boolean {
    return (
      this.facts === undefined && this.recipients.length === 0 && this.tail === undefined && this.last === undefined
    );
  }
}
