-- Looks which groups have something to do: entries that they have not read, or that are pending.
--
-- KEYS    streams
-- ARGV    for each stream: how many groups, then their names
--
-- Returns the places of such streams among KEYS, from 1; one whose group is missing is among them

local function rests(stream, wanted)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err then return false end
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local known = {}
  for _, group in ipairs(groups) do
    local info = {}
    for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
    known[info['name']] = info['pending'] == 0 and (not last or at_most(last[1], info['last-delivered-id']))
  end
  for _, name in ipairs(wanted) do
    if not known[name] then return false end
  end
  return true
end

local found, at = {}, 1
for k, stream in ipairs(KEYS) do
  local wanted = {}
  for n = 1, tonumber(ARGV[at]) do wanted[n] = ARGV[at + n] end
  at = at + 1 + #wanted
  if not rests(stream, wanted) then found[#found + 1] = k end
end
return found
