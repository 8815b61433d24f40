-- What scripts begin with that compare entry ids: digit by digit, since a number of Lua is not exact beyond 2^53.
--
-- KEYS and ARGV are those of the script that follows.
--
-- Returns  two functions: `below(a, b)`, whether the id `a` comes before `b`, and `at_most(a, b)`, whether it is `b` or does.
--          An id may lack its seq, which is 0 then

local function number_below(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local function below(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-?(%d*)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-?(%d*)$')
  if a_ms ~= b_ms then return number_below(a_ms, b_ms) end
  return number_below(a_seq == '' and '0' or a_seq, b_seq == '' and '0' or b_seq)
end

local function at_most(a, b)
  return not below(b, a)
end
