-- Moves one entry to the dead letters of a group and acknowledges it, if its holder still holds it in this attempt.
--
-- KEYS[1] stream   KEYS[2] dead:<group>   KEYS[3] failures:<group>   KEYS[4] parked:<group>, of an ordered handler
-- ARGV[1] group   ARGV[2] who holds it   ARGV[3] attempt   ARGV[4] id   ARGV[5] unix ms
-- ARGV[6] event type   ARGV[7] reason   ARGV[8] error   ARGV[9] traceback   ARGV[10] consumer that gave it up
-- ARGV[11] the key in whose order it stands   ARGV[12] the member of parked:<group> behind which it is parked, or empty
--
-- Returns the id of the dead letter; nothing if the lease is lost; "free" if nothing is there to be parked behind

local rows = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[4], ARGV[4], 1)
local row = not rows.err and rows[1] -- an error: the group or the stream is gone, and the lease with it
if not row or row[2] ~= ARGV[2] or row[4] ~= tonumber(ARGV[3]) then return false end
local key, behind = ARGV[11] or '', ARGV[12] or ''
if behind ~= '' and not redis.call('ZSCORE', KEYS[4], behind) then return 'free' end

local field = KEYS[1] .. ' ' .. ARGV[4]
local known = redis.call('HGET', KEYS[3], field)
local first = known and string.match(known, '^(%d+) ') or ARGV[5]
local letter = {
  'event_type', ARGV[6], 'stream', KEYS[1], 'entry_id', ARGV[4], 'group', ARGV[1],
  'reason', ARGV[7], 'error', ARGV[8], 'traceback', ARGV[9], 'attempts', ARGV[3],
  'first_failure', first, 'last_failure', ARGV[5], 'consumer', ARGV[10],
}
if key ~= '' then
  letter[#letter + 1] = 'key'
  letter[#letter + 1] = key
end
-- The fields of the entry as they are, each behind "entry:"; none if the entry itself is gone. What Lua could not pass to
-- XADD stands in one field more, "fields", a name or a value as "<bytes>:<it>,".
local MOST = 4000
local entry = redis.call('XRANGE', KEYS[1], ARGV[4], ARGV[4])[1]
if entry then
  for i = 1, math.min(#entry[2], MOST), 2 do
    letter[#letter + 1] = 'entry:' .. entry[2][i]
    letter[#letter + 1] = entry[2][i + 1]
  end
  local rest = {}
  for i = MOST + 1, #entry[2] do rest[#rest + 1] = #entry[2][i] .. ':' .. entry[2][i] .. ',' end
  if #rest > 0 then
    letter[#letter + 1] = 'fields'
    letter[#letter + 1] = table.concat(rest)
  end
end
local place
if key ~= '' then
  local ms, seq = string.match(ARGV[4], '^(%d+)-(%d+)$')
  place = key .. '\n' .. string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq .. '\n'
  redis.call('ZREMRANGEBYLEX', KEYS[4], '[' .. place, '(' .. place .. '\255')
end
-- XADD first: if the server refuses it (out of memory), the entry stays pending.
local id = redis.call('XADD', KEYS[2], '*', unpack(letter))
if place then redis.call('ZADD', KEYS[4], 0, place .. id .. '\n' .. KEYS[1]) end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[4])
redis.call('HDEL', KEYS[3], field, 'alone ' .. field)
return id
