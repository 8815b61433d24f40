-- Renews the lease on entries that this consumer still holds in this attempt.
--
-- KEYS     streams
-- ARGV[1]  group   ARGV[2] consumer
-- ARGV[3+] for each stream: how many, then id and attempt of each
--
-- Returns  the ids whose lease is lost

local lost, at = {}, 3
for k = 1, #KEYS do
  local count, found, mine = tonumber(ARGV[at]), {}, {}
  local rows = redis.pcall('XPENDING', KEYS[k], ARGV[1], '-', '+', 100000, ARGV[2])
  if not rows.err then for _, row in ipairs(rows) do found[row[1]] = row[4] end end
  for i = 1, count do
    local id, attempt = ARGV[at + 2 * i - 1], tonumber(ARGV[at + 2 * i])
    if found[id] ~= attempt then
      lost[#lost + 1] = id
    elseif #redis.call('XRANGE', KEYS[k], id, id) > 0 then
      mine[#mine + 1] = id -- XCLAIM would drop one that was deleted without a trace
    end
  end
  at = at + 2 * count + 1
  for first = 1, #mine, 1000 do
    -- JUSTID: resets the idle time and counts no delivery (https://redis.io/docs/latest/commands/xclaim/).
    local command = { 'XCLAIM', KEYS[k], ARGV[1], ARGV[2], 0 }
    for i = first, math.min(first + 999, #mine) do command[#command + 1] = mine[i] end
    command[#command + 1] = 'JUSTID'
    redis.call(unpack(command))
  end
end
return lost
