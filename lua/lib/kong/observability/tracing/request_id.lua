-- The request's id (kong/observability/tracing/request_id.lua).
local PHASES = { set = true, rewrite = true, access = true, content = true, header_filter = true,
                 body_filter = true, log = true, balancer = true }

local request_id = {}

function request_id._get_ctx_request_id() return ngx.ctx.request_id end

-- The id; nil and a text where there is no request.
function request_id.get()
  local phase = ngx.get_phase()
  if not PHASES[phase] then return nil, "cannot access ngx.var in " .. phase .. " phase" end
  return ngx.var.kong_request_id
end

return request_id
