-- Removes consumers that hold nothing and were silent for long. One with pending entries is never removed: they
-- could not be read again (https://redis.io/docs/latest/commands/xgroup-delconsumer/).
--
-- KEYS    streams
-- ARGV[1] group   ARGV[2] least silence in ms   ARGV[3] the consumer that asks, which stays
--
-- Returns how many were removed

local removed = 0
for _, stream in ipairs(KEYS) do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, ARGV[1])
  for _, consumer in ipairs(consumers.err and {} or consumers) do
    local info = {}
    for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
    if info['pending'] == 0 and info['idle'] >= tonumber(ARGV[2]) and info['name'] ~= ARGV[3] then
      redis.call('XGROUP', 'DELCONSUMER', stream, ARGV[1], info['name'])
      removed = removed + 1
    end
  end
end
return removed
