import { randomBytes } from 'node:crypto';

/** Letters and digits, other in each worker and after each start. */
const PREFIX = BigInt(`0x${randomBytes(8).toString('hex')}`).toString(36);
let count = 0;

/** An identifier that no worker of the pool has given before: for items, messages, subscriptions. ASCII that needs no escaping. */
export function freshId(): string {
  return `${PREFIX}-${(count++).toString(36)}`;
}

/** Hard to guess, too: for the names of instant nodes and for subscriptions. */
export function secretId(): string {
  return randomBytes(16).toString('hex');
}
