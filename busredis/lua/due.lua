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

local ms, seq = now, 0

local function begin()
  local clock = redis.call('GET', KEYS[1])
  if not clock then return end
  local clock_ms, clock_seq = string.match(clock, '^(%d+)-(%d+)$')
  -- The clock of the server may step back; the order of ids may not.
  if tonumber(clock_ms) >= ms then ms, seq = tonumber(clock_ms), clock_seq + 1 end
end

local function xadd(stream, kind, json)
  local id = string.format('%.0f-%.0f', ms, seq)
  local reply = redis.pcall('XADD', stream, 'NOMKSTREAM', id, ARGV[1], json)
  if reply then return reply end
  -- A new stream: who merges all streams has to know of it before its first entry is there.
  local known = redis.pcall('SADD', KEYS[2], kind)
  if type(known) == 'table' then return known end
  return redis.pcall('XADD', stream, id, ARGV[1], json)
end

local function add(stream, kind, json)
  local reply = xadd(stream, kind, json)
  if type(reply) == 'table' and string.find(reply.err or '', 'equal or smaller', 1, true) then
    -- Another program's XADD is ahead of our clock: go on behind it.
    local info, last = redis.call('XINFO', 'STREAM', stream), nil
    for i = 1, #info, 2 do if info[i] == 'last-generated-id' then last = info[i + 1] end end
    local last_ms, last_seq = string.match(last, '^(%d+)-(%d+)$')
    if #last_ms > 15 or #last_seq > 15 then return nil, 'no id is left beyond ' .. last end
    ms, seq = tonumber(last_ms), last_seq + 1
    reply = xadd(stream, kind, json)
  end
  if type(reply) == 'table' then return nil, reply.err end
  seq = seq + 1
  return reply
end

local function append(id, value)
  if not value then
    redis.call('ZREM', KEYS[3], id)
    return '? there is no event by this id, so it is removed'
  end
  local kind, fingerprint, json = string.match(value, '^(%S+) (%S+) (.*)$')
  local entry_id, problem = nil, 'it is not "<event type> <fingerprint or -> <JSON>"'
  if kind then entry_id, problem = add(ARGV[2] .. kind, kind, json) end
  if not entry_id then
    -- Later: it must not be in the way of what can be appended. If this is refused too, the server takes no writes.
    redis.call('ZADD', KEYS[3], now + ARGV[6], id)
    return (kind or '?') .. ' ' .. problem
  end
  redis.call('SET', KEYS[1], entry_id)
  redis.call('ZREM', KEYS[3], id)
  redis.call('HDEL', KEYS[4], id)
  -- Who schedules it again under its key, not knowing that it was due, is told so.
  if fingerprint ~= '-' then redis.call('SET', ARGV[3] .. id, entry_id .. ' ' .. fingerprint, 'PX', ARGV[4]) end
  appended = appended + 1
end

if #ids > 0 then
  begin()
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
