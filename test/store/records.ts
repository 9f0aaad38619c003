import type { Account, ItemRecord, NodeRecord, SubscriptionRecord } from '../../src/store/store.js';

export function node(name: string, facts: Partial<NodeRecord> = {}): NodeRecord {
  const creator = facts.creator ?? 'romeo@montague.lit';
  return {
    name,
    creator,
    created: 1_700_000_000_000,
    version: 0,
    config: { title: 'Temperature', max_items: '10', children: ['a', 'b'] },
    affiliations: { [creator]: 'owner' },
    ...facts,
  };
}

export function item(id: string, facts: Partial<ItemRecord> = {}): ItemRecord {
  const payload = Buffer.from(`<reading xmlns='urn:example:r'>${id}</reading>`);
  return { id, publisher: 'sensor@montague.lit', published: 1_700_000_000_000, payload, ...facts };
}

export function subscription(node: string, jid: string, facts: Partial<SubscriptionRecord> = {}): SubscriptionRecord {
  const bare = jid.split('/')[0] as string;
  return { node, jid, bare, subid: 's1', state: 'subscribed', created: 1_700_000_000_000, ...facts };
}

export function account(seed: number): Account {
  const bytes = (n: number): Uint8Array => Buffer.alloc(n, seed);
  const keys = (size: number) => ({
    salt: bytes(16),
    iterations: 4096 + seed,
    storedKey: bytes(size),
    serverKey: bytes(size),
  });
  return { sha1: keys(20), sha256: keys(32), created: 1_700_000_000_000 + seed };
}

export function ids(items: readonly { id: string }[] | undefined): string[] | undefined {
  return items?.map(({ id }) => id);
}
