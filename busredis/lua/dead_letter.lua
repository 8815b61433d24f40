-- Moves one entry to the dead letters of a group and acknowledges it, if its holder still holds it in this attempt.
--
-- KEYS[1] stream   KEYS[2] dead:<group>   KEYS[3] failures:<group>
-- ARGV[1] group   ARGV[2] who holds it   ARGV[3] attempt   ARGV[4] id   ARGV[5] unix ms
-- ARGV[6] event type   ARGV[7] reason   ARGV[8] error   ARGV[9] traceback   ARGV[10] consumer that gave it up
--
-- Returns the id of the dead letter; nothing if the lease is lost

local rows = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[4], ARGV[4], 1)
local row = not rows.err and rows[1] -- an error: the group or the stream is gone, and the lease with it
if not row or row[2] ~= ARGV[2] or row[4] ~= tonumber(ARGV[3]) then return false end

local field = KEYS[1] .. ' ' .. ARGV[4]
local known = redis.call('HGET', KEYS[3], field)
local first = known and string.match(known, '^(%d+) ') or ARGV[5]
local letter = {
  'event_type', ARGV[6], 'stream', KEYS[1], 'entry_id', ARGV[4], 'group', ARGV[1],
  'reason', ARGV[7], 'error', ARGV[8], 'traceback', ARGV[9], 'attempts', ARGV[3],
  'first_failure', first, 'last_failure', ARGV[5], 'consumer', ARGV[10],
}
-- The fields of the entry as they are, each behind "entry:"; none if the entry itself is gone.
local entry = redis.call('XRANGE', KEYS[1], ARGV[4], ARGV[4])[1]
if entry then
  for i = 1, #entry[2], 2 do
    letter[#letter + 1] = 'entry:' .. entry[2][i]
    letter[#letter + 1] = entry[2][i + 1]
  end
end
-- XADD first: if the server refuses it (out of memory), the entry stays pending.
local id = redis.call('XADD', KEYS[2], '*', unpack(letter))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[4])
redis.call('HDEL', KEYS[3], field, 'alone ' .. field)
return id
