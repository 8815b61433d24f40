-- What scripts begin with that compare entry ids: as text, since Lua's numbers hold 53 bits.
--
-- KEYS and ARGV are those of the script that follows.
--
-- Returns  a function: `at_most(a, b)`, whether the id `a` is `b` or comes before it

local function number_at_most(a, b)
  if #a ~= #b then return #a < #b end
  return a <= b
end

local function at_most(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return number_at_most(a_ms, b_ms) end
  return number_at_most(a_seq, b_seq)
end
