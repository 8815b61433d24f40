-- Puts the entry of a dead letter back on the pending list of its group, due at once, and removes the letter.
--
-- KEYS[1] stream   KEYS[2] dead:<group>   KEYS[3] parked:<group>
-- ARGV[1] group   ARGV[2] id of the letter   ARGV[3] id of the entry   ARGV[4] its key, if its handler is ordered
--
-- Returns "ok"; "gone" if the letter is not there; "trimmed" if the entry is not in its stream any more

if #redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2]) == 0 then return 'gone' end
if #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3]) == 0 then return 'trimmed' end
-- FORCE creates the pending entry (https://redis.io/docs/latest/commands/xclaim/); its attempts count from 1 again.
redis.call('XCLAIM', KEYS[1], ARGV[1], 'waiting-0', 0, ARGV[3], 'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
if ARGV[4] ~= '' then
  -- Until it is settled, what comes behind it in its key has to wait for it.
  local ms, seq = string.match(ARGV[3], '^(%d+)-(%d+)$')
  local place = ARGV[4] .. '\n' .. string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq .. '\n'
  redis.call('ZREMRANGEBYLEX', KEYS[3], '[' .. place, '(' .. place .. '\255')
  redis.call('ZADD', KEYS[3], 0, place .. '-\n' .. KEYS[1])
end
redis.call('XDEL', KEYS[2], ARGV[2])
return 'ok'
