-- Reads a page of the history of an aggregate with the events it refers to, from its snapshot on if that can be used.
--
-- KEYS[1]  aggregate:<Type>:<id>   KEYS[2] snapshot:<Type>:<id>
-- ARGV[1]  what stands before the event type in the key of a stream
-- ARGV[2]  read versions above this one
-- ARGV[3]  up to this version ("": the newest)
-- ARGV[4]  up to the newest version that was there at this unix ms ("": all)
-- ARGV[5]  most events   ARGV[6] most bytes of events (one event always fits)
-- ARGV[7]  fingerprint of the schema that a snapshot must have ("": no snapshot is wanted)
-- ARGV[8]  1: backward, from the newest to the oldest
--
-- Returns  { version of the history, version up to which was asked, version from which was read, snapshot, events }:
--          snapshot is what became of it (missing, later, schema, ahead, foreign) or { version, state, taken_at, position };
--          events has for each three: type, entry id, JSON
-- Errors   DAMAGED <version> <what is wrong>

local function reference(version)
  local id = string.format('%.0f-0', version)
  return redis.call('XRANGE', KEYS[1], id, id)[1]
end

local function ms_of(version)
  local found = reference(version)
  return found and tonumber(string.match(found[2][4], '^%d+'))
end

local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local version = newest and tonumber(string.match(newest[1], '^%d+')) or 0
local upto = math.min(tonumber(ARGV[3]) or version, version)

if ARGV[4] ~= '' then
  -- Ids rise with the versions: the newest one of that time is found by halving.
  local low, high, limit = 0, upto, tonumber(ARGV[4])
  while low < high do
    local middle = math.ceil((low + high) / 2)
    local ms = ms_of(middle)
    if not ms then return redis.error_reply(string.format('DAMAGED %.0f no reference', middle)) end
    if ms <= limit then low = middle else high = middle - 1 end
  end
  upto = low
end

local function usable_snapshot()
  local found = redis.pcall('HMGET', KEYS[2], 'version', 'schema', 'position', 'state', 'taken_at')
  if found.err then return 'foreign' end
  if not found[1] and not found[2] then return 'missing' end
  if found[2] ~= ARGV[7] then return 'schema' end
  local at = tonumber(string.match(found[1] or '', '^%d+$'))
  if not at or at > version then return 'ahead' end
  local last = reference(at)
  -- A restored backup may have another history under the same versions.
  if not last or last[2][4] ~= found[3] then return 'foreign' end
  if at > upto then return 'later' end
  return { at, found[4] or '', found[5] or '', found[3] }
end

local after, snapshot = tonumber(ARGV[2]), 'missing'
if ARGV[7] ~= '' then
  snapshot = usable_snapshot()
  if type(snapshot) == 'table' then after = snapshot[1] end
end

local backward = ARGV[8] == '1'
local references = {}
if upto > after then
  local from, to = string.format('%.0f-0', after + 1), string.format('%.0f-0', upto)
  if backward then
    references = redis.call('XREVRANGE', KEYS[1], to, from, 'COUNT', ARGV[5])
  else
    references = redis.call('XRANGE', KEYS[1], from, to, 'COUNT', ARGV[5])
  end
  local wanted = math.min(tonumber(ARGV[5]), upto - after)
  local first = references[1] and tonumber(string.match(references[1][1], '^%d+'))
  local last = references[1] and tonumber(string.match(references[#references][1], '^%d+'))
  if #references < wanted or first ~= (backward and upto or after + 1) or math.abs(last - first) + 1 ~= wanted then
    return redis.error_reply(string.format('DAMAGED %.0f not every version has a reference', first or after + 1))
  end
end

local events, bytes, limit = {}, 0, tonumber(ARGV[6])

local function add(reference, fields)
  local n = #events
  local json = fields[2]
  events[n + 1], events[n + 2], events[n + 3] = reference[2][2], reference[2][4], json
  bytes = bytes + #json
  return bytes < limit
end

local function gone(reference)
  return redis.error_reply('DAMAGED ' .. string.match(reference[1], '^%d+') .. ' its event ' .. reference[2][4]
    .. ' is not in the stream of ' .. reference[2][2])
end

local function single(reference)
  return redis.call('XRANGE', ARGV[1] .. reference[2][2], reference[2][4], reference[2][4])[1]
end

-- Neighbours in the history are often neighbours in the stream of their type: read them together while that pays.
local together, i = not backward, 1
while i <= #references do
  local last, kind, near = i, references[i][2][2], {}
  while together and last - i < 63 and references[last + 1] and references[last + 1][2][2] == kind do
    last = last + 1
  end
  if last > i then
    local stream, first_id, last_id = ARGV[1] .. kind, references[i][2][4], references[last][2][4]
    local entries = redis.call('XRANGE', stream, first_id, last_id, 'COUNT', last - i + 9)
    for _, entry in ipairs(entries) do near[entry[1]] = entry[2] end
    together = entries[#entries] and entries[#entries][1] == last_id
  end
  for n = i, last do
    local fields = near[references[n][2][4]]
    if not fields then
      local entry = single(references[n])
      if not entry then return gone(references[n]) end
      fields = entry[2]
    end
    if not add(references[n], fields) then return { version, upto, after, snapshot, events } end
  end
  i = last + 1
end

return { version, upto, after, snapshot, events }
