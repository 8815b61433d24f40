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
--          a batch of n events of one stream is "stream*n", and their JSON
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
if ARGV[6] ~= '0' then
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
end

local order = in_order(KEYS[1], KEYS[3], ARGV[4], ARGV[5])

-- The nth event has the id `ids[n]`; it was written to the stream `written_to[n]`: false if it was there before.
local ids, written_to, is_keyed, problem = {}, {}, false, nil
local where, many = string.match(ARGV[first_event] or '', '^(%d+)%*(%d+)$')

if where then
  -- Of one stream, without aggregates and keys, as most batches are: what those need is not even made.
  local stream = KEYS[tonumber(where)]
  for n = 1, tonumber(many) do
    local id
    id, problem = add(order, stream, ARGV[first_event + n])
    if not id then break end
    ids[n], written_to[n] = id, stream
  end
else
  local references, remember = {}, {}

  local function add_to(stream, aggregate, json)
    local version = aggregate.version + 1
    if aggregate.spliced then
      json = '{"aggregate_version":' .. version .. ',' .. string.sub(json, 2)
    end
    local id, why = add(order, stream, json)
    if not id then return nil, why end
    aggregate.version = version
    references[#references + 1] = { aggregate.key, string.sub(stream, #ARGV[5] + 1) .. ' ' .. id }
    return id, stream
  end

  local function add_once(stream, once, fingerprint, json)
    is_keyed = true
    local known = remember[once] or redis.call('GET', once)
    if known then
      local known_id, known_print = string.match(known, '^(%S+) (.*)$')
      if known_print ~= fingerprint then return nil, 'REUSED ' .. (#ids + 1) end
      return known_id, false
    end
    local id, why = add(order, stream, json)
    if not id then return nil, why end
    remember[once] = id .. ' ' .. fingerprint
    return id, stream
  end

  -- Its id and what it was written to; or nil and what is wrong.
  local function add_one(where, json)
    local stream = KEYS[tonumber(where)]
    if stream then
      local id, why = add(order, stream, json)
      return id, id and stream or why
    end
    local s, a = string.match(where, '^(%d+)>(%d+)$')
    if s then return add_to(KEYS[tonumber(s)], aggregates[tonumber(a)], json) end
    local s, o, fingerprint = string.match(where, '^(%d+):(%d+):(.*)$')
    return add_once(KEYS[tonumber(s)], KEYS[tonumber(o)], fingerprint, json)
  end

  for i = first_event, #ARGV, 2 do
    local id, to = add_one(ARGV[i], ARGV[i + 1])
    if not id then
      problem = to
      break
    end
    ids[#ids + 1], written_to[#ids + 1] = id, to
  end
  if not problem then
    -- The events are there, and what a reference could be refused for was looked at before the first of them.
    for _, r in ipairs(references) do redis.call('RPUSH', r[1], r[2]) end
    for once, value in pairs(remember) do redis.call('SET', once, value, 'PX', ARGV[3]) end
  end
end

if problem then
  -- A script is not rolled back by the server: take back what this one wrote.
  local before, count = {}, {}
  for n, id in ipairs(ids) do
    local stream = written_to[n]
    if stream then
      before[stream], count[stream] = before[stream] or stream_info(stream), (count[stream] or 0) + 1
      redis.call('XDEL', stream, id)
    end
  end
  for stream, was in pairs(before) do
    -- A reader takes a deleted entry ahead of it for a loss: the stream forgets these, where the server can (7.0).
    local deleted = was['max-deleted-entry-id']
    if deleted then
      redis.pcall('XSETID', stream, was['last-generated-id'], 'ENTRIESADDED', was['entries-added'] - count[stream],
        'MAXDELETEDID', deleted == '0-0' and '0-1' or deleted) -- 0-0 would leave it as it is
    end
  end
  return redis.error_reply(problem)
end

settle(order)

local reply = ids[1]
if #ids ~= 1 then
  -- Ids rise, so that the last one tells whether each follows the one before it; those that a key had are in any order.
  local ms, seq = string.match(reply or '', '^(%d+)-(%d+)$')
  local last_ms, last_seq = string.match(ids[#ids] or '', '^(%d+)-(%d+)$')
  if not ms or is_keyed or ms ~= last_ms or last_seq - seq ~= #ids - 1 then reply = table.concat(ids, ' ') end
end
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
