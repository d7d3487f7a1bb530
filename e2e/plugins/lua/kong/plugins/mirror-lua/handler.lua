-- Mirrors a request: go-mirror, js-mirror and py-mirror do the same.
local Mirror = { PRIORITY = 40, VERSION = "1.0.0" }

function Mirror:access(conf)
  local method, path = kong.request.get_method(), kong.request.get_path()
  local number = kong.request.get_query_arg("n") or "none"
  local seen = method .. " " .. path .. " " .. number
  kong.log.notice("mirror: ", seen)
  kong.ctx.shared.mirror = seen
  kong.response.set_header("X-Mirror", conf.message)
  kong.response.add_header("X-List", "1")
  kong.response.add_header("X-List", "2")
  if kong.request.get_header("x-deny") then
    return kong.response.exit(403, '{"denied":"' .. number .. '"}',
                              { ["Content-Type"] = "application/json", ["X-Reason"] = "header" })
  end
  kong.service.request.set_header("X-Seen", seen)
  kong.service.request.clear_header("X-Secret")
  kong.service.request.set_raw_query("n=" .. number .. "&mirrored=yes")
end

return Mirror
