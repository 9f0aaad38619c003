import type { Script } from '../redis/redis.js';

/*
 * Every change is one script in one slot. It answers with what was there before and who remembers it; who remembers is forgotten, for whoever made
 * the change tells them. A script may be run twice where its first answer was lost: the answer then says that there was
 * nothing left to change.
 */

/** A row's worker and id are what makes it somebody's. */
const ROW = `'^(%d+) %d+ (%S+)'`;

const WATCHERS = `
  local watchers = redis.call('SMEMBERS', KEYS[2])
  if #watchers > 0 then redis.call('DEL', KEYS[2]) end`;

/** Which row of that resource a claim may replace. */
export const CLAIM = {
  /** Whatever is there. */
  any: 'any',
  /** That of the same session, whoever holds it. */
  session: 'session',
  /** That of the same session at the same worker. */
  own: 'own',
} as const;
export type Claim = (typeof CLAIM)[keyof typeof CLAIM];

/**
 * Writes a row. `KEYS`: sessions, watch, held. `ARGV`: bare, resource, row, worker, id, claim, room (-1: any), prefix of held keys, and
 * the ids of rows that are left behind by dead workers and are removed.
 *
 * Answers `done`, or `same`: it was there; or `taken`, `too-many`: nothing was written; then the rows before, then the watchers.
 */
export const BIND: Script = {
  name: 'directory-bind',
  source: `
  local bare, resource, row, worker, id, claim = unpack(ARGV, 1, 6)
  local before = redis.call('HGETALL', KEYS[1])
  local gone = {}
  for i = 9, #ARGV do gone[ARGV[i]] = true end
  local others, found, holder, session = 0, nil, nil, nil
  for i = 1, #before, 2 do
    local w, s = string.match(before[i + 1], ${ROW})
    if gone[s] then
      redis.call('HDEL', KEYS[1], before[i])
      redis.call('SREM', ARGV[8] .. w, bare .. '/' .. before[i])
    elseif before[i] == resource then
      found, holder, session = before[i + 1], w, s
    elseif w ~= worker then
      others = others + 1
    end
  end
  if found == row then
    redis.call('SADD', KEYS[3], bare .. '/' .. resource)
    return {'same', before, {}}
  end
  if found then
    local may = claim == 'any' or (session == id and (claim == 'session' or holder == worker))
    if not may then return {'taken', before, {}} end
    if holder ~= worker then redis.call('SREM', ARGV[8] .. holder, bare .. '/' .. resource) end
  elseif tonumber(ARGV[7]) >= 0 and others >= tonumber(ARGV[7]) then
    return {'too-many', before, {}}
  end
  redis.call('HSET', KEYS[1], resource, row)
  redis.call('SADD', KEYS[3], bare .. '/' .. resource)${WATCHERS}
  return {'done', before, watchers}`,
};

/**
 * Changes a row. `KEYS`: sessions, watch. `ARGV`: resource, row, worker, id. Answers `done`, the rows of the JID and the watchers;
 * or `absent`, `lost` (to another session or worker), `same`.
 */
export const UPDATE: Script = {
  name: 'directory-update',
  source: `
  local before = redis.call('HGET', KEYS[1], ARGV[1])
  if not before then return {'absent'} end
  local worker, id = string.match(before, ${ROW})
  if worker ~= ARGV[3] or id ~= ARGV[4] then return {'lost'} end
  if before == ARGV[2] then return {'same'} end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])${WATCHERS}
  return {'done', redis.call('HGETALL', KEYS[1]), watchers}`,
};

/** Removes a row. `KEYS`: sessions, watch, held. `ARGV`: bare, resource, worker, id. Answers as {@link UPDATE}. */
export const UNBIND: Script = {
  name: 'directory-unbind',
  source: `
  local full = ARGV[1] .. '/' .. ARGV[2]
  local before = redis.call('HGET', KEYS[1], ARGV[2])
  if not before then
    redis.call('SREM', KEYS[3], full)
    return {'absent'}
  end
  local worker, id = string.match(before, ${ROW})
  if worker ~= ARGV[3] then redis.call('SREM', KEYS[3], full) end
  if worker ~= ARGV[3] or id ~= ARGV[4] then return {'lost'} end
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('SREM', KEYS[3], full)${WATCHERS}
  return {'done', redis.call('HGETALL', KEYS[1]), watchers}`,
};

/** The rows of a JID for a worker that will remember them. `KEYS`: sessions, watch. `ARGV`: worker, seconds. */
export const LOOKUP: Script = {
  name: 'directory-lookup',
  source: `
  local rows = redis.call('HGETALL', KEYS[1])
  for i = 2, #rows, 2 do
    if string.match(rows[i], '^%d+') == ARGV[1] then return rows end
  end
  redis.call('SADD', KEYS[2], ARGV[1])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
  return rows`,
};

/**
 * Removes some of what a worker left. `KEYS`: held. `ARGV`: worker, last epoch that is dead, cursor, how many, prefixes of session and watch keys. Answers the
 * next cursor, how many rows were removed, and for each of them: the JID, its rows before, its watchers, and the resource.
 */
export const SWEEP: Script = {
  name: 'directory-sweep',
  source: `
  local page = redis.call('SSCAN', KEYS[1], ARGV[3], 'COUNT', ARGV[4])
  local removed, changed = 0, {}
  for _, full in ipairs(page[2]) do
    local bare, resource = string.match(full, '^([^/]*)/(.*)$')
    local key = ARGV[5] .. bare
    local row = redis.call('HGET', key, resource)
    local worker, epoch
    if row then worker, epoch = string.match(row, '^(%d+) (%d+)') end
    if worker ~= ARGV[1] then
      redis.call('SREM', KEYS[1], full)
    elseif tonumber(epoch) <= tonumber(ARGV[2]) then
      local before = redis.call('HGETALL', key)
      redis.call('HDEL', key, resource)
      redis.call('SREM', KEYS[1], full)
      local watch = ARGV[6] .. bare
      changed[#changed + 1] = {bare, before, redis.call('SMEMBERS', watch), resource}
      redis.call('DEL', watch)
      removed = removed + 1
    end
  end
  return {page[1], removed, changed}`,
};

/** Which rows are not as they should be. `KEYS`: held. `ARGV`: prefix of session keys, and bare JID, resource and row of each. Answers their places. */
export const VERIFY: Script = {
  name: 'directory-verify',
  source: `
  local wrong = {}
  for i = 2, #ARGV, 3 do
    if redis.call('HGET', ARGV[1] .. ARGV[i], ARGV[i + 1]) ~= ARGV[i + 2] then wrong[#wrong + 1] = (i - 2) / 3 end
  end
  return wrong`,
};

/** How many sessions the workers hold together. `KEYS`: held of each. */
export const COUNT: Script = {
  name: 'directory-count',
  source: `
  local sum = 0
  for i = 1, #KEYS do sum = sum + redis.call('SCARD', KEYS[i]) end
  return sum`,
};
