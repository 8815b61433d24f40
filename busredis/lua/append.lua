-- Appends a batch of events to the type streams of one partition, and references to them to the histories of their
-- aggregates: all of them or nothing, in one total order.
--
-- KEYS[1]  clock: the last id given out, "ms-seq"
-- KEYS[2]  once:<publisher>: what this publisher's last append was answered, "<number> <ids>"
-- KEYS[3]  types: the event types that have a stream
-- KEYS[4+] the streams, aggregate:<Type>:<id> of the events that belong to one, once:<key> of those that have a key
-- ARGV[1]  number of this append, rising by one a publisher
-- ARGV[2]  ms to remember this append
-- ARGV[3]  ms to remember idempotency keys
-- ARGV[4]  the field that holds an event
-- ARGV[5]  what stands before the event type in the key of a stream
-- ARGV[6]  number of guards, then for each two: its index in KEYS, and for an aggregate the version it must have
--          (-1: any), for the tracking hash ">position source": this source must not have come so far yet
-- then     for each event two: where, and its JSON. Where is the index of the stream in KEYS,
--          "stream>aggregate" for an event of the nth aggregate, or "stream:once:fingerprint" for one with a key;
--          "stream*n" is followed by the JSON of n events of one stream
--
-- Returns  the ids, joined by spaces; only the first id if each follows the one before it by one in its seq.
--          With guards: "|" and the versions of the aggregates (0 for tracking), joined by spaces
-- Errors   STALE (a later append of this publisher was answered), CONFLICT <nth guard> <its version>,
--          TRACKED <how far the source has come>, REUSED <event number>, EXHAUSTED <stream>, and what XADD answers; in each case
--          nothing is written

local answered = redis.call('GET', KEYS[2])
if answered then
  local number, ids = string.match(answered, '^(%d+) (.*)$')
  if number == ARGV[1] then return ids end
  if tonumber(number) > tonumber(ARGV[1]) then
    return redis.error_reply('STALE a later append of this publisher was answered already')
  end
end

-- The versions of all aggregates are checked before anything is written.
local aggregates, first_event = {}, 7 + 2 * tonumber(ARGV[6])

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-?(%d*)$')
  return tonumber(ms), tonumber(seq) or 0
end

local function track(key, position, source)
  local reached = redis.call('HGET', key, source)
  if not reached then return end
  local ms, seq = parts(position)
  local reached_ms, reached_seq = parts(reached)
  if reached_ms > ms or (reached_ms == ms and reached_seq >= seq) then return 'TRACKED ' .. reached end
end

for i = 7, first_event - 1, 2 do
  local n, key, version = #aggregates + 1, KEYS[tonumber(ARGV[i])], 0
  local position, source = string.match(ARGV[i + 1], '^>(%S+) (.*)$')
  if source then
    local problem = track(key, position, source)
    if problem then return redis.error_reply(problem) end
  else
    -- The nth reference is that to version n. A key of another type ends the script here.
    version = redis.call('LLEN', key)
    if ARGV[i + 1] ~= '-1' and tonumber(ARGV[i + 1]) ~= version then
      return redis.error_reply('CONFLICT ' .. n .. ' ' .. version)
    end
  end
  aggregates[n] = { key = key, version = version, spliced = ARGV[i + 1] == '-1',
    source = source, position = position }
end

local append, settle = in_order(KEYS[1], KEYS[3], ARGV[4], ARGV[5])

-- What was written: the nth entry is `written[n]` in the stream `written_to[n]`.
local ids, written, written_to, remember, references, is_keyed = {}, {}, {}, {}, {}, false

local function undo(message)
  -- A script is not rolled back by the server: take back what this one wrote.
  local before, count = {}, {}
  for n, id in ipairs(written) do
    local stream = written_to[n]
    before[stream], count[stream] = before[stream] or stream_info(stream), (count[stream] or 0) + 1
    redis.call('XDEL', stream, id)
  end
  for stream, was in pairs(before) do
    -- A reader takes a deleted entry ahead of it for a loss: the stream forgets these, where the server can (7.0).
    local deleted = was['max-deleted-entry-id']
    if deleted then
      redis.pcall('XSETID', stream, was['last-generated-id'], 'ENTRIESADDED', was['entries-added'] - count[stream],
        'MAXDELETEDID', deleted == '0-0' and '0-1' or deleted) -- 0-0 would leave it as it is
    end
  end
  return redis.error_reply(message)
end

local function add(stream, json)
  local id, problem = append(stream, json)
  if not id then return nil, problem end
  local n = #written + 1
  written[n], written_to[n] = id, stream
  return id
end

-- Whether each id follows the one before it by one in its seq. Ids rise, so that the last one tells; those that a key
-- had before are in any order.
local function in_a_row()
  if is_keyed or #ids == 0 then return false end
  local ms, seq = string.match(ids[1], '^(%d+)-(%d+)$')
  local last_ms, last_seq = string.match(ids[#ids], '^(%d+)-(%d+)$')
  return ms == last_ms and last_seq - seq == #ids - 1
end

local function add_to(stream, aggregate, json)
  local version = aggregate.version + 1
  if aggregate.spliced then
    json = '{"aggregate_version":' .. version .. ',' .. string.sub(json, 2)
  end
  local id, problem = add(stream, json)
  if not id then return nil, problem end
  aggregate.version = version
  references[#references + 1] = { aggregate.key, string.sub(stream, #ARGV[5] + 1) .. ' ' .. id }
  return id
end

local function add_one(where, json)
  local s, a = string.match(where, '^(%d+)>(%d+)$')
  if s then return add_to(KEYS[tonumber(s)], aggregates[tonumber(a)], json) end
  local s, o, fingerprint = string.match(where, '^(%d+):(%d+):(.*)$')
  local once = KEYS[tonumber(o)]
  local known = remember[once] or redis.call('GET', once)
  is_keyed = true
  if known then
    local known_id, known_print = string.match(known, '^(%S+) (.*)$')
    if known_print ~= fingerprint then return nil, 'REUSED ' .. (#ids + 1) end
    return known_id
  end
  local id, problem = add(KEYS[tonumber(s)], json)
  if id then remember[once] = id .. ' ' .. fingerprint end
  return id, problem
end

local i = first_event
while i <= #ARGV do
  local where, many = ARGV[i], 1
  local stream = KEYS[tonumber(where)]
  if not stream then
    local s, n = string.match(where, '^(%d+)%*(%d+)$')
    if s then stream, many = KEYS[tonumber(s)], tonumber(n) end
  end
  for n = i + 1, i + many do
    local id, problem
    if stream then id, problem = add(stream, ARGV[n]) else id, problem = add_one(where, ARGV[n]) end
    if not id then return undo(problem) end
    ids[#ids + 1] = id
  end
  i = i + many + 1
end

-- The events are there, and what a reference could be refused for was looked at before the first of them.
for _, r in ipairs(references) do redis.call('RPUSH', r[1], r[2]) end
settle()
for once, value in pairs(remember) do redis.call('SET', once, value, 'PX', ARGV[3]) end
local reply = in_a_row() and ids[1] or table.concat(ids, ' ')
if #aggregates > 0 then
  local versions = {}
  for i, aggregate in ipairs(aggregates) do
    if aggregate.source then redis.call('HSET', aggregate.key, aggregate.source, aggregate.position) end
    versions[i] = aggregate.version
  end
  reply = reply .. '|' .. table.concat(versions, ' ')
end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. reply, 'PX', ARGV[2])
return reply
