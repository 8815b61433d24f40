-- Acknowledges entries that this consumer still holds in this attempt; all others it leaves alone.
--
-- KEYS[1]  failures:<group>
-- KEYS[2+] streams
-- ARGV[1]  group   ARGV[2] consumer
-- ARGV[3+] for each stream and attempt: the index of the stream in KEYS, the attempt, how many, the ids
--
-- Returns  the ids that were not acknowledged, since the lease on them is lost

local lost, group, consumer = {}, ARGV[1], ARGV[2]
-- Most entries never failed, and most groups have no note of a failure at all.
local has_notes = redis.call('EXISTS', KEYS[1]) == 1

local function acknowledge(stream, ids)
  for first = 1, #ids, 1000 do
    redis.call('XACK', stream, group, unpack(ids, first, math.min(first + 999, #ids)))
  end
  for _, id in ipairs(has_notes and ids or {}) do
    local note = stream .. ' ' .. id
    redis.call('HDEL', KEYS[1], note, 'alone ' .. note)
  end
end

-- Redis lets anyone XACK anything, so look first (https://redis.io/docs/latest/commands/xpending/): whether from the
-- first to the last of them this consumer holds these and no others.
local function holds_all(stream, attempt, ids)
  local rows = redis.pcall('XPENDING', stream, group, ids[1], ids[#ids], #ids + 1, consumer)
  if #rows ~= #ids then return false end
  for i, row in ipairs(rows) do
    if row[1] ~= ids[i] or row[4] ~= attempt then return false end
  end
  return true
end

local function held(stream, attempt, ids)
  local mine = {}
  for _, id in ipairs(ids) do
    local rows = redis.pcall('XPENDING', stream, group, id, id, 1)
    local row = not rows.err and rows[1] -- an error: the group or the stream is gone, and the lease with it
    local is_mine = row and row[2] == consumer and row[4] == attempt
    if is_mine then mine[#mine + 1] = id else lost[#lost + 1] = id end
  end
  return mine
end

local at = 3
while at <= #ARGV do
  local stream, attempt, count = KEYS[tonumber(ARGV[at])], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local ids = { unpack(ARGV, at + 3, at + 2 + count) }
  at = at + 3 + count
  acknowledge(stream, holds_all(stream, attempt, ids) and ids or held(stream, attempt, ids))
end
return lost
