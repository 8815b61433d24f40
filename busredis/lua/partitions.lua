-- The number of partitions of a namespace: recorded by whoever asks first, and the same for ever after.
--
-- KEYS[1]  partitions   KEYS[2] clock of the namespace as it is with one partition
-- ARGV[1]  the number that is wanted, empty for any
--
-- Returns  the number that is recorded; with a clock and without a record there are events already, in one partition

local known = redis.call('GET', KEYS[1])
if known then return known end
local number = ARGV[1] == '' and '1' or ARGV[1]
if redis.call('EXISTS', KEYS[2]) == 1 then number = '1' end
redis.call('SET', KEYS[1], number)
return number
