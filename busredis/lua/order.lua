-- What every script that appends begins with: ids in one total order over all type streams of a partition.
--
-- KEYS and ARGV are those of the script that follows. It calls `in_order` once, with the keys of the clock and of the
-- types, the field that holds an event, and what stands before the event type in the key of a stream, and gives what
-- it returns to `add(order, stream, json)`, which appends and returns the entry id, or nil and what is wrong; and to
-- `settle(order)`, which sets the clock to the last id, once something was added.
--
-- The functions share no variables: a script that adds one event spends more on making those than on its commands.

local function stream_info(stream)
  local reply, found = redis.pcall('XINFO', 'STREAM', stream), {}
  if reply.err then return nil end
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end

local function in_order(clock_key, types_key, field, prefix)
  -- Ids are put together from text: Lua would print and read a number of 13 digits for each.
  local time = redis.call('TIME')
  local ms, seq = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3), 0
  local clock = redis.call('GET', clock_key)
  if clock then
    local dash = string.find(clock, '-', 1, true)
    local clock_ms = string.sub(clock, 1, dash - 1)
    -- The clock of the server may step back; the order of ids may not.
    if #clock_ms > #ms or (#clock_ms == #ms and clock_ms >= ms) then
      ms, seq = clock_ms, string.sub(clock, dash + 1) + 1
    end
  end
  return { ms = ms, seq = seq, next = ms .. '-*', clock = clock_key, types = types_key, field = field, prefix = prefix }
end

-- The id that comes next.
local function next_id(order)
  local seq = order.seq
  return order.ms .. '-' .. (seq < 1e14 and seq or string.format('%.0f', seq)) -- Lua writes 14 digits as they are
end

-- For a stream that did not take an entry just so: another id, or as the first entry. Returns what `add` does.
local function insist(order, stream, json, reply)
  if not reply then
    -- A new stream: who merges all streams has to know of it before its first entry is there.
    reply = redis.pcall('SADD', order.types, string.sub(stream, #order.prefix + 1))
    if type(reply) == 'number' then reply = redis.pcall('XADD', stream, next_id(order), order.field, json) end
  elseif string.find(reply.err, 'equal or smaller', 1, true) then
    -- Another program's XADD is ahead of our clock: go on behind it.
    local last = stream_info(stream)['last-generated-id']
    local last_ms, last_seq = string.match(last, '^(%d+)-(%d+)$')
    if #last_ms > 15 or #last_seq > 15 then return nil, 'EXHAUSTED ' .. stream .. ' holds id ' .. last end
    order.ms, order.seq, order.next = last_ms, last_seq + 1, order.next and last_ms .. '-*'
    reply = redis.pcall('XADD', stream, next_id(order), order.field, json)
  end
  if type(reply) == 'string' then return reply end
  if string.find(reply.err, 'exhausted', 1, true) then return nil, 'EXHAUSTED ' .. stream .. ' holds the last id' end
  return nil, reply.err
end

-- The entry behind the one before it, in the same stream: the server counts, which takes half as long as an id that is
-- written and read. Returns nothing if it cannot.
local function follow(order, stream, json)
  local reply = redis.pcall('XADD', stream, order.next, order.field, json)
  if type(reply) == 'string' then return reply end
  order.followed = nil
  -- Before Redis 7.0 it never can.
  if string.find(reply.err, 'Invalid stream ID', 1, true) then order.next = false end
end

local function add(order, stream, json)
  local reply, problem = stream == order.followed and follow(order, stream, json), nil
  if not reply then
    reply = redis.pcall('XADD', stream, 'NOMKSTREAM', next_id(order), order.field, json)
    if type(reply) ~= 'string' then
      reply, problem = insist(order, stream, json, reply)
      if not reply then return nil, problem end
    end
    order.followed = order.next and stream
  end
  order.seq, order.last_id = order.seq + 1, reply
  return reply
end

local function settle(order)
  if order.last_id then redis.call('SET', order.clock, order.last_id) end
end
