-- Appends what is due to the streams of its types, in the order of all appends, and takes it out of the schedule: both
-- or neither, for each event. So it makes no difference who calls this, how often, and what becomes of the caller.
--
-- KEYS[1] clock   KEYS[2] types   KEYS[3] schedule   KEYS[4] scheduled   KEYS[5] lease:schedule
-- ARGV[1] the field that holds an event   ARGV[2] what stands before the event type in the key of a stream
-- ARGV[3] what stands before the key in once:<key>   ARGV[4] ms to remember the key of an event that was appended
-- ARGV[5] most events   ARGV[6] ms after which an event that a stream refused is tried again
-- ARGV[7] who asks   ARGV[8] ms for which it is the one that looks often; 0: no more
--
-- Returns { how many were appended, ms until the next is due (-1: there is none), 1 if who asks is to look often, then
--           for each event that could not be appended "<id> <event type> <why>" }

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[5])
local appended, refused = 0, {}

-- Only what is due moves the clock and is worth a look at it.
local order

local function append(id, value)
  if not value then
    redis.call('ZREM', KEYS[3], id)
    return '? there is no event by this id, so it is removed'
  end
  local kind, fingerprint, json = string.match(value, '^(%S+) (%S+) (.*)$')
  local entry_id, problem = nil, 'it is not "<event type> <fingerprint or -> <JSON>"'
  if kind then entry_id, problem = add(order, ARGV[2] .. kind, json) end
  if not entry_id then
    -- Later: it must not be in the way of what can be appended. If this is refused too, the server takes no writes.
    redis.call('ZADD', KEYS[3], now + ARGV[6], id)
    return (kind or '?') .. ' ' .. problem
  end
  settle(order)
  redis.call('ZREM', KEYS[3], id)
  redis.call('HDEL', KEYS[4], id)
  -- Who schedules it again under its key, not knowing that it was due, is told so.
  if fingerprint ~= '-' then redis.call('SET', ARGV[3] .. id, entry_id .. ' ' .. fingerprint, 'PX', ARGV[4]) end
  appended = appended + 1
end

if #ids > 0 then
  order = in_order(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
  local values = redis.call('HMGET', KEYS[4], unpack(ids))
  for i, id in ipairs(ids) do
    local problem = append(id, values[i])
    if problem then refused[#refused + 1] = id .. ' ' .. problem end
  end
end

local function looks_often()
  local who = redis.call('GET', KEYS[5])
  if who and who ~= ARGV[7] then return 0 end
  if ARGV[8] == '0' then return redis.call('DEL', KEYS[5]) * 0 end
  -- Renewed at half time, so that looking is mostly reading. Without memory left, everybody looks often.
  if not who or redis.call('PTTL', KEYS[5]) * 2 < tonumber(ARGV[8]) then
    redis.pcall('SET', KEYS[5], ARGV[7], 'PX', ARGV[8])
  end
  return 1
end

local soonest = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
return { appended, soonest and math.max(0, soonest - now) or -1, looks_often(), unpack(refused) }
