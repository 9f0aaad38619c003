import { isDeepStrictEqual } from 'node:util';
import type { Store } from '../store/store.js';
import { MigrationRefused } from './checkpoint.js';
import { walk, type Batch, type Cursor } from './walk.js';

/** More than any node keeps: what the source has kept is not trimmed. */
const ALL_ITEMS = 2 ** 31 - 1;
/** Bytes of payloads under way to the target. */
const UNDER_WAY = 8 * 2 ** 20;
const RECORDS_UNDER_WAY = 1000;

/** How much was done. */
export interface Counts {
  accounts: number;
  nodes: number;
  subscriptions: number;
  items: number;
}

export const NONE: Counts = { accounts: 0, nodes: 0, subscriptions: 0, items: 0 };

/** `counts` and what is in the batch. */
export function added(counts: Counts, batch: Batch): Counts {
  return {
    accounts: counts.accounts + batch.accounts.length,
    nodes: counts.nodes + batch.nodes.length,
    subscriptions: counts.subscriptions + batch.subscriptions.length,
    items: counts.items + batch.items.length,
  };
}

/**
 * Copies everything from `source` behind the cursor to `target`. What the target has of it already, of an attempt that ended in the
 * middle, is written again. `done` is called when the target has accepted a batch; ends early when the signal fires.
 */
export async function copy(
  source: Store,
  target: Store,
  from: Cursor,
  done: (batch: Batch) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  for await (const batch of readingAhead(walk(source, from))) {
    await write(target, batch);
    await done(batch);
    if (signal.aborted) return;
  }
}

/** The next is on its way while one is worked on. */
async function* readingAhead<T>(all: AsyncGenerator<T>): AsyncGenerator<T> {
  try {
    let next = all.next();
    for (;;) {
      const { done, value } = await next;
      if (done) return;
      next = all.next();
      // Told when it is waited for.
      next.catch(() => undefined);
      yield value;
    }
  } finally {
    await all.return(undefined);
  }
}

async function write(target: Store, batch: Batch): Promise<void> {
  const { accounts, nodes, items } = target;
  await all(batch.accounts, async ({ user, account }) => {
    if (!(await accounts.create(user, account))) await accounts.update(user, account);
  });
  await all(batch.nodes, async (node) => {
    if (await nodes.create(node)) return;
    await nodes.remove(node.name);
    await nodes.create(node);
  });
  await all(batch.subscriptions, async (subscription) => {
    const { node, jid } = subscription;
    const kept = await nodes.addSubscription(subscription);
    if (isDeepStrictEqual(kept, subscription)) return;
    // Of an earlier attempt, before something was changed in the source.
    await nodes.removeSubscription(node, jid);
    there((await nodes.addSubscription(subscription)) !== undefined);
  });
  // Items published again become the newest, so the order is the source's whatever an earlier attempt has left.
  let underWay: Promise<void>[] = [];
  let bytes = 0;
  for (const { node, item } of batch.items) {
    underWay.push(items.publish(node, item, ALL_ITEMS).then(there));
    bytes += item.payload.length;
    if (bytes < UNDER_WAY) continue;
    await Promise.all(underWay);
    underWay = [];
    bytes = 0;
  }
  await Promise.all(underWay);
}

async function all<T>(list: readonly T[], work: (entry: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < list.length; i += RECORDS_UNDER_WAY)
    await Promise.all(list.slice(i, i + RECORDS_UNDER_WAY).map(work));
}

function there(written: boolean): void {
  if (written) return;
  throw new MigrationRefused(
    'a node that was just written is gone: somebody else changes the target, or has emptied it',
    'see that nobody does; then empty it, and run the same command again',
  );
}
