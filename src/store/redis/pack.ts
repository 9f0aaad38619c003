import { randomBytes } from 'node:crypto';
import {
  type Account,
  type Affiliation,
  type ItemRecord,
  type NodeRecord,
  type ScramKeys,
  StoreError,
  type SubscriptionRecord,
  type SubscriptionState,
} from '../store.js';

/** What cannot be read is damaged. */
function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new StoreError('corrupt', `${what} is damaged in Redis (${(error as Error).message}).`, { cause: error });
  }
}

// --- nodes -------------------------------------------------------------------------------------------------------------

/** A record begins with a token of whoever wrote it, so that one that wrote it knows it again. */
export const TOKEN = 16;

export function token(): string {
  return randomBytes((TOKEN * 3) / 4).toString('base64url');
}

type PackedNode = [
  version: number,
  creator: string,
  created: number,
  config: NodeRecord['config'],
  affiliations: [bare: string, affiliation: Affiliation][],
];

/** The token, then JSON. Affiliations are pairs, so that any bare JID is a legal one. */
export function packNode(node: NodeRecord, mark: string): string {
  const { version, creator, created, config, affiliations } = node;
  const packed: PackedNode = [version, creator, created, config, Object.entries(affiliations)];
  return mark + JSON.stringify(packed);
}

export function unpackNode(name: string, value: Buffer): NodeRecord {
  return reading(`The node "${name}"`, () => {
    const packed = JSON.parse(value.toString('utf8', TOKEN)) as PackedNode;
    const [version, creator, created, config, affiliations] = packed;
    return { name, creator, created, version, config, affiliations: Object.fromEntries(affiliations) };
  });
}

export function tokenOf(value: Buffer): string {
  return value.toString('latin1', 0, TOKEN);
}

// --- subscriptions -----------------------------------------------------------------------------------------------------

/** By their number in what is stored. */
const STATES = ['subscribed', 'pending', 'unconfigured', 'none'] as const satisfies SubscriptionState[];

type PackedSubscription = [subid: string, state: number, created: number, options?: SubscriptionRecord['options']];

export function packSubscription({ subid, state, created, options }: SubscriptionRecord): string {
  const packed: PackedSubscription = [subid, STATES.indexOf(state), created];
  if (options !== undefined) packed.push(options);
  return JSON.stringify(packed);
}

/** How every packed subscription with that `subid` begins, and no other. */
export function packedOpening({ subid }: SubscriptionRecord): string {
  return `[${JSON.stringify(subid)},`;
}

export function unpackSubscription(node: string, jid: string, value: Buffer): SubscriptionRecord {
  return reading(`The subscription of ${jid} to "${node}"`, () => {
    const [subid, state, created, options] = JSON.parse(value.toString()) as PackedSubscription;
    const facts = { node, jid, bare: bareOf(jid), subid, state: STATES[state]!, created };
    return options === undefined ? facts : { ...facts, options };
  });
}

/** A resourcepart begins at the first slash (RFC 7622 §3.1). */
export function bareOf(jid: string): string {
  const slash = jid.indexOf('/');
  return slash < 0 ? jid : jid.slice(0, slash);
}

// --- items -------------------------------------------------------------------------------------------------------------

/** When it was published (f64), length of the publisher (u16), publisher, payload. The id is its key. */
const PUBLISHER = 10;

export function packItem({ publisher, published, payload }: ItemRecord): Buffer {
  const length = Buffer.byteLength(publisher);
  const value = Buffer.allocUnsafe(PUBLISHER + length + payload.length);
  value.writeDoubleBE(published, 0);
  value.writeUInt16BE(length, 8);
  value.write(publisher, PUBLISHER);
  value.set(payload, PUBLISHER + length);
  return value;
}

export function unpackItem(id: string, value: Buffer): ItemRecord {
  return reading(`The item "${id}"`, () => {
    const payload = PUBLISHER + value.readUInt16BE(8);
    if (payload > value.length) throw new RangeError('it is cut off');
    const publisher = value.toString('utf8', PUBLISHER, payload);
    return { id, publisher, published: value.readDoubleBE(0), payload: value.subarray(payload) };
  });
}

// --- accounts ----------------------------------------------------------------------------------------------------------

/** When it was created (f64), then the keys of both hashes: iterations (u32), and three parts with their lengths (u8). */
export function packAccount({ sha1, sha256, created }: Account): Buffer {
  const head = Buffer.alloc(8);
  head.writeDoubleBE(created);
  return Buffer.concat([head, ...packKeys(sha1), ...packKeys(sha256)]);
}

function packKeys({ salt, iterations, storedKey, serverKey }: ScramKeys): Uint8Array[] {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(iterations);
  return [count, ...[salt, storedKey, serverKey].flatMap((part) => [Buffer.of(part.length), part])];
}

export function unpackAccount(user: string, value: Buffer): Account {
  return reading(`The account "${user}"`, () => {
    let at = 8;
    const part = (): Uint8Array => {
      const length = value.readUInt8(at);
      const end = at + 1 + length;
      if (end > value.length) throw new RangeError('it is cut off');
      const bytes = Uint8Array.from(value.subarray(at + 1, end));
      at = end;
      return bytes;
    };
    const keys = (): ScramKeys => {
      const iterations = value.readUInt32BE(at);
      at += 4;
      return { iterations, salt: part(), storedKey: part(), serverKey: part() };
    };
    return { sha1: keys(), sha256: keys(), created: value.readDoubleBE(0) };
  });
}
