import type { Script } from '../../redis/redis.js';
import { TOKEN } from './pack.js';

/**
 * What must be atomic, each within one slot. Every script may be run again after it was done, when its answer was lost: that
 * changes nothing more.
 */
function script(name: string, source: string): Script {
  return { name, source: source.trim() };
}

/** `unpack` takes no more than some 8000 values. */
const CHUNK = 4000;

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
export const removeAccount = script(
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

// --- items: KEYS items, order, and the node where it must be there -----------------------------------------------------

/** Places in a millisecond. */
export const PLACES = 2048;

/** Items that are removed in one go at most, so that others need not wait long. */
const SLICE = 2 * CHUNK;

/** Removes the first `over` items, as far as one go takes it; how many are left of them. */
const TRIM = `
local function trim(over)
  local most = ${SLICE}
  while over > 0 and most > 0 do
    local ids = redis.call('ZRANGE', KEYS[2], 0, math.min(over, ${CHUNK}) - 1)
    if #ids == 0 then return 0 end
    redis.call('HDEL', KEYS[1], unpack(ids))
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, #ids - 1)
    over = over - #ids
    most = most - #ids
  end
  return math.max(over, 0)
end`;

/** The items of those ids, in pairs. */
const PAIRS = `
local function pairs_of(ids)
  local found = {}
  for from = 1, #ids, ${CHUNK} do
    local some = {}
    for i = from, math.min(from + ${CHUNK - 1}, #ids) do some[#some + 1] = ids[i] end
    local values = redis.call('HMGET', KEYS[1], unpack(some))
    for i = 1, #some do
      if values[i] then
        found[#found + 1] = some[i]
        found[#found + 1] = values[i]
      end
    end
  end
  return found
end`;

/**
 * KEYS items, order, node; ARGV the limit, then each item's id, place by its time, and value. No id comes twice. An item's place is
 * never before the last one's: so order is strict, and expiry follows it. 0 when the node is gone, 2 when there is more to {@link trim}.
 */
export const publish = script(
  'publish',
  `
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
${TRIM}
if #ARGV > 1 then
  local newest = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
  local last = newest and tonumber(newest) or -math.huge
  local values, places = {}, {}
  for at = 2, #ARGV, 3 do
    local place = tonumber(ARGV[at + 1])
    last = place > last and place or last + 1
    values[#values + 1] = ARGV[at]
    values[#values + 1] = ARGV[at + 2]
    places[#places + 1] = string.format('%.0f', last)
    places[#places + 1] = ARGV[at]
  end
  redis.call('HSET', KEYS[1], unpack(values))
  redis.call('ZADD', KEYS[2], unpack(places))
end
return trim(redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1])) > 0 and 2 or 1`,
);

/**
 * KEYS items, order, node; ARGV the limit, the place from which on items count, the item's id, place by its time, and value. 1 when it is
 * there, 2 when there is no room for it, 0 when the node is gone.
 */
export const add = script(
  'item-add',
  `
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
local there = redis.call('ZSCORE', KEYS[2], ARGV[3])
local counts = there and (ARGV[2] == '-inf' or tonumber(there) >= tonumber(ARGV[2]))
if not counts and redis.call('ZCOUNT', KEYS[2], ARGV[2], '+inf') >= tonumber(ARGV[1]) then return 2 end
local place = tonumber(ARGV[4])
local newest = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
if newest and tonumber(newest) >= place then place = tonumber(newest) + 1 end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
redis.call('ZADD', KEYS[2], string.format('%.0f', place), ARGV[3])
return 1`,
);

/** ARGV the limit. How many items are still over it. */
export const trim = script(
  'trim',
  `
${TRIM}
return trim(redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1]))`,
);

/** ARGV ids. For each, 1 when it was there. */
export const retract = script(
  'retract',
  `
local gone = {}
for i, id in ipairs(ARGV) do
  gone[i] = redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return gone`,
);

/** How many there were. */
export const purge = script(
  'purge',
  `
local count = redis.call('ZCARD', KEYS[2])
redis.call('UNLINK', KEYS[1], KEYS[2])
return count`,
);

/** ARGV the place from which on items stay. How many went, and how many have yet to go. */
export const expire = script(
  'expire',
  `
${TRIM}
local count = redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. ARGV[1])
local left = trim(count)
return {count - left, left}`,
);

/** ARGV the place from which on items count, ids. Pairs of id and item. */
export const get = script(
  'get',
  `
${PAIRS}
local first = tonumber(table.remove(ARGV, 1))
local there = {}
for _, id in ipairs(ARGV) do
  local place = redis.call('ZSCORE', KEYS[2], id)
  if place and tonumber(place) >= first then there[#there + 1] = id end
end
return pairs_of(there)`,
);

/** ARGV the place from which on items count, how many at most. Pairs of id and item, the newest first. */
export const latest = script(
  'latest',
  `
${PAIRS}
return pairs_of(redis.call('ZREVRANGEBYSCORE', KEYS[2], '+inf', ARGV[1], 'LIMIT', 0, ARGV[2]))`,
);

/**
 * ARGV the place from which on items count, how many at most, `a` or nothing, the id after which, `b` or nothing, the id
 * before which (empty: the end). How many count, the index of the first in the page, and pairs of id and item; nothing when
 * there is no such id.
 */
export const page = script(
  'page',
  `
${PAIRS}
local gone = ARGV[1] == '-inf' and 0 or redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. ARGV[1])
local count = redis.call('ZCARD', KEYS[2]) - gone
local limit = tonumber(ARGV[2])
local first, last = 0, count
if ARGV[3] == 'a' then
  local rank = redis.call('ZRANK', KEYS[2], ARGV[4])
  if not rank or rank < gone then return false end
  first = rank - gone + 1
end
if ARGV[5] == 'b' and ARGV[6] ~= '' then
  local rank = redis.call('ZRANK', KEYS[2], ARGV[6])
  if not rank or rank < gone then return false end
  last = rank - gone
end
if ARGV[5] == 'b' then first = math.max(first, last - limit) else last = math.min(last, first + limit) end
if first >= last then return {count, 0, {}} end
return {count, first, pairs_of(redis.call('ZRANGE', KEYS[2], gone + first, gone + last - 1))}`,
);

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
