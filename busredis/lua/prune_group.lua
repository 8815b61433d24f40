-- Removes a group from all its streams, if none of its consumers was seen for a while; its dead letters stay.
--
-- KEYS[1]  groups   KEYS[2] checkpoint:<group>   KEYS[3] failures:<group>   KEYS[4] stats:<group>
-- KEYS[5]  lease:ordered:<group>   KEYS[6] free:<group>
-- KEYS[7+] streams
-- ARGV[1]  group   ARGV[2] least silence in ms
--
-- Returns  1; 0 if a consumer was seen meanwhile, and nothing is removed

for k = 7, #KEYS do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[k], ARGV[1])
  for _, consumer in ipairs(consumers.err and {} or consumers) do
    for i = 1, #consumer, 2 do
      if consumer[i] == 'idle' and consumer[i + 1] < tonumber(ARGV[2]) then return 0 end
    end
  end
end
for k = 7, #KEYS do redis.pcall('XGROUP', 'DESTROY', KEYS[k], ARGV[1]) end
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
return 1
