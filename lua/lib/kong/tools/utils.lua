-- What older plugins know under one roof (kong/tools/utils.lua).
local tools = {}
for _, name in ipairs { "table", "uuid", "rand", "time", "string", "ip", "http" } do
  for key, value in pairs(require("kong.tools." .. name)) do tools[key] = value end
end
return tools
