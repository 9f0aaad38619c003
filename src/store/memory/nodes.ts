import type { Affiliation, ItemRecord, NodeRecord, NodeStore, SubscriptionRecord } from '../store.js';
import { keysAfter } from './order.js';

/** An item, and the time that expiry goes by: never before the item that precedes it. */
export interface MemoryItem {
  record: ItemRecord;
  time: number;
}

export interface MemoryNode {
  record: NodeRecord;
  /** By JID. */
  subscriptions: Map<string, SubscriptionRecord>;
  /** By id, oldest first. */
  items: Map<string, MemoryItem>;
  /** Time of the newest item. */
  time: number;
}

/** Names of nodes by bare JID. */
class Index {
  private readonly nodes = new Map<string, Set<string>>();

  add(bare: string, node: string): void {
    const nodes = this.nodes.get(bare);
    if (nodes) nodes.add(node);
    else this.nodes.set(bare, new Set([node]));
  }

  remove(bare: string, node: string): void {
    const nodes = this.nodes.get(bare);
    if (nodes?.delete(node) && nodes.size === 0) this.nodes.delete(bare);
  }

  of(bare: string): ReadonlySet<string> {
    return this.nodes.get(bare) ?? new Set();
  }
}

/** Nodes, affiliations and subscriptions in memory. Records are copied on their way in and out. */
export class MemoryNodes implements NodeStore {
  readonly nodes = new Map<string, MemoryNode>();
  private readonly creators = new Index();
  private readonly affiliated = new Index();
  private readonly subscribed = new Index();

  async create(node: NodeRecord): Promise<boolean> {
    if (this.nodes.has(node.name)) return false;
    const record = copied(node);
    this.nodes.set(node.name, { record, subscriptions: new Map(), items: new Map(), time: 0 });
    this.index(record);
    return true;
  }

  async get(name: string): Promise<NodeRecord | undefined> {
    return structuredClone(this.nodes.get(name)?.record);
  }

  async update(name: string, change: (node: NodeRecord) => NodeRecord | undefined): Promise<NodeRecord | undefined> {
    const node = this.nodes.get(name);
    if (node === undefined) return undefined;
    const { record } = node;
    const changed = change(structuredClone(record));
    if (changed !== undefined) {
      this.unindex(record);
      node.record = copied({ ...changed, name, version: record.version + 1 });
      this.index(node.record);
    }
    return structuredClone(node.record);
  }

  async remove(name: string): Promise<boolean> {
    const node = this.nodes.get(name);
    if (node === undefined) return false;
    this.nodes.delete(name);
    this.unindex(node.record);
    for (const { bare } of node.subscriptions.values()) this.subscribed.remove(bare, name);
    return true;
  }

  private index({ name, creator, affiliations }: NodeRecord): void {
    this.creators.add(creator, name);
    for (const bare of Object.keys(affiliations)) this.affiliated.add(bare, name);
  }

  private unindex({ name, creator, affiliations }: NodeRecord): void {
    this.creators.remove(creator, name);
    for (const bare of Object.keys(affiliations)) this.affiliated.remove(bare, name);
  }

  async list(after: string | undefined, limit: number): Promise<string[]> {
    return keysAfter(this.nodes, after, limit);
  }

  async count(): Promise<number> {
    return this.nodes.size;
  }

  async countByCreator(bare: string): Promise<number> {
    return this.creators.of(bare).size;
  }

  async affiliationsOf(bare: string): Promise<{ node: string; affiliation: Affiliation }[]> {
    return [...this.affiliated.of(bare)].map((node) => ({
      node,
      affiliation: this.nodes.get(node)?.record.affiliations[bare] as Affiliation,
    }));
  }

  async addSubscription(subscription: SubscriptionRecord): Promise<SubscriptionRecord | undefined> {
    const subscriptions = this.nodes.get(subscription.node)?.subscriptions;
    if (subscriptions === undefined) return undefined;
    const { node, jid, bare } = subscription;
    if (!subscriptions.has(jid)) subscriptions.set(jid, structuredClone(subscription));
    this.subscribed.add(bare, node);
    return structuredClone(subscriptions.get(jid));
  }

  async replaceSubscription(subscription: SubscriptionRecord): Promise<boolean> {
    const { node, jid, subid } = subscription;
    const subscriptions = this.nodes.get(node)?.subscriptions;
    if (subscriptions?.get(jid)?.subid !== subid) return false;
    subscriptions.set(jid, structuredClone(subscription));
    return true;
  }

  async removeSubscription(node: string, jid: string): Promise<boolean> {
    const subscriptions = this.nodes.get(node)?.subscriptions;
    const removed = subscriptions?.get(jid);
    if (subscriptions === undefined || removed === undefined) return false;
    subscriptions.delete(jid);
    const others = [...subscriptions.values()].some(({ bare }) => bare === removed.bare);
    if (!others) this.subscribed.remove(removed.bare, node);
    return true;
  }

  async subscription(node: string, jid: string): Promise<SubscriptionRecord | undefined> {
    return structuredClone(this.nodes.get(node)?.subscriptions.get(jid));
  }

  async subscriptionsOfNode(node: string): Promise<SubscriptionRecord[]> {
    return structuredClone([...(this.nodes.get(node)?.subscriptions.values() ?? [])]);
  }

  async countSubscriptions(node: string): Promise<number> {
    return this.nodes.get(node)?.subscriptions.size ?? 0;
  }

  async countSubscriptionsOf(bare: string): Promise<number> {
    return this.ofBare(bare).length;
  }

  async subscriptionsOf(bare: string): Promise<SubscriptionRecord[]> {
    return structuredClone(this.ofBare(bare));
  }

  private ofBare(bare: string): SubscriptionRecord[] {
    const all = [...this.subscribed.of(bare)].flatMap((name) => [
      ...(this.nodes.get(name)?.subscriptions.values() ?? []),
    ]);
    return all.filter((subscription) => subscription.bare === bare);
  }
}

/** A copy without affiliations `none`, which are never kept. */
function copied(node: NodeRecord): NodeRecord {
  const held = Object.entries(node.affiliations).filter(([, affiliation]) => affiliation !== 'none');
  return { ...structuredClone(node), affiliations: Object.fromEntries(held) };
}
