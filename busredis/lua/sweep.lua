-- Looks through the pending lists of a group: what waits, what a silent consumer holds. Notes how far the group is.
--
-- KEYS[1]  checkpoint:<group>   KEYS[2] replay:<group>
-- KEYS[3+] streams
-- ARGV[1]  group   ARGV[2] lease in ms   ARGV[3] most rows for each stream and consumer
-- ARGV[4+] for each stream: the id after which to look for waiting entries ("-" from the start)
--
-- Returns  for each stream {pending, rows, next, unread}: the rows {id, consumer, idle ms, delivery count} of waiting
--          entries and of those idle for the lease, the id after which to look next time, and, if nothing is pending,
--          1 if there are entries that the group has not read;
--          nothing in the place of a stream whose group is missing

local result = {}

local function before(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if seq ~= '0' then return string.format('%s-%.0f', ms, tonumber(seq) - 1) end
  if ms == '0' then return '0-0' end
  return string.format('%.0f-18446744073709551615', tonumber(ms) - 1)
end

local function number_at_most(a, b)
  if #a ~= #b then return #a < #b end
  return a <= b
end

local function at_most(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return number_at_most(a_ms, b_ms) end
  return number_at_most(a_seq, b_seq)
end

-- A replay has ended in a stream when nothing up to its end is open: what is delivered after that is no replay.
local function end_replay(stream, reached)
  local until_id = redis.call('HGET', KEYS[2], stream)
  if not until_id or not at_most(until_id, reached) then return end
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

for k = 3, #KEYS do
  local stream, from = KEYS[k], ARGV[k + 1]
  local summary = redis.pcall('XPENDING', stream, ARGV[1])
  if summary.err then
    result[k - 2] = false
  else
    local rows, following = {}, '-'
    for _, holder in ipairs(summary[4] or {}) do
      local page
      if holder[1] == 'waiting' then
        page = redis.call('XPENDING', stream, ARGV[1], from == '-' and '-' or '(' .. from, '+', ARGV[3], 'waiting')
        if #page == tonumber(ARGV[3]) then following = page[#page][1] end
      else
        local idle = string.match(holder[1], '^waiting%-(%d+)$') or ARGV[2]
        page = redis.call('XPENDING', stream, ARGV[1], 'IDLE', idle, '-', '+', ARGV[3], holder[1])
      end
      for _, row in ipairs(page) do rows[#rows + 1] = row end
    end
    local reached, unread = note(stream, summary[1] > 0 and summary[2]), 0
    if summary[1] == 0 and reached then unread = #redis.call('XRANGE', stream, '(' .. reached, '+', 'COUNT', 1) end
    result[k - 2] = { summary[1], rows, following, unread }
  end
end
return result
