import type { Script } from '../../redis/redis.js';
import { TOKEN } from './pack.js';

/**
 * What must be atomic, each within one slot. Every script may be run again after it was done, when its answer was lost: that
 * changes nothing more.
 */
export function script(name: string, source: string): Script {
  return { name, source: source.trim() };
}

/**
 * The same for what others may have changed since: the last of KEYS remembers what it came to, for as many milliseconds as the last of ARGV
 * says. When it is run again, something is written all the same, for that is what is waited for at replicas.
 */
export function once(name: string, source: string): Script {
  return script(
    name,
    `
local marker, lasting = KEYS[#KEYS], table.remove(ARGV)
local before = redis.call('GET', marker)
if before then
  redis.call('PEXPIRE', marker, lasting)
  return cjson.decode(before)
end
local function work()
  ${source.trim()}
end
local outcome = work()
redis.call('SET', marker, cjson.encode(outcome), 'PX', lasting)
return outcome`,
  );
}

// --- accounts: KEYS accounts, users ------------------------------------------------------------------------------------

/** ARGV user, account. 1 when it is there now as it was given, 0 when there is another. */
export const createAccount = script(
  'account-create',
  `
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  return 1
end
return redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] and 1 or 0`,
);

/** ARGV user, account. */
export const updateAccount = script(
  'account-update',
  `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1`,
);

/** ARGV user. */
export const removeAccount = once(
  'account-remove',
  `
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])`,
);

// --- nodes -------------------------------------------------------------------------------------------------------------

/** KEYS node; ARGV record. 1 when this record is there now. */
export const createNode = script(
  'node-create',
  `
if redis.call('SETNX', KEYS[1], ARGV[1]) == 1 then return 1 end
return redis.call('GETRANGE', KEYS[1], 0, ${TOKEN - 1}) == string.sub(ARGV[1], 1, ${TOKEN}) and 1 or 0`,
);

/** KEYS node; ARGV the token that the record had when it was read, the new record. 1 when the new record is there now. */
export const changeNode = script(
  'node-change',
  `
local token = redis.call('GETRANGE', KEYS[1], 0, ${TOKEN - 1})
if token == string.sub(ARGV[2], 1, ${TOKEN}) then return 1 end
if token ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`,
);

/**
 * KEYS node, subscriptions, items, order, a name of its own for what the subscriptions are called until they have been looked through; ARGV
 * the token that the record had when it was read, how many milliseconds that may take. 0 when there is no such node, or another record.
 */
export const removeNode = script(
  'node-remove',
  `
if redis.call('GETRANGE', KEYS[1], 0, ${TOKEN - 1}) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('RENAME', KEYS[2], KEYS[5])
  redis.call('PEXPIRE', KEYS[5], ARGV[2])
end
redis.call('UNLINK', KEYS[3], KEYS[4])
return 1`,
);

/** KEYS node, subscriptions; ARGV jid, subscription. 0 when the node is gone, the subscription that was there already, or 1. */
export const subscribe = script(
  'subscribe',
  `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 1 then return 1 end
return redis.call('HGET', KEYS[2], ARGV[1])`,
);

/** KEYS subscriptions; ARGV jid, subscription, how the one begins that it replaces. 0 when that is not there. */
export const resubscribe = script(
  'resubscribe',
  `
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if not kept or string.sub(kept, 1, #ARGV[3]) ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1`,
);

/** KEYS subscriptions; ARGV jid. */
export const unsubscribe = script('unsubscribe', `return redis.call('HDEL', KEYS[1], ARGV[1])`);

// --- indexes: KEYS entries, pending ------------------------------------------------------------------------------------

/**
 * ARGV entry, the mark that was set, 1 when the entry is to stay or 0. Ends a change, unless another one has begun since: then 0
 * and nothing is done.
 */
const finish = (name: string, put: string, remove: string): Script =>
  script(
    name,
    `
local mark = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not mark or tonumber(mark) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '1' then ${put} else ${remove} end
redis.call('ZREM', KEYS[2], ARGV[1])
return 1`,
  );

/** Entries in a ZSET, in the order of their bytes. */
export const finishOrdered = finish(
  'index-finish-ordered',
  `redis.call('ZADD', KEYS[1], 0, ARGV[1])`,
  `redis.call('ZREM', KEYS[1], ARGV[1])`,
);

/** Entries in a HASH, which takes far less room than a ZSET or a SET where there are few. */
export const finishPlain = finish(
  'index-finish',
  `redis.call('HSET', KEYS[1], ARGV[1], '')`,
  `redis.call('HDEL', KEYS[1], ARGV[1])`,
);
