-- Takes one pending entry over, if it is still as it was seen.
--
-- KEYS[1] stream
-- ARGV[1] group   ARGV[2] consumer   ARGV[3] id
-- ARGV[4] who held it   ARGV[5] least idle ms   ARGV[6] its delivery count   ARGV[7] its delivery count from now on
--
-- Returns the fields of the entry; an empty list if the entry was deleted while it was pending (it is left so);
--         nothing if another consumer was faster

local row = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not row or row[2] ~= ARGV[4] or row[3] < tonumber(ARGV[5]) or row[4] ~= tonumber(ARGV[6]) then return false end
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
if not entry then return {} end
-- RETRYCOUNT, unlike a read of one's own history, survives a restart of the server.
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', ARGV[7], 'JUSTID')
return entry[2]
