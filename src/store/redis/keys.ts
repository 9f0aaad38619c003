/** Accounts and the names of nodes are spread over that many slots. */
export const SHARDS = 64;

/** FNV-1a of a name's UTF-8 bytes: which shard it is in. */
export function shardOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0) % SHARDS;
}

/**
 * The names of all keys. What stands between the braces decides the slot; kinds stand before it and a name stands last in it, so
 * that no name, whatever it holds, makes two keys equal or parts the keys of one node.
 */
export class Keys {
  constructor(private readonly prefix: string) {}

  /** STRING: the node's record (pack.ts). */
  node(name: string): string {
    return `${this.prefix}:node:{n:${name}}`;
  }

  /** HASH: subscribed JID → subscription. */
  subscriptions(name: string): string {
    return `${this.prefix}:subs:{n:${name}}`;
  }

  /** HASH: the subscriptions of a node that was removed, until the index of each is right (subscriptions.ts). */
  removed(name: string, mark: string): string {
    return `${this.prefix}:removed-${mark}:{n:${name}}`;
  }

  /** HASH: id → item. */
  items(name: string): string {
    return `${this.prefix}:items:{n:${name}}`;
  }

  /** ZSET: id → place in the order of the items (scripts.ts). */
  order(name: string): string {
    return `${this.prefix}:order:{n:${name}}`;
  }

  /** ZSET: which items were retracted of late (scripts.ts) → when. */
  retracted(name: string): string {
    return `${this.prefix}:retracted:{n:${name}}`;
  }

  /** STRING, for a while: what a change in the slot of that key came to. */
  done(key: string, mark: string): string {
    return `${this.prefix}:done-${mark}:${key.slice(key.indexOf('{'))}`;
  }

  /** HASH: localpart → account. */
  accounts(shard: number): string {
    return `${this.prefix}:accounts:{u${shard}}`;
  }

  /** ZSET: the same localparts in order. */
  users(shard: number): string {
    return `${this.prefix}:users:{u${shard}}`;
  }

  /** Of an index (indexes.ts): its entries, and those that are being changed. */
  index(kind: string, tag: string): [entries: string, pending: string] {
    return [`${this.prefix}:${kind}:{${tag}}`, `${this.prefix}:${kind}-pending:{${tag}}`];
  }
}
