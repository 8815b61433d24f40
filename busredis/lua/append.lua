-- Appends a batch of events to the type streams of one partition: all of them or nothing, in one total order.
--
-- KEYS[1]  clock: the last id given out, "ms-seq"
-- KEYS[2]  once:<publisher>: what this publisher's last append was answered, "<number> <ids>"
-- KEYS[3+] the streams, then once:<key> of the events that have an idempotency key
-- ARGV[1]  number of this append, rising by one a publisher
-- ARGV[2]  ms to remember this append
-- ARGV[3]  ms to remember idempotency keys
-- ARGV[4]  the field that holds an event
-- ARGV[5+] for each event two: where, and its JSON. Where is the index of the stream in KEYS,
--          or "stream:once:fingerprint" for an event with an idempotency key
--
-- Returns  the ids, joined by spaces; only the first id if each follows the one before it by one in its seq
-- Errors   STALE (a later append of this publisher was answered), REUSED <event number>, EXHAUSTED <stream>,
--          and what XADD answers; in each case nothing is written

local answered = redis.call('GET', KEYS[2])
if answered then
  local number, ids = string.match(answered, '^(%d+) (.*)$')
  if number == ARGV[1] then return ids end
  if tonumber(number) > tonumber(ARGV[1]) then
    return redis.error_reply('STALE a later append of this publisher was answered already')
  end
end

local time = redis.call('TIME')
local ms, seq = time[1] * 1000 + math.floor(time[2] / 1000), 0
local clock = redis.call('GET', KEYS[1])
if clock then
  local clock_ms, clock_seq = string.match(clock, '^(%d+)-(%d+)$')
  -- The clock of the server may step back; the order of ids may not.
  if tonumber(clock_ms) >= ms then ms, seq = tonumber(clock_ms), clock_seq + 1 end
end

local ids, written, remember, in_a_row = {}, {}, {}, true

local function undo(message)
  -- A script is not rolled back by the server: take back what this one wrote.
  for _, entry in ipairs(written) do redis.call('XDEL', entry[1], entry[2]) end
  return redis.error_reply(message)
end

local function add(stream, json)
  local id = string.format('%.0f-%.0f', ms, seq)
  local reply = redis.pcall('XADD', stream, id, ARGV[4], json)
  if type(reply) == 'table' and reply.err then
    if not string.find(reply.err, 'equal or smaller', 1, true) then return nil, reply.err end
    -- Another program's XADD is ahead of our clock: go on behind it.
    local info, last = redis.call('XINFO', 'STREAM', stream), nil
    for i = 1, #info, 2 do if info[i] == 'last-generated-id' then last = info[i + 1] end end
    local last_ms, last_seq = string.match(last, '^(%d+)-(%d+)$')
    if #last_ms > 15 or #last_seq > 15 then return nil, 'EXHAUSTED ' .. stream .. ' holds id ' .. last end
    if #ids > 0 then in_a_row = false end
    ms, seq = tonumber(last_ms), last_seq + 1
    id = string.format('%.0f-%.0f', ms, seq)
    reply = redis.pcall('XADD', stream, id, ARGV[4], json)
    if type(reply) == 'table' and reply.err then return nil, reply.err end
  end
  written[#written + 1] = { stream, id }
  seq = seq + 1
  return id
end

for i = 5, #ARGV, 2 do
  local stream = KEYS[tonumber(ARGV[i])]
  local id, problem
  if stream then
    id, problem = add(stream, ARGV[i + 1])
  else
    local s, o, fingerprint = string.match(ARGV[i], '^(%d+):(%d+):(.*)$')
    local once = KEYS[tonumber(o)]
    local known = remember[once] or redis.call('GET', once)
    in_a_row = false
    if known then
      local known_id, known_print = string.match(known, '^(%S+) (.*)$')
      if known_print ~= fingerprint then return undo('REUSED ' .. ((i - 3) / 2)) end
      id = known_id
    else
      id, problem = add(KEYS[tonumber(s)], ARGV[i + 1])
      if id then remember[once] = id .. ' ' .. fingerprint end
    end
  end
  if not id then return undo(problem) end
  ids[#ids + 1] = id
end

if #written > 0 then redis.call('SET', KEYS[1], written[#written][2]) end
for once, value in pairs(remember) do redis.call('SET', once, value, 'PX', ARGV[3]) end
local reply = in_a_row and ids[1] or table.concat(ids, ' ')
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. reply, 'PX', ARGV[2])
return reply
