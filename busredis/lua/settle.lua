-- Acknowledges entries that this consumer still holds in this attempt; all others it leaves alone.
--
-- KEYS[1]  failures:<group>
-- KEYS[2+] streams
-- ARGV[1]  group   ARGV[2] consumer
-- ARGV[3+] for each stream: how many, then id and attempt of each
--
-- Returns  the ids that were not acknowledged, since the lease on them is lost

local lost, at = {}, 3

local function held(stream, ids, attempts)
  -- Redis lets anyone XACK anything, so look first (https://redis.io/docs/latest/commands/xpending/).
  local found = {}
  if #ids <= 16 then
    for _, id in ipairs(ids) do
      local row = redis.call('XPENDING', stream, ARGV[1], id, id, 1)[1]
      if row and row[2] == ARGV[2] then found[id] = row[4] end
    end
  else
    for _, row in ipairs(redis.call('XPENDING', stream, ARGV[1], '-', '+', 100000, ARGV[2])) do
      found[row[1]] = row[4]
    end
  end
  local mine = {}
  for i, id in ipairs(ids) do
    if found[id] == tonumber(attempts[i]) then mine[#mine + 1] = id else lost[#lost + 1] = id end
  end
  return mine
end

-- Most entries never failed, and most groups have no note of a failure at all.
local has_notes = redis.call('EXISTS', KEYS[1]) == 1

for k = 2, #KEYS do
  local count, ids, attempts = tonumber(ARGV[at]), {}, {}
  for i = 1, count do ids[i], attempts[i] = ARGV[at + 2 * i - 1], ARGV[at + 2 * i] end
  at = at + 2 * count + 1
  local ok, mine = pcall(held, KEYS[k], ids, attempts)
  if not ok then mine = {} for _, id in ipairs(ids) do lost[#lost + 1] = id end end
  for first = 1, #mine, 1000 do
    redis.call('XACK', KEYS[k], ARGV[1], unpack(mine, first, math.min(first + 999, #mine)))
  end
  for _, id in ipairs(has_notes and mine or {}) do
    local note = KEYS[k] .. ' ' .. id
    redis.call('HDEL', KEYS[1], note, 'alone ' .. note)
  end
end
return lost
