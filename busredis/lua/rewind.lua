-- Moves a group to a position in its streams, with all that belongs to it, and switches read models with it: all at once.
--
-- KEYS[1]  checkpoint:<group>   KEYS[2] replay:<group>   KEYS[3] failures:<group>   KEYS[4] trimmed
-- KEYS[5+] streams, then keys to rename, two each: from, to; then keys to delete
-- ARGV[1]  group
-- ARGV[2]  what becomes of pending entries: "refuse" if there is one behind the position, "again" (they are read again
--          with all others), "done" (all are, up to the position)
-- ARGV[3]  1: handlers with side effects run too   ARGV[4] 1: only look whether it can be done
-- ARGV[5]  how many streams   ARGV[6] how many pairs of keys to rename
-- ARGV[7+] for each stream three: its event type, the id after which to read on, the id up to which the group needs nothing
--          that was trimmed, empty if that does not matter
--
-- Returns  for each stream the id up to which the group had read
-- Errors   NOGROUP, TRIMMED <event type> <id>, PENDING <how many>; then nothing was done

local streams, pairs_count = tonumber(ARGV[5]), tonumber(ARGV[6])

local function reached(stream)
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local info = {}
    for i = 1, #row, 2 do info[row[i]] = row[i + 1] end
    if info['name'] == ARGV[1] then return info['last-delivered-id'] end
  end
end

local function pending(stream, after)
  local found = {}
  local from = after and '(' .. after or '-'
  while true do
    local rows = redis.call('XPENDING', stream, ARGV[1], from, '+', 1000)
    for _, row in ipairs(rows) do found[#found + 1] = row[1] end
    if #rows < 1000 then return found end
    from = '(' .. rows[1000][1]
  end
end

local was, open, behind = {}, {}, 0
for n = 1, streams do
  local stream, kind, position, had = KEYS[4 + n], ARGV[4 + 3 * n], ARGV[5 + 3 * n], ARGV[6 + 3 * n]
  was[n] = reached(stream)
  if not was[n] then return redis.error_reply('NOGROUP no group ' .. ARGV[1] .. ' on ' .. stream) end
  local trimmed = redis.call('HGET', KEYS[4], kind)
  if trimmed and had ~= '' and below(had, trimmed) then
    return redis.error_reply('TRIMMED ' .. kind .. ' ' .. trimmed)
  end
  open[n] = pending(stream, ARGV[2] ~= 'done' and position)
  behind = behind + #open[n]
end
if ARGV[2] == 'refuse' and behind > 0 then return redis.error_reply('PENDING ' .. behind) end
if ARGV[4] == '1' then return was end

redis.call('HDEL', KEYS[2], 'side-effects')
if ARGV[3] == '1' then redis.call('HSET', KEYS[2], 'side-effects', '1') end
for n = 1, streams do
  local stream, position = KEYS[4 + n], ARGV[5 + 3 * n]
  local moves = ARGV[2] == 'done' or below(position, was[n])
  -- A group is not moved forward by a replay; what is acknowledged here is read again, or was done by the shadow.
  for first = 1, moves and #open[n] or 0, 1000 do
    redis.call('XACK', stream, ARGV[1], unpack(open[n], first, math.min(first + 999, #open[n])))
  end
  if moves then
    for _, id in ipairs(open[n]) do
      redis.call('HDEL', KEYS[3], stream .. ' ' .. id, 'alone ' .. stream .. ' ' .. id)
    end
    redis.call('XGROUP', 'SETID', stream, ARGV[1], position)
    redis.call('HSET', KEYS[1], stream, position)
    local until_id = redis.call('HGET', KEYS[2], stream)
    if not until_id or below(until_id, was[n]) then redis.call('HSET', KEYS[2], stream, was[n]) end
  end
end
for i = 5 + streams, 4 + streams + 2 * pairs_count, 2 do redis.call('RENAME', KEYS[i], KEYS[i + 1]) end
for i = 5 + streams + 2 * pairs_count, #KEYS do redis.call('DEL', KEYS[i]) end
return was
