import type { Script } from '../../redis/redis.js';
import { once, script } from './scripts.js';

/** `unpack` takes no more than some 8000 values. */
const CHUNK = 4000;

// KEYS items, order, and the node where it must be there

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

/** What an item is known by: its id, and when it was published (pack.ts), which no two items of a node share. */
const MARK = `
local function mark(id, item) return id .. '\\0' .. string.sub(item, 1, 8) end`;

/**
 * KEYS[4]: what was retracted of late. Whether that very item was there already: then it is, or was retracted since. Something is written, as
 * in {@link once}.
 */
const KEPT = `
${MARK}
local function kept(id, item)
  if redis.call('HGET', KEYS[1], id) == item then return redis.call('HSET', KEYS[1], id, item) end
  if not redis.call('ZSCORE', KEYS[4], mark(id, item)) then return false end
  return redis.call('PEXPIRE', KEYS[4], redis.call('PTTL', KEYS[4]))
end`;

/**
 * KEYS items, order, node; ARGV the limit, then each item's id, place by its time, and value. No id comes twice. An item's place is
 * never before the last one's: so order is strict, and expiry follows it. 0 when the node is gone, 2 when there is more to {@link trim}.
 */
const publishing = (name: string, definitions: string, wanted: string): Script =>
  script(
    name,
    `
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
${TRIM}
${definitions}
if #ARGV > 1 then
  local newest = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
  local last = newest and tonumber(newest) or -math.huge
  local values, places = {}, {}
  for at = 2, #ARGV, 3 do
    if ${wanted} then
      local place = tonumber(ARGV[at + 1])
      last = place > last and place or last + 1
      values[#values + 1] = ARGV[at]
      values[#values + 1] = ARGV[at + 2]
      places[#places + 1] = string.format('%.0f', last)
      places[#places + 1] = ARGV[at]
    end
  end
  if #values > 0 then
    redis.call('HSET', KEYS[1], unpack(values))
    redis.call('ZADD', KEYS[2], unpack(places))
  end
end
return trim(redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1])) > 0 and 2 or 1`,
  );

export const publish = publishing('publish', '', 'true');

/** The same when an answer was lost; KEYS[4] as in {@link KEPT}. */
export const publishAgain = publishing('publish-again', KEPT, 'not kept(ARGV[at], ARGV[at + 2])');

/**
 * KEYS items, order, node; ARGV the limit, the place from which on items count, the item's id, place by its time, and value. 1 when it is
 * there, 2 when there is no room for it, 0 when the node is gone.
 */
const adding = (name: string, before: string): Script =>
  script(
    name,
    `
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
${before}
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

export const add = adding('item-add', '');

/** The same when an answer was lost; KEYS[4] as in {@link KEPT}. */
export const addAgain = adding('item-add-again', `${KEPT}\nif kept(ARGV[3], ARGV[5]) then return 1 end`);

/** ARGV the limit. How many items are still over it. */
export const trim = script(
  'trim',
  `
${TRIM}
return trim(redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1]))`,
);

/** KEYS items, order, what was retracted of late; ARGV ids. For each, 1 when it was there. */
export const retract = once(
  'retract',
  `
${MARK}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - lasting)
local gone = {}
for i, id in ipairs(ARGV) do
  local item = redis.call('HGET', KEYS[1], id)
  gone[i] = item and 1 or 0
  if item then
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZADD', KEYS[3], now, mark(id, item))
  end
  redis.call('ZREM', KEYS[2], id)
end
redis.call('PEXPIRE', KEYS[3], lasting)
return gone`,
);

/** How many there were. */
export const purge = once(
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
