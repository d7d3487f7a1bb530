-- What plugins of Kong before 3.0 extend: a class whose handlers do nothing.
local Object = require "kong.vendor.classic"

local BasePlugin = Object:extend()

-- Takes the plugin's name.
function BasePlugin:new(name) self._name = name end

for _, phase in ipairs { "init_worker", "configure", "certificate", "rewrite", "access", "response",
                         "header_filter", "body_filter", "log", "preread" } do
  BasePlugin[phase] = function() end
end

return BasePlugin
