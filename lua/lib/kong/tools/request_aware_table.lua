-- A table kept from request to request (kong/tools/request_aware_table.lua). Each worker's state
-- runs one handler at a time, so that nothing needs watching.
local new_tab = require "table.new"
local clear = require "table.clear"

local METATABLE = {
  __index = { clear = clear },
  __newindex = function(t, key, value)
    if key == "clear" then
      error("cannot set the 'clear' method of request aware table", 2)
    end
    rawset(t, key, value)
  end,
}

return {
  new = function(array, members)
    return setmetatable(new_tab(array or 0, members or 0), METATABLE)
  end,
}
