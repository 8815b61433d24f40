-- Tells, for keys of an ordered handler, which is the first entry that is a dead letter, or was one and is not settled
-- again: nothing behind it may run.
--
-- KEYS[1]  parked:<group>: members "<key>\n<padded id of the entry>\n<id of its letter, or - if retried>\n<stream>"
-- KEYS[2]  dead:<group>   KEYS[3+] streams
-- ARGV[1]  group   ARGV[2+] the keys
--
-- Returns  for each key the member, or an empty string if there is none; members of what is gone are removed

local streams = {}
for k = 3, #KEYS do streams[KEYS[k]] = true end

local function plain(padded)
  return (string.gsub(string.gsub(padded, '^0*(%d)', '%1'), '%-0*(%d)', '-%1'))
end

local function is_there(member, key)
  local id, letter, stream = string.match(string.sub(member, #key + 2), '^(%S+)\n(%S+)\n(.*)$')
  if letter ~= '-' then return #redis.call('XRANGE', KEYS[2], letter, letter) > 0 end
  if not streams[stream] then return false end
  local rows = redis.pcall('XPENDING', stream, ARGV[1], plain(id), plain(id), 1)
  return not rows.err and #rows > 0
end

local found = {}
for i = 2, #ARGV do
  found[i - 1] = ''
  while true do
    local member = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. ARGV[i] .. '\n', '(' .. ARGV[i] .. '\11', 'LIMIT', 0, 1)[1]
    if not member then break end
    if is_there(member, ARGV[i]) then
      found[i - 1] = member
      break
    end
    redis.call('ZREM', KEYS[1], member)
  end
end
return found
