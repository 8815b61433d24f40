-- Takes one pending entry over, if it is still as it was seen.
--
-- KEYS[1] stream   KEYS[2] failures:<group>
-- ARGV[1] group   ARGV[2] consumer   ARGV[3] id
-- ARGV[4] who held it   ARGV[5] least idle ms   ARGV[6] its delivery count   ARGV[7] its delivery count from now on
-- ARGV[8] unix ms if it is to run with nothing beside it, which is noted; else empty
--
-- Returns the fields of the entry; an empty list if the entry was deleted while it was pending (it is left so);
--         nothing if another consumer was faster

local row = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not row or row[2] ~= ARGV[4] or row[3] < tonumber(ARGV[5]) or row[4] ~= tonumber(ARGV[6]) then return false end
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
if not entry then return {} end
-- RETRYCOUNT, unlike a read of one's own history, survives a restart of the server.
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', ARGV[7], 'JUSTID')
if ARGV[8] ~= '' then redis.call('HSET', KEYS[2], 'alone ' .. KEYS[1] .. ' ' .. ARGV[3], ARGV[8]) end
return entry[2]
