-- Gives the key of a subject, and makes it if there is none.
--
-- KEYS[1]  personal
-- ARGV[1]  subject   ARGV[2] an id and ARGV[3] a key, should there be none
--
-- Returns  { id, key }

local id = redis.call('HGET', KEYS[1], 'subject ' .. ARGV[1])
local key = id and redis.call('HGET', KEYS[1], 'key ' .. id)
if key then return { id, key } end
redis.call('HSET', KEYS[1], 'subject ' .. ARGV[1], ARGV[2], 'key ' .. ARGV[2], ARGV[3])
return { ARGV[2], ARGV[3] }
