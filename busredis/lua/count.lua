-- Counts the entries of a stream behind an id, a page of them: no entry leaves the server.
--
-- KEYS[1] stream
-- ARGV[1] the id   ARGV[2] most to count
--
-- Returns { how many, the id of the last of them, or ARGV[1] if there is none }

local entries = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
return { #entries, #entries > 0 and entries[#entries][1] or ARGV[1] }
