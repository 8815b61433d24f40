-- Reads new entries of all streams of a group in their total order, for its owner alone. What it has delivered is
-- complete: no entry of any of the streams will appear below the last one.
--
-- KEYS[1]  lease:ordered:<group>   KEYS[2] clock   KEYS[3] parked:<group>   KEYS[4] replay:<group>
-- KEYS[5+] streams
-- ARGV[1]  group   ARGV[2] consumer   ARGV[3] token   ARGV[4] number of this call, rising within a token
-- ARGV[5]  most entries of each stream
--
-- Returns  { whether any key has dead letters, what is left, the last ids delivered of each stream, entries,
--          what replay:<group> says }, where
--          what is left is "more" (read on), "soon" (in the next millisecond) or "none", and an entry is
--          { the place of its stream among the streams, id, fields }; nothing if the ownership is lost
-- Errors   NOGROUP, STALE (a later call was answered already: this one was delayed on its way)

local lease = redis.call('HMGET', KEYS[1], 'token', 'call')
if lease[1] ~= ARGV[3] then return false end
if tonumber(lease[2]) >= tonumber(ARGV[4]) then return redis.error_reply('STALE a later call was answered already') end
redis.call('HSET', KEYS[1], 'call', ARGV[4])

local most, first = tonumber(ARGV[5]), 5

local function delivered(stream)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, group in ipairs(groups.err and {} or groups) do
    local info = {}
    for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
    if info['name'] == ARGV[1] then return info['last-delivered-id'] end
  end
end

-- See horizon.lua. A stream alone is in order whatever the others do.
local horizon = '+'
if #KEYS > first then
  local time = redis.call('TIME')
  local now, clock = time[1] * 1000 + math.floor(time[2] / 1000), redis.call('GET', KEYS[2])
  horizon = string.format('%.0f-18446744073709551615', now - 1)
  if clock and tonumber(string.match(clock, '^%d+')) > now then horizon = clock end
end

local last, pages, cut = {}, {}, nil
for k = first, #KEYS do
  last[k] = delivered(KEYS[k])
  if not last[k] then return redis.error_reply('NOGROUP ' .. ARGV[1] .. ' on ' .. KEYS[k]) end
  pages[k] = redis.call('XRANGE', KEYS[k], '(' .. last[k], horizon, 'COUNT', most)
  -- What follows in this stream may come before entries of the others: they are cut there.
  local final = #pages[k] == most and pages[k][most][1]
  if final and (not cut or below(final, cut)) then cut = final end
end

local entries, left = {}, cut and 'more' or 'none'
for k = first, #KEYS do
  local count = #pages[k]
  while cut and count > 0 and below(cut, pages[k][count][1]) do count = count - 1 end
  if count > 0 then
    local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count, 'STREAMS', KEYS[k], '>')
    for _, entry in ipairs(reply[1][2]) do entries[#entries + 1] = { k - first, entry[1], entry[2] } end
    last[k] = pages[k][count][1]
  end
  if left == 'none' and horizon ~= '+' and #redis.call('XRANGE', KEYS[k], '(' .. last[k], '+', 'COUNT', 1) > 0 then
    left = 'soon'
  end
end
if left == 'none' and #entries == 0 then
  -- Nothing is there to be read, but that the consumer was seen: a group without one may be taken for abandoned.
  -- (A read that finds nothing leaves no trace before Redis 7.2: the consumer claims what it has, or begins anew.)
  local stream = KEYS[first]
  local row = redis.call('XPENDING', stream, ARGV[1], '-', '+', 1, ARGV[2])[1]
  if not row then
    redis.call('XGROUP', 'DELCONSUMER', stream, ARGV[1], ARGV[2])
    redis.call('XGROUP', 'CREATECONSUMER', stream, ARGV[1], ARGV[2])
  elseif #redis.call('XRANGE', stream, row[1], row[1]) > 0 then
    redis.call('XCLAIM', stream, ARGV[1], ARGV[2], 0, row[1], 'JUSTID')
  end
end
local reached = {}
for k = first, #KEYS do reached[#reached + 1] = last[k] end
return { redis.call('EXISTS', KEYS[3]), left, reached, entries, redis.call('HGETALL', KEYS[4]) }
