-- Reads a page of the history of an aggregate with the events it refers to, from its snapshot on if that can be used.
--
-- KEYS[1]  aggregate:<Type>:<id>   KEYS[2] snapshot:<Type>:<id>   KEYS[3] personal
-- ARGV[1]  what stands before the event type in the key of a stream
-- ARGV[2]  read versions above this one
-- ARGV[3]  up to this version ("": the newest)
-- ARGV[4]  up to the newest version that was there at this unix ms ("": all)
-- ARGV[5]  most events   ARGV[6] most bytes of events (one event always fits)
-- ARGV[7]  fingerprint of the schema that a snapshot must have ("": no snapshot is wanted)
-- ARGV[8]  1: backward, from the newest to the oldest
--
-- Returns  { version of the history, version up to which was asked, version from which was read, snapshot, events,
--            how many subjects were forgotten by now }:
--          snapshot is what became of it (missing, later, schema, ahead, foreign) or { version, state, taken_at, position };
--          events has for each three: type, entry id, JSON (nothing if it is not in its stream any more)

-- The nth reference, "<event type> <entry id>", is that to version n.
local function position(version)
  local found = redis.call('LINDEX', KEYS[1], version - 1)
  return found and string.match(found, ' (%S+)$')
end

local erasures = redis.call('HGET', KEYS[3], 'erasures') or '0'
local version = redis.call('LLEN', KEYS[1])
local upto = math.min(tonumber(ARGV[3]) or version, version)

if ARGV[4] ~= '' then
  -- Ids rise with the versions: the newest one of that time is found by halving.
  local low, high, limit = 0, upto, tonumber(ARGV[4])
  while low < high do
    local middle = math.ceil((low + high) / 2)
    local ms = tonumber(string.match(position(middle), '^%d+'))
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
  -- A restored backup may have another history under the same versions.
  if at < 1 or position(at) ~= found[3] then return 'foreign' end
  if at > upto then return 'later' end
  return { at, found[4] or '', found[5] or '', found[3] }
end

local after, snapshot = tonumber(ARGV[2]), 'missing'
if ARGV[7] ~= '' then
  snapshot = usable_snapshot()
  if type(snapshot) == 'table' then after = snapshot[1] end
end

local backward, count = ARGV[8] == '1', tonumber(ARGV[5])
local references = {}
if upto > after and count > 0 then
  local first, last = after, math.min(upto, after + count) - 1
  if backward then first, last = math.max(after, upto - count), upto - 1 end
  for n, reference in ipairs(redis.call('LRANGE', KEYS[1], first, last)) do
    local kind, id = string.match(reference, '^(%S+) (%S+)$')
    local place = backward and last - first + 2 - n or n
    references[place] = { kind = kind, id = id, version = first + n }
  end
end

local events, bytes, limit = {}, 0, tonumber(ARGV[6])

local function add(reference, fields)
  local n, json = #events, fields[2]
  events[n + 1], events[n + 2], events[n + 3] = reference.kind, reference.id, json
  if json then bytes = bytes + #json end
  return bytes < limit
end

local function single(reference)
  return redis.call('XRANGE', ARGV[1] .. reference.kind, reference.id, reference.id)[1]
end

-- Neighbours in the history are often neighbours in the stream of their type: read them together while that pays.
local together, i = not backward, 1
while i <= #references do
  local last, kind, near = i, references[i].kind, {}
  while together and last - i < 63 and references[last + 1] and references[last + 1].kind == kind do
    last = last + 1
  end
  if last > i then
    local from, to = references[i].id, references[last].id
    local entries = redis.call('XRANGE', ARGV[1] .. kind, from, to, 'COUNT', last - i + 9)
    for _, entry in ipairs(entries) do near[entry[1]] = entry[2] end
    together = entries[#entries] and entries[#entries][1] == to
  end
  for n = i, last do
    local reference = references[n]
    local fields = near[reference.id]
    if not fields then
      local entry = single(reference)
      fields = entry and entry[2] or { '', false }
    end
    if not add(reference, fields) then return { version, upto, after, snapshot, events, erasures } end
  end
  i = last + 1
end

return { version, upto, after, snapshot, events, erasures }
