import { createHash, type Hash } from 'node:crypto';
import type { Store } from '../store/store.js';
import { canonical, Sum } from './canonical.js';
import { walk, type Batch } from './walk.js';

export const KINDS = ['accounts', 'nodes', 'subscriptions', 'items'] as const;
export type Kind = (typeof KINDS)[number];

/** Of each kind of record, how many there are and their checksum. */
export type Digest = Record<Kind, { count: number; sum: string }>;

/**
 * Reads a whole store. Accounts, nodes and subscriptions may come in any order; items count by their order in their node.
 * Rejects when the signal fires.
 */
export async function digest(store: Store, read: (batch: Batch) => void, signal: AbortSignal): Promise<Digest> {
  const sums = { accounts: new Sum(), nodes: new Sum(), subscriptions: new Sum() };
  const items = new ItemSum();
  for await (const batch of walk(store)) {
    signal.throwIfAborted();
    for (const { user, account } of batch.accounts) sums.accounts.add(canonical.account(user, account));
    for (const node of batch.nodes) sums.nodes.add(canonical.node(node));
    for (const subscription of batch.subscriptions) sums.subscriptions.add(canonical.subscription(subscription));
    for (const { node, item } of batch.items) items.add(node, canonical.item(item));
    read(batch);
  }
  const result = (sum: Sum) => ({ count: sum.count, sum: sum.toString() });
  return {
    accounts: result(sums.accounts),
    nodes: result(sums.nodes),
    subscriptions: result(sums.subscriptions),
    items: items.result(),
  };
}

/** The items of one node follow each other; a node's items are one text, and nodes come in any order. */
class ItemSum {
  private readonly nodes = new Sum();
  private count = 0;
  private node: string | undefined;
  private hash: Hash | undefined;

  add(node: string, item: string): void {
    if (node !== this.node) this.close();
    this.node = node;
    this.hash ??= createHash('sha256');
    // A line each: JSON has no line break in it.
    this.hash.update(`${item}\n`);
    this.count++;
  }

  private close(): void {
    if (this.hash !== undefined) this.nodes.add(JSON.stringify([this.node, this.hash.digest('hex')]));
    this.hash = undefined;
  }

  result(): { count: number; sum: string } {
    this.close();
    return { count: this.count, sum: this.nodes.toString() };
  }
}
