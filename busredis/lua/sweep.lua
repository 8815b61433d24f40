-- Looks through the pending lists of a group, a page of each consumer at a time: what waits, what a silent consumer holds.
-- Notes how far the group is. However much is pending, one look costs no more than its pages.
--
-- KEYS[1]  checkpoint:<group>   KEYS[2] replay:<group>
-- KEYS[3+] streams
-- ARGV[1]  group   ARGV[2] lease in ms   ARGV[3] rows of a page of what waits   ARGV[4] the same of any other consumer;
--          0: they are left out
-- ARGV[5]  rows of a stream, after which the consumers that are left have to wait for the next look
-- ARGV[6+] for each stream, where the last look stopped: which consumer is the first to be looked at, for how many
--          consumers there is more to be said, and for each of these its name and where to begin ("-" stands for all others)
--
-- Returns  for each stream {pending, rows, more, first, places, unread}: the rows {id, consumer, idle ms, delivery count} of waiting
--          entries, those with a pause in their name only when it is over, and of those idle for the lease; 1 if there is
--          more of these to be seen now; what to say next time; and, if nothing is pending, 1 if there are entries that the
--          group has not read;
--          nothing in the place of a stream whose group is missing

local result = {}

local function before(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if seq ~= '0' then return string.format('%s-%.0f', ms, tonumber(seq) - 1) end
  if ms == '0' then return '0-0' end
  return string.format('%.0f-18446744073709551615', tonumber(ms) - 1)
end

-- A replay has ended in a stream when nothing up to its end is open: what is delivered after that is no replay.
local function end_replay(stream, reached)
  local until_id = redis.call('HGET', KEYS[2], stream)
  if not until_id or not string.match(until_id, '^%d+-%d+$') or not at_most(until_id, reached) then return end
  redis.call('HDEL', KEYS[2], stream)
  if redis.call('HLEN', KEYS[2]) == 1 then redis.call('HDEL', KEYS[2], 'side-effects') end
end

local is_replaying = redis.call('EXISTS', KEYS[2]) == 1

local function note(stream, lowest)
  local reached = lowest and before(lowest)
  if not reached then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local info = {}
      for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
      if info['name'] == ARGV[1] then reached = info['last-delivered-id'] end
    end
  end
  if reached and redis.call('HGET', KEYS[1], stream) ~= reached then redis.call('HSET', KEYS[1], stream, reached) end
  if reached and is_replaying then end_replay(stream, reached) end
  return reached
end

-- What waits for the pause of its handler, for a pause of its own, or is held by somebody.
local function kind_of(holder)
  if holder == 'waiting' or holder == 'waiting-behind' then return 0, tonumber(ARGV[3]), true end
  local pause = string.match(holder, '^waiting%-(%d+)$')
  -- With more digits it is a name like any other: see waiting.py.
  if pause and #pause <= 18 then return tonumber(pause), tonumber(ARGV[3]), true end
  return tonumber(ARGV[2]), tonumber(ARGV[4]), false
end

local function look(stream, holders, first, starts)
  local rows, places, left, more, following = {}, {}, tonumber(ARGV[5]), false, 0
  for n, found in ipairs(holders) do
    local holder, is_left = found[1], n <= first or left <= 0
    local least_idle, size, waits = kind_of(holder)
    local start = starts[holder]
    if n > first and left <= 0 and following == 0 then following = n - 1 end
    if size == 0 or is_left then
      -- It had its turn, or has it in another look.
      more = more or waits and (start or n > first)
    else
      -- Without IDLE, which would go through all entries of a consumer that renews them: here a page is a page.
      local page, seen = redis.call('XPENDING', stream, ARGV[1], start or '-', '+', size, holder), #rows
      for _, row in ipairs(page) do
        if row[3] >= least_idle then rows[#rows + 1] = row end
      end
      start = #page == size and '(' .. page[size][1] or nil
      more, left = more or start and (waits or #rows > seen), left - #page
    end
    if start then places[#places + 1], places[#places + 2] = holder, start end
  end
  return rows, more, following, places
end

local at = 6
local function place()
  local first, starts = tonumber(ARGV[at]), {}
  for i = 1, tonumber(ARGV[at + 1]) do starts[ARGV[at + 2 * i]] = ARGV[at + 2 * i + 1] end
  at = at + 2 + 2 * ARGV[at + 1]
  return first, starts
end

for k = 3, #KEYS do
  local stream, first, starts = KEYS[k], place()
  local summary = redis.pcall('XPENDING', stream, ARGV[1])
  if summary.err then
    result[k - 2] = false
  else
    local rows, more, following, places = look(stream, summary[4] or {}, first, starts)
    local reached, unread = note(stream, summary[1] > 0 and summary[2]), 0
    if summary[1] == 0 and reached then unread = #redis.call('XRANGE', stream, '(' .. reached, '+', 'COUNT', 1) end
    result[k - 2] = { summary[1], rows, more and 1 or 0, following, places, unread }
  end
end
return result
