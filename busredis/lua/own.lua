-- Takes, renews or gives up the ownership of the ordered handling of one group, in this partition. There is one owner
-- at a time; each has a fencing token higher than all before it.
--
-- KEYS[1]  lease:ordered:<group>: a hash of owner, token, until (unix ms), lease (ms); call: the number of the owner's last
--          reading call;
--          next, next_until: for whom it was given up; standby:<name>: "<until> <how many it owns>"
-- KEYS[2]  free:<group>: a stream that wakes those who stand by
-- ARGV[1]  take, renew, release or leave   ARGV[2] name   ARGV[3] lease in ms   ARGV[4] how many the name owns
-- ARGV[5]  its token (renew, release)   ARGV[6] for whom it is given up, or empty (release)
--
-- Returns  take: { token } or { false, ms until it can be had, the last id of the stream that wakes };
--          renew: { token, name, how many it owns, name, ... } of those who stand by, or { false } if it is lost

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'owner', 'token', 'until', 'next', 'next_until', 'lease')
local owner, token, ends = known[1] or '', tonumber(known[2] or 0), tonumber(known[3] or 0)
local what, name, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local standby = 'standby:' .. name
local RESERVED = 2000
local number = function(value) return string.format('%.0f', value) end

if what == 'leave' then
  redis.call('HDEL', KEYS[1], standby)
  return { false }
end

if what == 'take' then
  local reserved = known[4] and known[4] ~= name and tonumber(known[5] or 0) or 0
  -- Nobody promised more than that: the clock has stepped back, or another server with another clock took over.
  if reserved > now + RESERVED then reserved = 0 end
  local longest = now + tonumber(known[6] or lease)
  if ends > longest then
    ends = longest
    redis.call('HSET', KEYS[1], 'until', number(ends))
  end
  local wait = math.max(owner ~= '' and owner ~= name and ends or 0, reserved) - now
  if wait > 0 then
    redis.call('HSET', KEYS[1], standby, number(now + lease) .. ' ' .. ARGV[4])
    local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    return { false, math.min(wait, lease), last and last[1] or '0-0' }
  end
  -- Not only one more: also after a flush, or a failover to a replica that is behind, it must rise.
  token = math.max(token + 1, now)
  redis.call('HSET', KEYS[1], 'owner', name, 'token', number(token), 'until', number(now + lease), 'lease', ARGV[3],
    'call', 0)
  redis.call('HDEL', KEYS[1], standby, 'next', 'next_until')
  return { number(token) }
end

if owner ~= name or number(token) ~= ARGV[5] then return { false } end

if what == 'release' then
  redis.call('HSET', KEYS[1], 'owner', '', 'until', 0)
  if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'next', ARGV[6], 'next_until', number(now + math.min(lease, RESERVED))) end
  redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', 'from', name)
  return { false }
end

redis.call('HSET', KEYS[1], 'until', number(now + lease))
local reply, fields = { number(token) }, redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 8) == 'standby:' then
    local upto, owns = string.match(fields[i + 1], '^(%d+) (%d+)$')
    if tonumber(upto) < now then
      redis.call('HDEL', KEYS[1], fields[i])
    else
      reply[#reply + 1], reply[#reply + 2] = string.sub(fields[i], 9), tonumber(owns)
    end
  end
end
return reply
