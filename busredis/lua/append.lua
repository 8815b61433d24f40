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

local function info(key)
  local reply, found = redis.pcall('XINFO', 'STREAM', key), {}
  if reply.err then return nil, reply.err end
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
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

-- Ids are put together from text: Lua would print and read a number of 13 digits for each.
local time = redis.call('TIME')
local ms, seq = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3), 0
local clock = redis.call('GET', KEYS[1])
if clock then
  local dash = string.find(clock, '-', 1, true)
  local clock_ms = string.sub(clock, 1, dash - 1)
  -- The clock of the server may step back; the order of ids may not.
  if #clock_ms > #ms or (#clock_ms == #ms and clock_ms >= ms) then
    ms, seq = clock_ms, string.sub(clock, dash + 1) + 1
  end
end

-- What was written: the nth entry is `written[n]` in the stream `written_to[n]`.
local ids, written, written_to, remember, references, in_a_row = {}, {}, {}, {}, {}, true

local function next_id()
  return ms .. '-' .. (seq < 1e14 and seq or string.format('%.0f', seq)) -- Lua writes 14 digits as they are
end

local function undo(message)
  -- A script is not rolled back by the server: take back what this one wrote.
  local before, count = {}, {}
  for n, id in ipairs(written) do
    local stream = written_to[n]
    before[stream], count[stream] = before[stream] or info(stream), (count[stream] or 0) + 1
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

local function xadd(stream, id, json)
  local reply = redis.pcall('XADD', stream, 'NOMKSTREAM', id, ARGV[4], json)
  if reply then return reply end
  -- A new stream: who merges all streams has to know of it before its first entry is there.
  redis.call('SADD', KEYS[3], string.sub(stream, #ARGV[5] + 1))
  return redis.pcall('XADD', stream, id, ARGV[4], json)
end

local function add(stream, json)
  local id = next_id()
  local reply = xadd(stream, id, json)
  if type(reply) == 'table' and reply.err then
    if string.find(reply.err, 'exhausted', 1, true) then return nil, 'EXHAUSTED ' .. stream .. ' holds the last id' end
    if not string.find(reply.err, 'equal or smaller', 1, true) then return nil, reply.err end
    -- Another program's XADD is ahead of our clock: go on behind it.
    local last = info(stream)['last-generated-id']
    local last_ms, last_seq = string.match(last, '^(%d+)-(%d+)$')
    if #last_ms > 15 or #last_seq > 15 then return nil, 'EXHAUSTED ' .. stream .. ' holds id ' .. last end
    if #ids > 0 then in_a_row = false end
    ms, seq = last_ms, last_seq + 1
    id = next_id()
    reply = xadd(stream, id, json)
    if type(reply) == 'table' and reply.err then return nil, reply.err end
  end
  local n = #written + 1
  written[n], written_to[n] = id, stream
  seq = seq + 1
  return id
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
  in_a_row = false
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
if #written > 0 then redis.call('SET', KEYS[1], written[#written]) end
for once, value in pairs(remember) do redis.call('SET', once, value, 'PX', ARGV[3]) end
local reply = in_a_row and ids[1] or table.concat(ids, ' ')
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
