-- Writes the snapshot of an aggregate, unless a newer or an equal one of the same schema is there.
--
-- KEYS[1]  aggregate:<Type>:<id>   KEYS[2] snapshot:<Type>:<id>   KEYS[3] personal
-- ARGV[1]  version   ARGV[2] state, JSON   ARGV[3] fingerprint of its schema   ARGV[4] taken_at
-- ARGV[5]  position: the entry id of the event that made this version
-- ARGV[6]  1: replace one of the same version, which was found to be of no use
-- ARGV[7]  how many subjects were forgotten when the aggregate was loaded: its state may hold the data of a later one
--
-- Returns  written, newer (another one stays), foreign (the history has another event at that version), or
--          forgotten (a subject was, since the aggregate was loaded)

local function position(version)
  local found = redis.call('LINDEX', KEYS[1], version - 1)
  return found and string.match(found, ' (%S+)$')
end

if (redis.call('HGET', KEYS[3], 'erasures') or '0') ~= ARGV[7] then return 'forgotten' end
if position(tonumber(ARGV[1])) ~= ARGV[5] then return 'foreign' end

if redis.call('TYPE', KEYS[2]).ok == 'hash' then
  local found = redis.call('HMGET', KEYS[2], 'version', 'schema', 'position')
  local version = tonumber(string.match(found[1] or '', '^%d+$'))
  if version and (version < 1 or version > 2 ^ 53) then version = nil end -- no version of any history
  if version and found[3] and position(version) == found[3] then
    local wanted = tonumber(ARGV[1])
    local replace = found[2] ~= ARGV[3] or ARGV[6] == '1'
    if version > wanted or (version == wanted and not replace) then return 'newer' end
  end
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'version', ARGV[1], 'state', ARGV[2], 'schema', ARGV[3], 'position', ARGV[5],
  'taken_at', ARGV[4])
return 'written'
