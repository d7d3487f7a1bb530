-- Greets: sets a header of the answer and of the upstream's request, and appends its name to the order
-- in which the plugins of one request have run.

local NAME = "lua-hello"

local Hello = { PRIORITY = 40, VERSION = "1.0.0" }

function Hello:access(conf)
  local host = kong.request.get_header("host")
  local order = (kong.ctx.shared.order or "") .. NAME .. " "
  kong.ctx.shared.order = order
  kong.service.request.set_header("x-order", order)
  kong.service.request.set_header("x-" .. NAME, conf.message or "")
  kong.response.set_header("x-" .. NAME, "Lua says " .. (conf.message or "") .. " to " .. host)
end

return Hello
