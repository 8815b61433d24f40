-- The turn of one archive run: taken, renewed, used to note what was written, and given back. Each run has a token higher
-- than all before it, and is refused once another has begun, however long it was frozen meanwhile.
--
-- KEYS[1]  lease:archive   KEYS[2] archive
-- ARGV[1]  begin, renew, note or end   ARGV[2] who   ARGV[3] ms
-- ARGV[4]  begin: a holder that is known to be dead, "" for none; else its token
-- ARGV[5]  note: the head of the manifest   ARGV[6] note: the URL of the archive
--
-- Returns  { token }, or { false, the holder } if it is the turn of another; "" if nobody holds it any more

local holder, run = redis.call('GET', KEYS[1]), redis.call('HGET', KEYS[2], 'run')

if ARGV[1] == 'end' then
  if holder == ARGV[2] then redis.call('DEL', KEYS[1]) end
  return { run }
end

local is_other = holder and holder ~= ARGV[2]
if ARGV[1] == 'begin' then
  if is_other and holder ~= ARGV[4] then return { false, holder } end
  local time = redis.call('TIME')
  -- Not only one more: also after a flush, or a failover to a replica that is behind, it must rise.
  run = string.format('%.0f', math.max((tonumber(run or 0) or 0) + 1, time[1] * 1000 + math.floor(time[2] / 1000)))
  redis.call('HSET', KEYS[2], 'run', run)
elseif is_other or run ~= ARGV[4] then
  return { false, holder or '' }
end

redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if ARGV[1] == 'note' then redis.call('HSET', KEYS[2], 'head', ARGV[5], 'url', ARGV[6]) end
return { run }
