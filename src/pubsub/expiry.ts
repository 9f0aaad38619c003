import type { ItemStore } from '../store/store.js';
import type { Policy } from './node.js';

/** How long a node's expired items may stay in the store after a publish, in milliseconds. */
const PATIENCE = 60_000;

/**
 * Removes what the option item_expire has ended (XEP-0060 §16.4.4). Expired items are as if they were not there whenever somebody
 * reads; this only gives their room back, now and then when something is published.
 */
export class Expiry {
  /** When each node was last swept; only nodes whose items expire. */
  private readonly swept = new Map<string, number>();

  constructor(
    private readonly items: ItemStore,
    private readonly task: (work: () => Promise<void>) => void,
  ) {}

  due(name: string, policy: Policy, now: number): void {
    const last = this.swept.get(name) ?? 0;
    const notBefore = policy.notBefore(now);
    if (notBefore === undefined || now - last < PATIENCE) return;
    this.swept.set(name, now);
    this.task(async () => {
      await this.items.expire(name, notBefore);
    });
  }

  forget(name: string): void {
    this.swept.delete(name);
  }
}
