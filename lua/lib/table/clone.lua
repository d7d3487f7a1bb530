-- A copy of a table's own level, without its metatable.
local pairs = pairs
return function(t)
  local copy = {}
  for key, value in pairs(t) do copy[key] = value end
  return copy
end
