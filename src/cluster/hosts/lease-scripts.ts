import type { Script } from '../../redis/redis.js';

/**
 * What happens to leases in one step each. All scripts have the keys leases, workers, departed, state, epoch, numbers, migration in this
 * order, and the length of a lease (milliseconds) as their first argument.
 *
 * When nobody renewed for half a lease, nobody could: Redis was away. Then everybody gets another lease's time to come back
 * before the first one is declared dead. A clock that was set back must not make leases longer.
 */
const COMMON = `
  local LEASES, WORKERS, DEPARTED, STATE, EPOCH, NUMBERS, MIGRATION = unpack(KEYS)
  local lease = tonumber(ARGV[1])
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local function changed() redis.call('HSET', STATE, 'version', time[1] .. string.format('%06d', time[2])) end
  local function raise(key, least)
    if tonumber(redis.call('GET', key) or '0') < least then redis.call('SET', key, string.format('%.0f', least)) end
  end
  local function epochOf(worker)
    local entry = redis.call('HGET', WORKERS, worker)
    return entry and cjson.decode(entry).epoch
  end
  local function drop(worker)
    redis.call('ZREM', LEASES, worker)
    redis.call('HDEL', WORKERS, worker)
    changed()
  end
  local function depart(worker, claimed)
    local epoch = epochOf(worker)
    if not epoch then return false end
    redis.call('ZADD', DEPARTED, claimed, worker .. ':' .. string.format('%.0f', epoch))
    drop(worker)
    return epoch
  end
  local function shorten(key)
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, now + lease, '+inf')) do
      redis.call('ZADD', key, now + lease, member)
    end
  end
  local function hold(worker)
    local renewed = tonumber(redis.call('HGET', STATE, 'renewed') or now)
    if now - renewed > lease / 2 or renewed - now > 1000 then
      redis.call('HSET', STATE, 'grace', now + lease)
      if renewed > now then
        shorten(LEASES)
        shorten(DEPARTED)
      end
    end
    redis.call('HSET', STATE, 'renewed', now)
    redis.call('ZADD', LEASES, now + lease, worker)
  end`;

function script(name: string, source: string): Script {
  return { name, source: `${COMMON}\n${source}` };
}

/** known epoch → a higher one than any before. */
export const TAKE_EPOCH = script(
  'epoch-take',
  `raise(EPOCH, tonumber(ARGV[2]))
  return redis.call('INCR', EPOCH)`,
);

/**
 * worker, epoch, JSON, pool, pid, last number of the host, dialect → version, all workers' JSON, numbers of those whose lease had ended.
 * Nil when somebody else has the number; the version is nil when others live that speak another dialect. Who migrates, if somebody does:
 * whoever takes that lock sees all who registered before, and nobody registers after.
 */
export const REGISTER = script(
  'lease-register',
  `local migration = redis.call('GET', MIGRATION)
  if migration then return migration end
  local worker, epoch = ARGV[2], tonumber(ARGV[3])
  local before = redis.call('HGET', WORKERS, worker)
  if before then
    before = cjson.decode(before)
    local own = before.pool == ARGV[5] and before.pid == tonumber(ARGV[6])
    if not own and tonumber(redis.call('ZSCORE', LEASES, worker)) > now then return false end
    if before.epoch ~= epoch then depart(worker, 0) end
  end
  local dialect = redis.call('HGET', STATE, 'dialect')
  if dialect and dialect ~= ARGV[8] and redis.call('ZCOUNT', LEASES, '(' .. now, '+inf') > 0 then
    return {false, redis.call('HVALS', WORKERS)}
  end
  redis.call('HSET', STATE, 'dialect', ARGV[8])
  local late = redis.call('ZRANGEBYSCORE', LEASES, '-inf', now)
  hold(worker)
  redis.call('HSET', WORKERS, worker, ARGV[4])
  raise(EPOCH, epoch)
  raise(NUMBERS, tonumber(ARGV[7]))
  changed()
  return {redis.call('HGET', STATE, 'version'), redis.call('HVALS', WORKERS), late}`,
);

/**
 * worker, epoch, version known, claims to be kept... → version, all workers' JSON (nil when nothing has changed), the departed whom
 * nobody cleans up after. Nil when the lease is lost.
 */
export const RENEW = script(
  'lease-renew',
  `local worker = ARGV[2]
  if epochOf(worker) ~= tonumber(ARGV[3]) then return false end
  hold(worker)
  for i = 5, #ARGV do redis.call('ZADD', DEPARTED, 'XX', now + lease, ARGV[i]) end
  if now >= tonumber(redis.call('HGET', STATE, 'grace') or '0') then
    for _, late in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, 100)) do depart(late, 0) end
  end
  local version = redis.call('HGET', STATE, 'version')
  local workers = version ~= ARGV[4] and redis.call('HVALS', WORKERS)
  return {version, workers, redis.call('ZRANGEBYSCORE', DEPARTED, '-inf', now, 'LIMIT', 0, 16)}`,
);

/** worker → its epoch, claimed; nil when it has none any more. */
export const REVOKE = script('lease-revoke', `return depart(ARGV[2], now + lease)`);

/** worker, epoch, JSON; one that has lost its lease learns it with the next renewal. */
export const ANNOUNCE = script(
  'lease-announce',
  `if epochOf(ARGV[2]) ~= tonumber(ARGV[3]) then return end
  redis.call('HSET', WORKERS, ARGV[2], ARGV[4])
  changed()`,
);

/** worker, epoch, 1: there is nothing to be cleaned up after it */
export const LEAVE = script(
  'lease-leave',
  `if epochOf(ARGV[2]) ~= tonumber(ARGV[3]) then return end
  if ARGV[4] == '1' then drop(ARGV[2]) else depart(ARGV[2], 0) end`,
);

/** worker:epoch → whether it is now for the caller to clean up after it. */
export const CLAIM = script(
  'departed-claim',
  `local claimed = redis.call('ZSCORE', DEPARTED, ARGV[2])
  if not claimed or tonumber(claimed) > now then return 0 end
  redis.call('ZADD', DEPARTED, now + lease, ARGV[2])
  return 1`,
);
