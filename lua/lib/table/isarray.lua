-- Whether a table has whole-number keys alone: holes and an empty table pass, as in OpenResty.
local pairs, type, floor = pairs, type, math.floor
return function(t)
  for key in pairs(t) do
    if type(key) ~= "number" or floor(key) ~= key then return false end
  end
  return true
end
