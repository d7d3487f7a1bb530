-- Modules that may not be there (kong/tools/module.lua).
local tools = {}

-- True and the module, or false and what was looked for. A module that is there and broken is an
-- error.
function tools.load_module_if_exists(name)
  local ok, found = xpcall(require, debug.traceback, name)
  if ok then return true, found end
  if type(found) == "string" and found:find("module '" .. name .. "' not found", 1, true) then
    return false, found
  end
  error("error loading module '" .. name .. "':\n" .. tostring(found))
end

return tools
