-- Applies the effects of handlers that succeeded. For each entry: all of its effects and the XACK, or nothing, and only
-- if this consumer still holds the entry in this attempt.
--
-- KEYS[1]  failures:<group>
-- KEYS[2]  once:<consumer>: what this consumer's last call was answered, "<number> <reply>"
-- KEYS[3+] the streams, and the keys of the effects
-- ARGV[1]  group   ARGV[2] consumer   ARGV[3] number of this call, rising by one a consumer
-- ARGV[4]  ms to remember the answer
-- ARGV[5+] for each entry: the index of its stream in KEYS, id, attempt, how many effects; then
--          for each effect: command, the index of its key in KEYS, how many arguments, the arguments
--
-- Returns  a line for each entry: "applied"; "lost" (another consumer has the entry, or it is settled);
--          "refused <why>" with nothing done; "torn <why>", acknowledged: a server without redis.acl_check_cmd
--          (before Redis 7.0) refused an effect that is not the first
-- Errors   STALE (a later call of this consumer was answered), and what the first write of all is answered (OOM,
--          NOPERM ...); in each case nothing was done

local answered = redis.call('GET', KEYS[2])
if answered then
  local number, reply = string.match(answered, '^(%d+) (.*)$')
  if number == ARGV[3] then return reply end
  if tonumber(number) > tonumber(ARGV[3]) then
    return redis.error_reply('STALE a later call of this consumer was answered already')
  end
end

local KIND = {
  INCRBY = 'string', INCRBYFLOAT = 'string',
  HSET = 'hash', HDEL = 'hash', HINCRBY = 'hash', HINCRBYFLOAT = 'hash',
  SADD = 'set', SREM = 'set', LPUSH = 'list', RPUSH = 'list', LTRIM = 'list',
  ZADD = 'zset', ZREM = 'zset', ZINCRBY = 'zset', ZREMRANGEBYRANK = 'zset',
}
-- Below 2^63 by more than a thousand sums of doubles leave out.
local MOST = 9200000000000000000

-- What a value that is counted is at most, or nothing if the server would not count on it.
local function size_of(value, whole)
  if type(value) == 'table' then return (value.whole or not whole) and value.size or nil end
  value = value or '0'
  local counts
  if whole then
    counts = value == '0' or string.match(value, '^%-?[1-9]%d*$')
  else
    counts = #value <= 64 and (string.match(value, '^%-?%d+%.?%d*$') or string.match(value, '^%-?%d+%.?%d*[eE][+-]?%d%d?$'))
  end
  return counts and math.abs(tonumber(value)) or nil
end

-- `seen` is what is known of a key: its kind, whether it has nothing but what these effects wrote, values they wrote.
local function count(seen, key, field, by, whole)
  local value = seen.values[field]
  if value == nil and not seen.new then
    value = seen.kind == 'hash' and redis.call('HGET', key, field) or seen.kind == 'string' and redis.call('GET', key)
  end
  local size = size_of(value, whole)
  if not size then return whole and 'what it counts on is no 64-bit integer' or 'what it counts on is no number' end
  size = size + math.abs(tonumber(by))
  if size > MOST then return 'it might count beyond 64 bits' end
  seen.values[field] = { size = size, whole = whole and (type(value) ~= 'table' or value.whole) }
end

-- Why the server would refuse one effect, if it would, after those before it; notes what the effect changes.
local function refusal(effect, all)
  local name, key = effect[1], effect[2]
  if redis.acl_check_cmd and not redis.acl_check_cmd(unpack(effect)) then return 'NOPERM for this user' end
  if name == 'SET' or name == 'DEL' then
    all[key] = { kind = name == 'SET' and 'string' or 'none', new = true, values = { [''] = effect[3] } }
    return
  end
  if not all[key] then all[key] = { kind = redis.call('TYPE', key).ok, values = {} } end
  local seen, kind = all[key], KIND[name]
  if not kind then return end -- EXPIRE and PEXPIRE work on every kind
  if seen.kind == 'none' then
    seen.kind, seen.new = kind, true
  elseif seen.kind ~= kind then
    return 'WRONGTYPE the key is a ' .. seen.kind
  end
  if name == 'HSET' then
    for i = 3, #effect, 2 do seen.values[effect[i]] = effect[i + 1] end
  elseif name == 'HDEL' then
    for i = 3, #effect do seen.values[effect[i]] = false end
  elseif name == 'HINCRBY' or name == 'HINCRBYFLOAT' then
    return count(seen, key, effect[3], effect[4], name == 'HINCRBY')
  elseif name == 'INCRBY' or name == 'INCRBYFLOAT' then
    return count(seen, key, '', effect[3], name == 'INCRBY')
  end
end

local function told(effect, number, why)
  return (string.gsub(string.format('effect %d, %s %s: %s', number, effect[1], effect[2], why), '%c', ' '))
end

-- A script is not rolled back: everything that the server could refuse is asked before the first write.
local function foresee(stream, id, effects)
  if redis.acl_check_cmd and not redis.acl_check_cmd('XACK', stream, ARGV[1], id) then return 'NOPERM XACK' end
  local all = {}
  for number, effect in ipairs(effects) do
    local why = refusal(effect, all)
    if why then return told(effect, number, why) end
  end
end

local wrote = false

-- Returns the line of this entry, or nothing and the error of the first write of all.
local function settle(stream, id, attempt, effects)
  local rows = redis.pcall('XPENDING', stream, ARGV[1], id, id, 1)
  local row = not rows.err and rows[1] -- an error: the group or the stream is gone, and the lease with it
  if not row or row[2] ~= ARGV[2] or row[4] ~= tonumber(attempt) then return 'lost' end
  local why = foresee(stream, id, effects)
  if why then return 'refused ' .. why end
  local line = 'applied'
  for number, effect in ipairs(effects) do
    local reply = redis.pcall(unpack(effect))
    if type(reply) == 'table' and reply.err then
      local problem = string.gsub(reply.err, '^@user_script: %d+: %-', '') -- so Redis 6.2 begins some of them
      if not wrote then return nil, problem end
      why = told(effect, number, problem)
      if number == 1 then return 'refused ' .. why end
      line = 'torn ' .. why
      break
    end
    wrote = true
  end
  redis.call('XACK', stream, ARGV[1], id)
  local note = stream .. ' ' .. id
  redis.call('HDEL', KEYS[1], note, 'alone ' .. note)
  return line
end

local lines, at = {}, 5
while at <= #ARGV do
  local stream, id, attempt, effects = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], {}
  local many = tonumber(ARGV[at + 3])
  at = at + 4
  for number = 1, many do
    local last = at + 2 + tonumber(ARGV[at + 2])
    effects[number] = { ARGV[at], KEYS[tonumber(ARGV[at + 1])], unpack(ARGV, at + 3, last) }
    at = last + 1
  end
  local line, problem = settle(stream, id, attempt, effects)
  if problem then return redis.error_reply(problem) end
  lines[#lines + 1] = line
end
local reply = table.concat(lines, '\n')
-- A lost reply is asked for again: what was applied is not pending any more, and must not be taken for lost.
if wrote then redis.call('SET', KEYS[2], ARGV[3] .. ' ' .. reply, 'PX', ARGV[4]) end
return reply
