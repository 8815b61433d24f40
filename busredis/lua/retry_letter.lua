-- Puts the entry of a dead letter back on the pending list of its group, due at once, and removes the letter.
--
-- KEYS[1] stream   KEYS[2] dead:<group>
-- ARGV[1] group   ARGV[2] id of the letter   ARGV[3] id of the entry
--
-- Returns "ok"; "gone" if the letter is not there; "trimmed" if the entry is not in its stream any more

if #redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2]) == 0 then return 'gone' end
if #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3]) == 0 then return 'trimmed' end
-- FORCE creates the pending entry (https://redis.io/docs/latest/commands/xclaim/); its attempts count from 1 again.
redis.call('XCLAIM', KEYS[1], ARGV[1], 'waiting-0', 0, ARGV[3], 'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
redis.call('XDEL', KEYS[2], ARGV[2])
return 'ok'
