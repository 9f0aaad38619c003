import type { Store } from '../store/store.js';

/** What is read or written at the same time. */
const SLICE = 32;

/** Who hears of it where a broker runs: resolves when every worker goes by it. */
export interface Forgotten {
  subscription(node: string, jid: string, bare: string): Promise<void>;
  affiliation(node: string): Promise<void>;
}

/**
 * An account is about to be removed: its subscriptions and affiliations go, so that whoever registers the name afterwards reads nothing and
 * owns nothing by it. Who was banned stays so, and nodes stay, for their other owners and administrators. It may be done again.
 *
 * @throws StoreError
 */
export async function forgetAccount({ nodes }: Store, bare: string, told?: Forgotten): Promise<void> {
  await slice(await nodes.subscriptionsOf(bare), async ({ node, jid }) => {
    await nodes.removeSubscription(node, jid);
    await told?.subscription(node, jid, bare);
  });
  const held = (await nodes.affiliationsOf(bare)).filter(({ affiliation }) => affiliation !== 'outcast');
  await slice(held, async ({ node }) => {
    await nodes.update(node, (record) => {
      const { [bare]: affiliation, ...affiliations } = record.affiliations;
      return affiliation === undefined || affiliation === 'outcast' ? undefined : { ...record, affiliations };
    });
    await told?.affiliation(node);
  });
}

async function slice<T>(list: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < list.length; at += SLICE) await Promise.all(list.slice(at, at + SLICE).map(work));
}
