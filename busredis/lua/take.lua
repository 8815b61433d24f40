-- Takes pending entries in hand, each if it is still as it was seen, for the owner of the group alone.
--
-- KEYS[1]  lease:ordered:<group>   KEYS[2] failures:<group>   KEYS[3+] streams
-- ARGV[1]  group   ARGV[2] consumer   ARGV[3] token
-- ARGV[4+] for each entry: the place of its stream among the streams, id, who holds it, its delivery count, its
--          delivery count from now on, unix ms if it is to run with nothing beside it, which is noted (else empty)
--
-- Returns  for each entry { "taken", its fields }; { "deleted" } (it is left so); { "other", who holds it, idle ms,
--          delivery count } if it is not as it was seen; { "gone" } if it is settled; nothing at all if the ownership is lost

if redis.call('HGET', KEYS[1], 'token') ~= ARGV[3] then return false end

local taken = {}
for i = 4, #ARGV, 6 do
  local stream, id = KEYS[3 + tonumber(ARGV[i])], ARGV[i + 1]
  local rows = redis.pcall('XPENDING', stream, ARGV[1], id, id, 1)
  local row = not rows.err and rows[1]
  if not row then
    taken[#taken + 1] = { 'gone' }
  elseif row[2] ~= ARGV[i + 2] or row[4] ~= tonumber(ARGV[i + 3]) then
    taken[#taken + 1] = { 'other', row[2], row[3], row[4] }
  else
    local entry = redis.call('XRANGE', stream, id, id)[1]
    if entry then
      redis.call('XCLAIM', stream, ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', ARGV[i + 4], 'JUSTID')
      if ARGV[i + 5] ~= '' then redis.call('HSET', KEYS[2], 'alone ' .. stream .. ' ' .. id, ARGV[i + 5]) end
    end
    taken[#taken + 1] = entry and { 'taken', entry[2] } or { 'deleted' }
  end
end
return taken
