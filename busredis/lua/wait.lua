-- Lets entries that this consumer still holds wait: they move, inside the pending list, to a waiting consumer.
--
-- KEYS[1] stream   KEYS[2] failures:<group>
-- ARGV[1] group   ARGV[2] consumer   ARGV[3] the waiting consumer
-- ARGV[4] 1 if this attempt counts, 0 if it is to be forgotten
-- ARGV[5] unix ms of the failure   ARGV[6] the error, or empty if nothing failed
-- ARGV[7+] id and attempt of each entry
--
-- Returns two lists: the ids that stayed where they are, since the lease on them is lost; and those that stayed
--         since their entry was deleted

local lost, gone = {}, {}
for i = 7, #ARGV, 2 do
  local id, attempt = ARGV[i], tonumber(ARGV[i + 1])
  local rows = redis.pcall('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  local row = not rows.err and rows[1] -- an error: the group or the stream is gone, and the lease with it
  if row and row[2] == ARGV[2] and row[4] == attempt and #redis.call('XRANGE', KEYS[1], id, id) == 0 then
    gone[#gone + 1] = id -- XCLAIM would drop it without a trace
  elseif row and row[2] == ARGV[2] and row[4] == attempt then
    local kept = ARGV[4] == '1' and attempt or attempt - 1
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, id, 'RETRYCOUNT', kept, 'JUSTID')
    local field = KEYS[1] .. ' ' .. id
    redis.call('HDEL', KEYS[2], 'alone ' .. field) -- it came to an end, if only to a failure: it killed nobody
    if ARGV[6] ~= '' then
      local known = redis.call('HGET', KEYS[2], field)
      local first = known and string.match(known, '^(%d+) ') or ARGV[5]
      -- Worth having, not worth failing for: HSET is refused when the server is out of memory.
      redis.pcall('HSET', KEYS[2], field, first .. ' ' .. ARGV[6])
    end
  else
    lost[#lost + 1] = id
  end
end
return { lost, gone }
