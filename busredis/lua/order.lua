-- What every script that appends begins with: ids in one total order over all type streams of a partition.
--
-- KEYS and ARGV are those of the script that follows. It calls `in_order` once, with the keys of the clock and of the
-- types, the field that holds an event, and what stands before the event type in the key of a stream.
--
-- Returns  two functions: `add(stream, json)`, which appends and returns the entry id, or nil and what is wrong; and
--          `settle()`, which sets the clock to the last id, once something was added

local function stream_info(stream)
  local reply, found = redis.pcall('XINFO', 'STREAM', stream), {}
  if reply.err then return nil end
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end

local function in_order(clock_key, types_key, field, prefix)
  -- Ids are put together from text: Lua would print and read a number of 13 digits for each.
  local time = redis.call('TIME')
  local ms, seq, last_id = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3), 0, nil
  local clock = redis.call('GET', clock_key)
  if clock then
    local dash = string.find(clock, '-', 1, true)
    local clock_ms = string.sub(clock, 1, dash - 1)
    -- The clock of the server may step back; the order of ids may not.
    if #clock_ms > #ms or (#clock_ms == #ms and clock_ms >= ms) then
      ms, seq = clock_ms, string.sub(clock, dash + 1) + 1
    end
  end

  local function xadd(stream, json)
    local id = ms .. '-' .. (seq < 1e14 and seq or string.format('%.0f', seq)) -- Lua writes 14 digits as they are
    local reply = redis.pcall('XADD', stream, 'NOMKSTREAM', id, field, json)
    if reply then return reply end
    -- A new stream: who merges all streams has to know of it before its first entry is there.
    local known = redis.pcall('SADD', types_key, string.sub(stream, #prefix + 1))
    if type(known) == 'table' then return known end
    return redis.pcall('XADD', stream, id, field, json)
  end

  local function add(stream, json)
    local reply = xadd(stream, json)
    if type(reply) == 'table' and string.find(reply.err, 'equal or smaller', 1, true) then
      -- Another program's XADD is ahead of our clock: go on behind it.
      local last = stream_info(stream)['last-generated-id']
      local last_ms, last_seq = string.match(last, '^(%d+)-(%d+)$')
      if #last_ms > 15 or #last_seq > 15 then return nil, 'EXHAUSTED ' .. stream .. ' holds id ' .. last end
      ms, seq = last_ms, last_seq + 1
      reply = xadd(stream, json)
    end
    if type(reply) == 'table' then
      if string.find(reply.err, 'exhausted', 1, true) then return nil, 'EXHAUSTED ' .. stream .. ' holds the last id' end
      return nil, reply.err
    end
    seq, last_id = seq + 1, reply
    return reply
  end

  local function settle()
    if last_id then redis.call('SET', clock_key, last_id) end
  end

  return add, settle
end
