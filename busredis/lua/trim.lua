-- Removes the oldest entries of a stream, never one that a group still needs, and notes which was removed last.
--
-- KEYS[1] stream   KEYS[2] trimmed   KEYS[3] groups
-- ARGV[1] event type
-- ARGV[2] remove only entries below this id ("+": all may go)
-- ARGV[3] keep at least so many of the newest entries
-- ARGV[4] remove at most so many now; 0: only look
-- ARGV[5] what stands before the name of a group in the key of its checkpoint
-- ARGV[6] 1: stop at the first event of an aggregate, since a history refers to it
-- ARGV[7] 1: nothing goes before a group has read this stream
--
-- Returns { how many were removed, why the oldest entry stays although it is old enough to go }: "group <name>",
--         "aggregates", "nobody" (no group has read it), or "" if nothing is in the way

local stream, bound, keep = KEYS[1], ARGV[2], tonumber(ARGV[3])
local length = redis.call('XLEN', stream)
redis.call('HGET', KEYS[2], ARGV[1]) -- a key of another type ends the script here, before anything is removed
if length == 0 then return { 0, '' } end

local floor, who, groups = nil, nil, 0

local function needs(id, group)
  if id and (not floor or below(id, floor)) then floor, who = id, group end
end

local function first_after(id)
  local entry = redis.call('XRANGE', stream, '(' .. id, '+', 'COUNT', 1)[1]
  return entry and entry[1]
end

local names = {}
for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local info = {}
  for i = 1, #row, 2 do info[row[i]] = row[i + 1] end
  local group = info['name']
  names[group], groups = true, groups + 1
  needs(first_after(info['last-delivered-id']), group)
  -- What was read and is not acknowledged; what waits for another attempt is a part of it.
  local pending = redis.call('XPENDING', stream, group)
  if pending[1] > 0 then needs(pending[2], group) end
end
-- A group that got lost is restored at its checkpoint.
for _, group in ipairs(redis.call('SMEMBERS', KEYS[3])) do names[group] = names[group] or false end
for group, is_there in pairs(names) do
  local reached = redis.call('HGET', ARGV[5] .. group, stream)
  if reached then
    needs(first_after(reached), group)
    if not is_there then groups = groups + 1 end
  end
end

local is_read = ARGV[7] ~= '1' or groups > 0

local function of_aggregate(entry)
  return ARGV[6] == '1' and string.find(table.concat(entry[2], ' '), '"aggregate_version"', 1, true)
end

local function remove(count)
  local upto = floor
  if bound ~= '+' and not (floor and below(floor, bound)) then upto = bound end
  local entries = redis.call('XRANGE', stream, '-', upto and '(' .. upto or '+', 'COUNT', count)
  local removed = 0
  for _, entry in ipairs(entries) do
    if of_aggregate(entry) then break end
    removed = removed + 1
  end
  if removed == 0 then return 0 end
  -- The count of all is exact, and these are the oldest. Exactly, as it must be known which was the last.
  redis.call('XTRIM', stream, 'MAXLEN', length - removed)
  redis.call('HSET', KEYS[2], ARGV[1], entries[removed][1])
  length = length - removed
  return removed
end

local function obstacle()
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if not oldest or length <= keep or (bound ~= '+' and not below(oldest[1], bound)) then return '' end
  if not is_read then return 'nobody' end
  if floor and not below(oldest[1], floor) then return 'group ' .. who end
  return of_aggregate(oldest) and 'aggregates' or ''
end

local removed, count = 0, math.min(tonumber(ARGV[4]), length - keep)
if count > 0 and is_read then removed = remove(count) end
return { removed, obstacle() }
