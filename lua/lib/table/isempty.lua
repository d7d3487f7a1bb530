-- Whether a table holds nothing (OpenResty's LuaJIT has this built in).
local next = next
return function(t) return next(t) == nil end
