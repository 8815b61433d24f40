-- Looks through the pending lists of a group in the total order of their entries, for its owner alone, and moves what
-- other consumers hold to the owner: from then on nothing that they still do is applied.
--
-- KEYS[1]  lease:ordered:<group>   KEYS[2] parked:<group>   KEYS[3] replay:<group>   KEYS[4+] streams
-- ARGV[1]  group   ARGV[2] consumer   ARGV[3] token   ARGV[4] number of this call, rising within a token
-- ARGV[5]  most rows of each stream   ARGV[6] the id after which to look
--
-- Returns  { whether any key has dead letters, the id after which to go on (empty: this was all), rows,
--          what replay:<group> says }, a row being
--          { the place of its stream, id, who held it, idle ms, delivery count, fields (or 0 if it was deleted) };
--          nothing if the ownership is lost
-- Errors   NOGROUP, STALE (a later call was answered already: this one was delayed on its way)

local lease = redis.call('HMGET', KEYS[1], 'token', 'call')
if lease[1] ~= ARGV[3] then return false end
if tonumber(lease[2]) >= tonumber(ARGV[4]) then return redis.error_reply('STALE a later call was answered already') end
redis.call('HSET', KEYS[1], 'call', ARGV[4])

local most = tonumber(ARGV[5])

local function waits(holder)
  local pause = string.match(holder, '^waiting%-(%d+)$')
  -- With more digits it is a name like any other: see waiting.py.
  return holder == 'waiting' or holder == 'waiting-behind' or pause and #pause <= 18
end

local pages, cut = {}, nil
for k = 4, #KEYS do
  local page = redis.pcall('XPENDING', KEYS[k], ARGV[1], '(' .. ARGV[6], '+', most)
  if page.err then return redis.error_reply('NOGROUP ' .. ARGV[1] .. ' on ' .. KEYS[k]) end
  pages[k] = page
  local final = #page == most and page[most][1]
  if final and (not cut or below(final, cut)) then cut = final end
end

local rows = {}
for k = 4, #KEYS do
  for _, row in ipairs(pages[k]) do
    if cut and below(cut, row[1]) then break end
    local entry = redis.call('XRANGE', KEYS[k], row[1], row[1])[1]
    if entry and row[2] ~= ARGV[2] and not waits(row[2]) then
      -- Its count stays: an attempt begins when it is taken in hand.
      redis.call('XCLAIM', KEYS[k], ARGV[1], ARGV[2], 0, row[1], 'JUSTID')
    end
    rows[#rows + 1] = { k - 4, row[1], row[2], row[3], row[4], entry and entry[2] or 0 }
  end
end
return { redis.call('EXISTS', KEYS[2]), cut or '', rows, redis.call('HGETALL', KEYS[3]) }
