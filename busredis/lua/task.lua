-- Takes or renews a task that one program at a time does, for a while.
--
-- KEYS[1]  lease:<task>
-- ARGV[1]  who asks   ARGV[2] ms, 0: gives it back   ARGV[3] a holder that is known to be dead, "" for none
--
-- Returns  the holder: who asks, if it has the task now

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then return holder end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return ARGV[1]
