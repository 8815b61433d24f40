-- Changes the schedule: adds events that are to be appended later, moves them to another time, takes them out.
--
-- KEYS[1]  schedule   KEYS[2] scheduled
-- KEYS[3]  once:<scheduler>: what this scheduler's last call was answered, "<number> <answers>"
-- KEYS[4+] once:<key> of the additions that have a key
-- ARGV[1]  number of this call, rising by one a scheduler   ARGV[2] ms to remember it
-- then     for each change five: what, id, due in unix ms, and two more
--          add     index of once:<key> in KEYS or 0, "<event type> <fingerprint or -> <JSON>"
--          move    the time as a JSON string, which becomes the occurred_at of the event; empty
--          cancel  both empty, due too
--
-- Returns  for each change a word, joined by spaces: "yes" (done), "known" (it is scheduled already, and stays as it is),
--          "appended" (it was due before), "no" (there is nothing by this id)
-- Errors   STALE (a later call was answered), REUSED <nth change>; in both cases nothing is changed

local answered = redis.call('GET', KEYS[3])
if answered then
  local number, words = string.match(answered, '^(%d+) (.*)$')
  if number == ARGV[1] then return words end
  if tonumber(number) > tonumber(ARGV[1]) then
    return redis.error_reply('STALE a later call of this scheduler was answered already')
  end
end

-- Looked at before anything is written.
redis.call('ZCARD', KEYS[1])
local function is_reused(i)
  if ARGV[i] ~= 'add' or ARGV[i + 3] == '0' then return false end
  local fingerprint = string.match(ARGV[i + 4], '^%S+ (%S+) ')
  local waits = redis.call('HGET', KEYS[2], ARGV[i + 1])
  local before = redis.call('GET', KEYS[tonumber(ARGV[i + 3])])
  local known = waits and string.match(waits, '^%S+ (%S+) ') or before and string.match(before, '^%S+ (.*)$')
  return known and known ~= fingerprint
end
for i = 3, #ARGV, 5 do
  if is_reused(i) then return redis.error_reply('REUSED ' .. ((i - 3) / 5 + 1)) end
end

local function add(id, due, once, value)
  if redis.call('HEXISTS', KEYS[2], id) == 1 then return 'known' end
  if once ~= '0' and redis.call('EXISTS', KEYS[tonumber(once)]) == 1 then return 'appended' end
  redis.call('HSET', KEYS[2], id, value)
  redis.call('ZADD', KEYS[1], due, id)
  return 'yes'
end

local function move(id, due, occurred_at)
  local value = redis.call('HGET', KEYS[2], id)
  if not value or not redis.call('ZSCORE', KEYS[1], id) then return 'no' end
  -- The first is that of the metadata, as the payload comes last.
  local changed = string.gsub(value, '"occurred_at":"[^"]*"', '"occurred_at":' .. occurred_at, 1)
  redis.call('HSET', KEYS[2], id, changed)
  redis.call('ZADD', KEYS[1], due, id)
  return 'yes'
end

local function cancel(id)
  redis.call('HDEL', KEYS[2], id)
  return redis.call('ZREM', KEYS[1], id) == 1 and 'yes' or 'no'
end

local changes, words = { add = add, move = move, cancel = cancel }, {}
for i = 3, #ARGV, 5 do
  words[#words + 1] = changes[ARGV[i]](ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
local reply = table.concat(words, ' ')
redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. reply, 'PX', ARGV[2])
return reply
