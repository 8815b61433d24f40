-- Tells up to which id the streams of a partition are complete: nothing will appear at or below it any more.
--
-- KEYS[1]  clock   KEYS[2] types
--
-- Returns  { last complete id, the last id that there may be now, the event types that have a stream ... }
--
-- An append is behind its clock, so all up to the clock is complete but for entries that other programs add with "*"
-- in the current millisecond; while the clock is of this millisecond, what is complete ends with the one before.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local clock = redis.call('GET', KEYS[1])
local horizon = string.format('%.0f-18446744073709551615', now - 1)
local last = string.format('%.0f-18446744073709551615', now)
if clock and tonumber(string.match(clock, '^%d+')) > now then horizon, last = clock, clock end
return { horizon, last, unpack(redis.call('SMEMBERS', KEYS[2])) }
